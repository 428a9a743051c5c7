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
from attn.model.weights import EMBEDDING, VECTOR, Features, Role, rms_norm, weight
from attn.parallel.rules import lay, layout
from attn.positions import Alibi, RelativeBias, T5Bias, alibi_slopes, rotary


class Attention(nnx.Module):
    """Multi-head attention with any kernel (`attn.config.Attention`)."""

    def __init__(
        self, spec: config.Attention, model: config.ModelConfig, rngs: nnx.Rngs
    ):
        (N, _, H), D = spec.sizes, model.d_model
        self.spec, self.kernel, self.mask = spec, spec.mechanism, model.mask
        self.make_heads(D, rngs)
        self.o = weight(rngs, "N H D", N, H, D, fan_in=N * H, role=Role(True, 2))
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

        self.q, self.k, self.v = map(make, self.shapes)

    def project(
        self, x: Float[Array, "B T D"], info: TokenInfo
    ) -> tuple[Array, Array, Array]:
        """Projects to queries [B, T, N, H], keys and values [B, T, K, H]; rotates them.

        What the kernel does not read is 0.
        """

        def one(w: nnx.Param | None, shape: tuple[str, int, int]) -> Array:
            letter, *sizes = shape
            if w is None:
                zeros = jnp.zeros((*x.shape[:2], *sizes), x.dtype)
                return lay(zeros, f"B T {letter} H")
            return jnp.einsum("btd,dnh->btnh", x, w[...].astype(x.dtype))

        q, k, v = map(one, (self.q, self.k, self.v), self.shapes.values())
        if self.spec.rotary:
            q, k = (self.rotated(y, info) for y in (q, k))
        return q, k, v

    def rotated(self, x: Array, info: TokenInfo) -> Array:
        """Rotates queries or keys by their positions."""
        return rotary(x, info.positions, base=self.spec.base)

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
        causal = not bool(self.mask.predicate(0, 1))
        return T5Bias(self.buckets[...], bidirectional=not causal)

    def __call__(
        self,
        x: Float[Array, "B T D"],
        info: TokenInfo,
        memory: Any = None,
        cache: Any = None,
        *,
        key: Array | None = None,
    ) -> tuple[Float[Array, "B T D"], Any]:
        """Attends from every token to those that the mask and `info` show.

        Args:
            key: hides keys, as `attention_dropout` says.
        """
        require_self_attention(memory, cache)
        heads = self.project(x, info)
        return self.read_out(self.attend(*heads, info, key=key)), cache

    def options(self, info: TokenInfo) -> dict[str, Any]:
        """The options of a call in which queries and keys are the same tokens."""
        return {
            "mask": self.mask,
            "bias": self.bias,
            "kv_mask": info.mask,
            "q_segment_ids": info.segment_ids,
            "kv_segment_ids": info.segment_ids,
            "q_positions": info.positions,
            "kv_positions": info.positions,
            "weights": self.weights,
        }

    def attend(
        self,
        q: Float[Array, "B T N H"],
        k: Float[Array, "B T K H"],
        v: Float[Array, "B T K Hv"],
        info: TokenInfo,
        scale: float | None = None,
        key: Array | None = None,
    ) -> Float[Array, "B T N Hv"]:
        """Runs the kernel on these heads, under the layer's mask."""
        options = self.options(info)
        if key is not None and self.spec.attention_dropout:
            options["bias"] = self.hidden_keys(key, q.shape[0], q.shape[1])
        return attend(
            self.kernel,
            q,
            k,
            v,
            **options,
            scale=scale,
            impl=self.spec.impl or "auto",
        )

    def hidden_keys(self, key: Array, B: int, T: int) -> Float[Array, "B N T T"]:
        """A bias that hides each key from each query of each head by chance."""
        shape = B, self.spec.sizes[0], T, T
        share = self.spec.attention_dropout or 0.0
        hidden = jax.random.bernoulli(key, share, shape)
        return lay(jnp.where(hidden, -jnp.inf, 0.0), "B N T T")

    def read_out(self, out: Float[Array, "B T N H"]) -> Float[Array, "B T D"]:
        """Concatenates and projects heads; norms each first where the kernel does."""
        if self.norm is not None:
            out = rms_norm(out, self.norm[...])
        o = self.o[...].astype(out.dtype)
        return jnp.einsum("btnh,nhd->btd", out, o, out_sharding=layout("B T D"))

    def map(self, x: Float[Array, "B T D"], info: TokenInfo) -> Float[Array, "B N T T"]:
        """Computes the effective map of every head on this input."""
        q, k, _ = self.project(x, info)
        return effective_map(self.kernel, q, k, **self.options(info))


def lay_heads(x: Array) -> Array:
    """Shards weights that are stacked over heads, by heads."""
    return lay(x, " ".join(["N", *"R" * (x.ndim - 1)]))


def own_role(w: Array) -> Role:
    """The role of a kernel's own weight, stacked over heads: its vectors do not decay."""
    return Role(decays=w.ndim > 2)


def require_self_attention(memory: Any, cache: Any) -> None:
    """Raises `UserError` for inputs that a self-attention layer would not read."""
    if memory is not None or cache is not None:
        given = "memory" if memory is not None else "cache"
        raise UserError(
            f"{given} was given to a layer that reads its own sequence alone; leave it out"
        )
