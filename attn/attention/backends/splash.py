"""Splash attention: jax's own block-sparse flash kernel for TPUs, and its limits.

Any mask whose predicate is elementwise integer arithmetic runs inside the kernel. The
blocks to visit come from the mask's tile verdicts, so no T x S array is built anywhere.
"""

from collections.abc import Iterator
from dataclasses import dataclass
from functools import lru_cache
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from attn.attention.backends.base import Backend
from attn.masks import Mask, PerHead


@dataclass(frozen=True)
class Splash(Backend):
    """Splash attention: every mask; segments, padding, lengths, soft-cap and sinks."""

    name = "splash"
    source = "jax.experimental.pallas.ops.tpu.splash_attention.make_splash_mha"
    packages = ("jax",)
    install = "install jax"
    vendor = "TPU"
    least_generation = 4.0
    dtypes = ("bfloat16", "float32")
    can: ClassVar[frozenset[str]] = frozenset(
        {"scale", "softcap", "sinks", "packing", "key_padding", "lengths"}
    )
    head_multiple = 8
    head_max = 256
    own_value_dim = True
    length_multiple = 128

    interpret: bool = False
    """Whether to run in interpret mode: plain jax operations, on any device, slowly."""

    def _mask(self, shape):
        if isinstance(shape.mask, PerHead):
            return f"mask {shape.mask} differs between heads; it takes one for all"
        strange = foreign_operations(shape.mask)
        if strange:
            return (
                f"mask {shape.mask} computes {', '.join(strange)}, which cannot run inside "
                "the kernel"
            )
        return None

    def local(self, q, k, v, mask, scoring, q_info, kv_info):
        from attn.attention.backends.splash_call import splash_attention

        return splash_attention(
            q,
            k,
            v,
            mask_function=Predicate(mask),
            scoring=scoring,
            q_info=q_info,
            kv_info=kv_info,
            interpret=self.interpret,
        )


@dataclass(frozen=True)
class Predicate:
    """The predicate of a mask, hashable by the mask, so that jit reuses the kernel."""

    mask: Mask

    def __call__(self, q, k):
        return jnp.broadcast_to(
            self.mask.predicate(q, k), jnp.broadcast_shapes(q.shape, k.shape)
        )


ELEMENTWISE = frozenset(
    "add sub mul neg div rem sign abs min max eq ne lt le gt ge and or xor not"
    " select_n convert_element_type broadcast_in_dim clamp pjit jit".split()
)
"""Operations on integers and booleans that can run inside a TPU kernel."""


@lru_cache(maxsize=256)
def foreign_operations(mask: Mask) -> tuple[str, ...]:
    """Names the operations in a mask's predicate that the kernel cannot run."""
    index = jax.ShapeDtypeStruct((8, 128), np.int32)
    closed = jax.make_jaxpr(Predicate(mask))(index, index)
    names = {name for name in operations(closed.jaxpr) if name not in ELEMENTWISE}
    if any(np.size(const) > 1 for const in closed.consts):
        names.add("table look-up")
    return tuple(sorted(names))


def operations(jaxpr: Any) -> Iterator[str]:
    """Names of all primitives of a jaxpr, of nested calls too."""
    for equation in jaxpr.eqns:
        yield equation.primitive.name
        for value in equation.params.values():
            inner = getattr(value, "jaxpr", None)
            if inner is not None:
                yield from operations(inner)
