"""Sparse mechanisms, which score only some of the keys."""
