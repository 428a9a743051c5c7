"""What stands between two residual additions: attention, short convolution, MLP.

Each layer takes and gives [B, T, D]. Weights are float32 and sharded where they are
made; a layer computes in the dtype of its input.
"""

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import PartitionSpec, reshard
from jaxtyping import Array, Bool, Float

from attn.attention import attend, effective_map
from attn.config import ModelConfig
from attn.kernels import Kernel
from attn.masks import Mask
from attn.parallel import mesh
from attn.positions import rotary


class Features(nnx.Variable):
    """Random features of a kernel: drawn once, kept with the weights, not trained."""


def weight(rngs: nnx.Rngs, spec: PartitionSpec, *shape: int, fan_in: int) -> nnx.Param:
    """A normal weight of variance 1 / fan_in."""
    value = jax.random.normal(rngs.params(), shape) * fan_in**-0.5
    return nnx.Param(reshard(value, spec))


class Attention(nnx.Module):
    """Multi-head attention: project, attend on every head, concatenate, project."""

    def __init__(
        self,
        config: ModelConfig,
        kernel: Kernel,
        mask: Mask,
        seq_len: int,
        rngs: nnx.Rngs,
    ):
        D, N, H = config.d_model, config.num_heads, config.head_width
        self.kernel, self.mask, self.impl = kernel, mask, config.attention_impl
        self.make_heads(config, rngs)
        self.o = weight(rngs, mesh.NHD, N, H, D, fan_in=N * H)
        self.own = nnx.data(None)
        if kernel.owns != "nothing":
            kind = nnx.Param if kernel.owns == "weights" else Features
            width = config.key_width(kernel)
            drawn = kernel.init_heads(rngs.params(), N, head_dim=width, kv_len=seq_len)
            self.own = nnx.data(
                {k: kind(reshard(w, mesh.N_)) for k, w in drawn.items()}
            )
        self.norm = nnx.data(None)
        if kernel.head_norm:
            self.norm = nnx.Param(reshard(jnp.ones((N, H)), mesh.N_))

    def make_heads(self, config: ModelConfig, rngs: nnx.Rngs) -> None:
        """The weights that `project` uses, of what the kernel reads."""
        D, N, K, H = (
            config.d_model,
            config.num_heads,
            config.kv_heads,
            config.head_width,
        )
        self.rotary = config.positions == "rotary" and self.kernel.rotates
        self.made = {"q": (N, H), "k": (K, H), "v": (K, H)}

        def make(name: str):
            if name not in self.kernel.reads:
                return nnx.data(None)
            return weight(rngs, mesh.DNH, D, *self.made[name], fan_in=D)

        self.q, self.k, self.v = map(make, self.made)

    def project(self, x: Float[Array, "B T D"]) -> tuple[Array, Array, Array]:
        """Queries [B, T, N, H], keys and values [B, T, K, H], turned if rotary.

        What the kernel does not read is 0.
        """

        def one(w: nnx.Param | None, shape: tuple[int, int]) -> Array:
            if w is None:
                return reshard(jnp.zeros((*x.shape[:2], *shape), x.dtype), mesh.BTNH)
            return jnp.einsum("btd,dnh->btnh", x, w[...].astype(x.dtype))

        q, k, v = map(one, (self.q, self.k, self.v), self.made.values())
        if self.rotary:
            q, k = rotary(q), rotary(k)
        return q, k, v

    @property
    def weights(self) -> dict[str, Array] | None:
        """What the kernel owns, stacked over heads."""
        return None if self.own is None else {k: w[...] for k, w in self.own.items()}

    def __call__(
        self, x: Float[Array, "B T D"], kv_mask: Bool[Array, "B T"] | None
    ) -> Float[Array, "B T D"]:
        return self.read_out(self.attend(*self.project(x), kv_mask))

    def attend(
        self,
        q: Float[Array, "B T N H"],
        k: Float[Array, "B T K H"],
        v: Float[Array, "B T K Hv"],
        kv_mask: Bool[Array, "B T"] | None,
        scale: float | None = None,
    ) -> Float[Array, "B T N Hv"]:
        """What the kernel makes of these heads, under the layer's mask."""
        return attend(
            self.kernel,
            q,
            k,
            v,
            mask=self.mask,
            kv_mask=kv_mask,
            weights=self.weights,
            scale=scale,
            impl=self.impl,
        )

    def read_out(self, out: Float[Array, "B T N H"]) -> Float[Array, "B T D"]:
        """Heads side by side, projected; each over its own size, if the paper does."""
        if self.norm is not None:
            out = _rms(out, self.norm[...])
        o = self.o[...].astype(out.dtype)
        return jnp.einsum("btnh,nhd->btd", out, o, out_sharding=mesh.BTD)

    def map(
        self, x: Float[Array, "B T D"], kv_mask: Bool[Array, "B T"] | None
    ) -> Float[Array, "B N T T"]:
        """The effective map of every head on this input."""
        q, k, _ = self.project(x)
        return effective_map(
            self.kernel, q, k, mask=self.mask, kv_mask=kv_mask, weights=self.weights
        )


