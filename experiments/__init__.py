"""The experiments of this laboratory; importing the package registers them all."""

from experiments import (
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
    "convolution",
    "efficiency",
    "families",
    "heads",
    "images",
    "mechanisms",
    "reproductions",
    "trees",
]
