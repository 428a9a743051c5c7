"""The projections of an attention layer: from states to queries, keys and values."""

import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from attn import config
from attn.kernels import TokenInfo
from attn.model.memory import Memory
from attn.model.products import product
from attn.model.weights import bias, weight
from attn.parallel.rules import lay
from attn.positions import rotary


class Projections(nnx.Module):
    """Queries, keys and values of every head, normalised and rotated."""

    def __init__(
        self, spec: config.Attention, model: config.ModelConfig, rngs: nnx.Rngs
    ):
        self.spec, self.kernel, self.eps = spec, spec.mechanism, model.norm.eps
        self.make_heads(model.d_model, rngs)

    def make_heads(self, D: int, rngs: nnx.Rngs) -> None:
        """Makes the input projections of what the kernel reads."""
        H = self.spec.sizes[2]

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
        self.q_norm = self.k_norm = nnx.data(None)
        if self.spec.qk_norm:
            self.q_norm = nnx.RMSNorm(H, epsilon=self.eps, rngs=rngs)
            self.k_norm = nnx.RMSNorm(H, epsilon=self.eps, rngs=rngs)

    @property
    def shapes(self) -> dict[str, tuple[str, int, int]]:
        """The heads of each projection: their dimension, their number, their width."""
        N, K, H = self.spec.sizes
        return {"q": ("N", N, H), "k": ("K", K, H), "v": ("K", K, H)}

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
        heads = product(x, w[...].astype(x.dtype), f"B T {letter} H")
        b: nnx.Param | None = getattr(self, f"{name}_bias")
        return heads if b is None else heads + b[...].astype(x.dtype)[None, None]

    def rotated(self, x: Array, info: TokenInfo) -> Array:
        """Rotates queries or keys by their positions."""
        spec, width = self.spec, self.spec.rotated_width
        dim = None if width == x.shape[-1] else width
        return rotary(
            x, info.positions, base=spec.base, dim=dim, scaling=spec.rope_scaling
        )
