"""The experiments of this laboratory; importing the package registers them all."""

from experiments import (
    arena,
    convolution,
    efficiency,
    families,
    heads,
    images,
    mechanisms,
    reproductions,
    trees,
)

__all__ = [
    "arena",
    "convolution",
    "efficiency",
    "families",
    "heads",
    "images",
    "mechanisms",
    "reproductions",
    "trees",
]
