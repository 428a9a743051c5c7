"""What this laboratory claims, and how it tests it. Importing registers everything."""

from experiments import families, heads, images, mechanisms, trees

__all__ = ["families", "heads", "images", "mechanisms", "trees"]
