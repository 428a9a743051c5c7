"""The experiments of this laboratory; importing the package registers them all."""

from experiments import (
    architectures,
    arena,
    convolution,
    efficiency,
    families,
    heads,
    images,
    kv_heads,
    mechanisms,
    positions,
    reproductions,
    scale,
    single_head,
    swap,
    translation,
    trees,
)

__all__ = [
    "architectures",
    "arena",
    "convolution",
    "efficiency",
    "families",
    "heads",
    "images",
    "kv_heads",
    "mechanisms",
    "positions",
    "reproductions",
    "scale",
    "single_head",
    "swap",
    "translation",
    "trees",
]
