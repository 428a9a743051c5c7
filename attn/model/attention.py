"""The attention layer: project, attend on every head, concatenate, project."""

from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from attn import config
from attn.attention import attend, effective_map
from attn.config.attention import T5_BUCKETS
from attn.errors import UserError
from attn.kernels import TokenInfo
from attn.model.memory import Memory
from attn.model.weights import (
    EMBEDDING,
    VECTOR,
    Features,
    Role,
    bias,
    rms_norm,
    weight,
)
from attn.parallel.rules import lay, layout
from attn.positions import Alibi, RelativeBias, T5Bias, alibi_slopes, rotary


class Attention(nnx.Module):
    """Multi-head attention with any kernel (`attn.config.Attention`)."""

    def __init__(
        self, spec: config.Attention, model: config.ModelConfig, rngs: nnx.Rngs
    ):
        (N, _, H), D = spec.sizes, model.d_model
        self.spec, self.kernel = spec, spec.mechanism
        self.mask, self.causal = spec.seen(model.mask), model.causal
        self.make_heads(D, rngs)
        self.o = weight(rngs, "N H D", N, H, D, fan_in=N * H, role=Role(True, 2))
        self.o_bias = bias("D", D) if spec.bias == "all" else nnx.data(None)
        self.gate = nnx.data(None)
        if spec.gate:
            self.gate = weight(rngs, "D N H", D, N, H, fan_in=D)
        self.q_norm = self.k_norm = nnx.data(None)
        if spec.qk_norm:
            eps = model.norm.eps
            self.q_norm = nnx.RMSNorm(H, epsilon=eps, rngs=rngs)
            self.k_norm = nnx.RMSNorm(H, epsilon=eps, rngs=rngs)
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

    def make_heads(self, D: int, rngs: nnx.Rngs) -> None:
        """Makes the input projections of what the kernel reads."""
        N, K, H = self.spec.sizes
        self.shapes = {"q": ("N", N, H), "k": ("K", K, H), "v": ("K", K, H)}

        def make(name: str):
            if name not in self.kernel.reads:
                return nnx.data(None)
            letter, heads, H = self.shapes[name]
            return weight(rngs, f"D {letter} H", D, heads, H, fan_in=D)

        def make_bias(name: str):
            if name not in self.kernel.reads or self.spec.bias == "none":
                return nnx.data(None)
            letter, heads, H = self.shapes[name]
            return bias(f"{letter} H", heads, H)

        self.q, self.k, self.v = map(make, self.shapes)
        self.q_bias, self.k_bias, self.v_bias = map(make_bias, self.shapes)

    def project(
        self,
        x: Float[Array, "B T D"],
        info: TokenInfo,
        memory: Memory | None = None,
    ) -> tuple[Array, Array, Array]:
        """Projects to queries [B, T, N, H], keys and values [B, S, K, H]; rotates them.

        Keys and values come from the memory where the layer attends to it, else from
        `x`. What the kernel does not read is 0.
        """
        k, v = self.project_keys(x if memory is None else memory.states, info)
        return self.project_queries(x, info), k, v

    def project_queries(
        self, x: Float[Array, "B T D"], info: TokenInfo
    ) -> Float[Array, "B T N H"]:
        """Projects to queries, normalised and rotated as the layer's spec says."""
        q = self._heads("q", x)
        q = q if self.q_norm is None else self.q_norm(q).astype(x.dtype)
        return self.rotated(q, info) if self.spec.rotary else q

    def project_keys(
        self, x: Float[Array, "B S D"], info: TokenInfo
    ) -> tuple[Float[Array, "B S K H"], Float[Array, "B S K H"]]:
        """Projects to keys and values, keys normalised and rotated as the spec says."""
        k, v = self._heads("k", x), self._heads("v", x)
        k = k if self.k_norm is None else self.k_norm(k).astype(x.dtype)
        return self.rotated(k, info) if self.spec.rotary else k, v

    def _heads(self, name: str, x: Float[Array, "B T D"]) -> Float[Array, "B T N H"]:
        """One of the projections to heads, with its bias; 0 where the kernel reads none."""
        w: nnx.Param | None = getattr(self, name)
        letter, *sizes = self.shapes[name]
        if w is None:
            zeros = jnp.zeros((*x.shape[:2], *sizes), x.dtype)
            return lay(zeros, f"B T {letter} H")
        heads = jnp.einsum("btd,dnh->btnh", x, w[...].astype(x.dtype))
        b: nnx.Param | None = getattr(self, f"{name}_bias")
        return heads if b is None else heads + b[...].astype(x.dtype)[None, None]

    def rotated(self, x: Array, info: TokenInfo) -> Array:
        """Rotates queries or keys by their positions."""
        spec, width = self.spec, self.spec.rotated_width
        dim = None if width == x.shape[-1] else width
        return rotary(
            x, info.positions, base=spec.base, dim=dim, scaling=spec.rope_scaling
        )

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
        cache: Any = None,
        *,
        key: Array | None = None,
    ) -> tuple[Float[Array, "B T D"], Any]:
        """Attends from every token to those that the mask and `info` show.

        Args:
            memory: the encoder's states, for a layer whose source they are.
            key: hides keys, as `attention_dropout` says.
        """
        memory = self.own_memory(memory)
        heads = self.project(x, info, memory)
        out = self.attend(*heads, info, memory, key=key)
        return self.read_out(out, x), cache

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
        return attend(
            self.kernel,
            q,
            k,
            v,
            **options,
            scale=self.spec.scale if scale is None else scale,
            impl=self.spec.impl or "auto",
        )

    def hidden_keys(
        self, key: Array, B: int, T: int, S: int
    ) -> Float[Array, "B N T S"]:
        """A bias that hides each key from each query of each head by chance."""
        shape = B, self.spec.sizes[0], T, S
        share = self.spec.attention_dropout or 0.0
        hidden = jax.random.bernoulli(key, share, shape)
        return lay(jnp.where(hidden, -jnp.inf, 0.0), "B N T T")

    def read_out(
        self, out: Float[Array, "B T N H"], x: Float[Array, "B T D"]
    ) -> Float[Array, "B T D"]:
        """Concatenates and projects the heads of the layer on `x`.

        Norms each first where the kernel does, and gates it where the spec says.
        """
        if self.norm is not None:
            out = rms_norm(out, self.norm[...])
        if self.gate is not None:
            gate = jnp.einsum("btd,dnh->btnh", x, self.gate[...].astype(x.dtype))
            out = out * jax.nn.sigmoid(gate)
        o = self.o[...].astype(out.dtype)
        y = jnp.einsum("btnh,nhd->btd", out, o, out_sharding=layout("B T D"))
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


def lay_heads(x: Array) -> Array:
    """Shards weights that are stacked over heads, by heads."""
    return lay(x, " ".join(["N", *"R" * (x.ndim - 1)]))


def own_role(w: Array) -> Role:
    """The role of a kernel's own weight, stacked over heads: its vectors do not decay."""
    return Role(decays=w.ndim > 2)
