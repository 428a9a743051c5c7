"""The experiments of this laboratory; importing the package registers them all."""

from experiments import (
    convolution,
    families,
    heads,
    images,
    mechanisms,
    reproductions,
    trees,
)

__all__ = [
    "convolution",
    "families",
    "heads",
    "images",
    "mechanisms",
    "reproductions",
    "trees",
]
