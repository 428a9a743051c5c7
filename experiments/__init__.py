"""The experiments of this laboratory; importing the package registers them all."""

from experiments import families, heads, images, mechanisms, reproductions, trees

__all__ = ["families", "heads", "images", "mechanisms", "reproductions", "trees"]