def _rms(
    x: Float[Array, "B T N H"], scale: Float[Array, "N H"]
) -> Float[Array, "B T N H"]:
    """Each head's output over its root mean square, times a weight a channel."""
    wide = x.astype(jnp.float32)
    size = jnp.square(wide).mean(axis=-1, keepdims=True)
    return (wide * jax.lax.rsqrt(size + 1e-6) * scale[None, None]).astype(x.dtype)


class ShortConv(nnx.Module):
    """A convolution along the text, channel by channel, then a linear map.

    Each token meets its `conv_width - 1` predecessors (its neighbours, where the model
    looks both ways). One such layer before attention decides associative recall:
    Arora et al. 2024 (Zoology), section 4; Fu et al. 2023 (H3), section 3.
    """

    def __init__(self, config: ModelConfig, causal: bool, rngs: nnx.Rngs):
        D, W = config.d_model, config.conv_width
        self.taps = weight(rngs, PartitionSpec(None, None), W, D, fan_in=W)
        self.out = weight(rngs, PartitionSpec(None, None), D, D, fan_in=D)
        self.ahead = 0 if causal else W // 2

    def __call__(
        self, x: Float[Array, "B T D"], kv_mask: Bool[Array, "B T"] | None
    ) -> Float[Array, "B T D"]:
        if kv_mask is not None:
            x = jnp.where(kv_mask[..., None], x, 0)
        taps = self.taps[...].astype(x.dtype)
        W, T = taps.shape[0], x.shape[1]
        padded = jnp.pad(x, ((0, 0), (W - 1 - self.ahead, self.ahead), (0, 0)))
        mixed = sum(padded[:, i : i + T] * taps[i, None, None] for i in range(W))
        return jnp.einsum("btd,de->bte", mixed, self.out[...].astype(x.dtype))


class MLP(nnx.Module):
    """gelu(x W) W': Vaswani et al. 2017, section 3.3, with gelu for relu."""

    def __init__(self, config: ModelConfig, rngs: nnx.Rngs):
        D, F = config.d_model, config.hidden_width
        self.up = weight(rngs, mesh.DF, D, F, fan_in=D)
        self.down = weight(rngs, mesh.FD, F, D, fan_in=F)

    def __call__(
        self, x: Float[Array, "B T D"], kv_mask: Bool[Array, "B T"] | None
    ) -> Float[Array, "B T D"]:
        hidden = jax.nn.gelu(jnp.einsum("btd,df->btf", x, self.up[...].astype(x.dtype)))
        down = self.down[...].astype(x.dtype)
        return jnp.einsum("btf,fd->btd", hidden, down, out_sharding=mesh.BTD)
