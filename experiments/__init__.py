"""The experiments of this laboratory; importing the package registers them all."""

from experiments import (
    efficiency,
    families,
    heads,
    images,
    mechanisms,
    reproductions,
    trees,
)

__all__ = [
    "efficiency",
    "families",
    "heads",
    "images",
    "mechanisms",
    "reproductions",
    "trees",
]
