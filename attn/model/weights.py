"""Weights, random features and the norm of heads, as modules use them."""

from typing import NamedTuple, TypeVar

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float

from attn import config
from attn.parallel.fsdp import gather, lay_weight
from attn.parallel.rules import axis_size

Module = TypeVar("Module", bound=nnx.Module)


class Role(NamedTuple):
    """The facts about a parameter that optimizers use."""

    decays: bool
    """Whether weight decay shrinks it."""
    inputs: int | None = None
    """The number of leading axes that a product contracts, of a layer's matrix."""


VECTOR, EMBEDDING, MATRIX = Role(False), Role(True), Role(True, 1)


class Features(nnx.Variable):
    """The random features of a kernel: drawn once, saved with weights, not trained."""


def weight(
    rngs: nnx.Rngs, dims: str, *shape: int, fan_in: int, role: Role = MATRIX
) -> nnx.Param:
    """Draws a float32 weight, normal with variance 1 / fan_in, sharded by dimension."""
    value = jax.random.normal(rngs.params(), shape) * fan_in**-0.5
    return nnx.Param(lay_weight(value, dims), role=role)


def make_norm(norm: config.Norm, D: int, rngs: nnx.Rngs) -> nnx.Module:
    """Makes a norm over D channels."""
    kind = nnx.RMSNorm if norm.kind == "rms" else nnx.LayerNorm
    return kind(D, epsilon=norm.eps, rngs=rngs)


def gathered(module: Module) -> Module:
    """The module with whole weights, but for its matrices, which `product` gathers."""
    if axis_size("fsdp") == 1:
        return module
    graph, weights = nnx.split(module)

    def whole(x: nnx.Variable) -> nnx.Variable:
        is_matrix = getattr(x, "role", VECTOR).inputs
        return x if is_matrix else x.replace(gather(x[...]))

    is_leaf = lambda x: isinstance(x, nnx.Variable)  # noqa: E731
    return nnx.merge(graph, jax.tree.map(whole, weights, is_leaf=is_leaf))


def bias(dims: str, *shape: int) -> nnx.Param:
    """Makes a bias of zeros, sharded by dimension."""
    return nnx.Param(lay_weight(jnp.zeros(shape), dims), role=VECTOR)


def rms_norm(
    x: Float[Array, "B T N H"], scale: Float[Array, "N H"]
) -> Float[Array, "B T N H"]:
    """Divides each head's output by its root mean square; scales each channel."""
    wide = x.astype(jnp.float32)
    size = jnp.square(wide).mean(axis=-1, keepdims=True)
    return (wide * jax.lax.rsqrt(size + 1e-6) * scale[None, None]).astype(x.dtype)
