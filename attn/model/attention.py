"""The attention layer: project, attend on every head, concatenate, project."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Bool, Float

from attn import config
from attn.attention import attend, effective_map
from attn.attention.decode import Cache as HeadCache
from attn.attention.decode import begin, prefill, step
from attn.config.attention import T5_BUCKETS
from attn.errors import UserError
from attn.kernels import TokenInfo
from attn.model.memory import Memory, MemoryCache
from attn.model.products import product
from attn.model.projections import Projections
from attn.model.weights import (
    EMBEDDING,
    VECTOR,
    Features,
    Role,
    bias,
    rms_norm,
    weight,
)
from attn.parallel.rules import lay
from attn.positions import Alibi, RelativeBias, T5Bias, alibi_slopes

Cache = HeadCache | MemoryCache
"""The cache of an attention layer."""


class Attention(Projections):
    """Multi-head attention with any kernel (`attn.config.Attention`)."""

    def __init__(
        self, spec: config.Attention, model: config.ModelConfig, rngs: nnx.Rngs
    ):
        (N, _, H), D = spec.sizes, model.d_model
        super().__init__(spec, model, rngs)
        self.mask, self.causal = spec.seen(model.mask), model.causal
        self.o = weight(rngs, "N H D", N, H, D, fan_in=N * H, role=Role(True, 2))
        self.o_bias = bias("D", D) if spec.bias == "all" else nnx.data(None)
        self.gate = nnx.data(None)
        if spec.gate:
            self.gate = weight(rngs, "D N H", D, N, H, fan_in=D)
        self.own = nnx.data(None)
        if self.kernel.owns != "nothing":
            kind = nnx.Param if self.kernel.owns == "weights" else Features
            drawn = self.kernel.init_heads(
                rngs.params(), N, head_dim=spec.key_width, kv_len=model.max_len or 0
            )
            self.own = nnx.data(
                {k: kind(lay_heads(w), role=own_role(w)) for k, w in drawn.items()}
            )
        self.norm = nnx.data(None)
        if self.kernel.head_norm:
            self.norm = nnx.Param(lay(jnp.ones((N, H)), "N H"), role=VECTOR)
        self.buckets = nnx.data(None)
        if spec.positions == "t5":
            self.buckets = weight(rngs, "N L", N, T5_BUCKETS, fan_in=D, role=EMBEDDING)

    @property
    def weights(self) -> dict[str, Array] | None:
        """The kernel's own arrays, stacked over heads."""
        return None if self.own is None else {k: w[...] for k, w in self.own.items()}

    @property
    def bias(self) -> RelativeBias | None:
        """The bias of the scores by distance, where the positions are one."""
        if self.spec.positions == "alibi":
            return Alibi(lay(alibi_slopes(self.spec.sizes[0]), "N"))
        if self.buckets is None:
            return None
        return T5Bias(self.buckets[...], bidirectional=not self.causal)

    def __call__(
        self,
        x: Float[Array, "B T D"],
        info: TokenInfo,
        memory: Memory | None = None,
        cache: Cache | None = None,
        *,
        key: Array | None = None,
    ) -> tuple[Float[Array, "B T D"], Cache | None]:
        """Attends from every token to those that the mask and `info` show.

        Args:
            memory: the encoder's states, for a layer whose source they are.
            cache: from `begin`; the tokens are then a prompt, or one more of each
                row, whose position `info` says.
            key: hides keys, as `attention_dropout` says.
        """
        if cache is not None:
            out, cache = self.decode(x, info, cache)
            return self.read_out(out, x), cache
        memory = self.own_memory(memory)
        heads = self.project(x, info, memory)
        out = self.attend(*heads, info, memory, key=key)
        return self.read_out(out, x), cache

    def begin(self, B: int, L: int, dtype: Any, memory: Memory | None = None) -> Cache:
        """Makes the cache of B sequences of at most L tokens, before the first one."""
        (N, K, H), memory = self.spec.sizes, self.own_memory(memory)
        if memory is not None:
            return MemoryCache(
                *self.project_keys(memory.states, memory.info), memory.info.mask
            )
        widths = self.spec.key_width, H
        return begin(
            self.kernel, self.mask, B, L, heads=(N, K), widths=widths, dtype=dtype
        )

    def decode(
        self, x: Float[Array, "B T D"], info: TokenInfo, cache: Cache
    ) -> tuple[Float[Array, "B T N H"], Cache]:
        """Attends from a prompt, or from one more token of each row, and caches it."""
        if isinstance(cache, MemoryCache):
            options = {"mask": self.mask, "bias": None, "kv_mask": cache.mask}
            q = self.project_queries(x, info)
            return self._run(
                q, cache.k, cache.v, options | {"weights": self.weights}
            ), cache
        heads, scale = self.project(x, info), self.spec.scale
        given = {"mask": self.mask, "bias": self.bias, "weights": self.weights}
        if x.shape[1] > 1:
            impl = self.spec.impl or "auto"
            return prefill(
                self.kernel, *heads, cache, info=info, scale=scale, impl=impl, **given
            )
        return step(
            self.kernel,
            *heads,
            cache,
            positions=info.positions,
            active=of_row(info.mask),
            scale=scale,
            **given,
        )

    def own_memory(self, memory: Memory | None) -> Memory | None:
        """The memory, if it is what the layer attends to.

        Raises:
            UserError: it is, and there is none.
        """
        if not self.spec.crosses:
            return None
        if memory is None:
            raise UserError(
                "cross_attention was given no encoder's states; call the model with source="
            )
        return memory

    def options(self, info: TokenInfo, memory: Memory | None = None) -> dict[str, Any]:
        """The options of a call on the layer's own tokens, or on the memory's."""
        common = {"mask": self.mask, "bias": self.bias, "weights": self.weights}
        if memory is not None:
            return {"kv_mask": memory.info.mask, **common}
        return {
            "kv_mask": info.mask,
            "q_segment_ids": info.segment_ids,
            "kv_segment_ids": info.segment_ids,
            "q_positions": info.positions,
            "kv_positions": info.positions,
            **common,
        }

    def attend(
        self,
        q: Float[Array, "B T N H"],
        k: Float[Array, "B S K H"],
        v: Float[Array, "B S K Hv"],
        info: TokenInfo,
        memory: Memory | None = None,
        *,
        scale: float | None = None,
        key: Array | None = None,
    ) -> Float[Array, "B T N Hv"]:
        """Runs the kernel on these heads, under the layer's mask."""
        options = self.options(info, memory)
        if key is not None and self.spec.attention_dropout:
            B, T, S = len(q), q.shape[1], k.shape[1]
            options["bias"] = self.hidden_keys(key, B, T, S)
        return self._run(q, k, v, options, scale)

    def _run(
        self,
        q: Float[Array, "B T N H"],
        k: Float[Array, "B S K H"],
        v: Float[Array, "B S K Hv"],
        options: dict[str, Any],
        scale: float | None = None,
    ) -> Float[Array, "B T N Hv"]:
        scale = self.spec.scale if scale is None else scale
        impl = self.spec.impl or "auto"
        return attend(self.kernel, q, k, v, **options, scale=scale, impl=impl)

    def hidden_keys(
        self, key: Array, B: int, T: int, S: int
    ) -> Float[Array, "B N T S"]:
        """A bias that hides each key from each query of each head by chance."""
        shape = B, self.spec.sizes[0], T, S
        share = self.spec.attention_dropout or 0.0
        hidden = jax.random.bernoulli(key, share, shape)
        return lay(jnp.where(hidden, -jnp.inf, 0.0), "B N T L")

    def read_out(
        self, out: Float[Array, "B T N H"], x: Float[Array, "B T D"]
    ) -> Float[Array, "B T D"]:
        """Concatenates and projects the heads of the layer on `x`.

        Norms each first where the kernel does, and gates it where the spec says.
        """
        if self.norm is not None:
            out = rms_norm(out, self.norm[...])
        if self.gate is not None:
            gate = product(x, self.gate[...].astype(x.dtype), "B T N H")
            out = out * jax.nn.sigmoid(gate)
        y = product(out, self.o[...].astype(out.dtype), "B T D")
        if self.o_bias is None:
            return y
        return y + self.o_bias[...].astype(y.dtype)[None, None]

    def map(
        self, x: Float[Array, "B T D"], info: TokenInfo, memory: Memory | None = None
    ) -> Float[Array, "B N T S"]:
        """Computes the effective map of every head on this input."""
        memory = self.own_memory(memory)
        q, k, _ = self.project(x, info, memory)
        options = self.options(info, memory)
        return effective_map(self.kernel, q, k, scale=self.spec.scale, **options)


def of_row(mask: Bool[Array, "B T"] | None) -> Bool[Array, "B"] | None:
    """The first column of a mask of tokens."""
    return None if mask is None else mask[:, 0]


def lay_heads(x: Array) -> Array:
    """Shards weights that are stacked over heads, by heads."""
    return lay(x, " ".join(["N", *"R" * (x.ndim - 1)]))


def own_role(w: Array) -> Role:
    """The role of a kernel's own weight, stacked over heads: its vectors do not decay."""
    return Role(decays=w.ndim > 2)
