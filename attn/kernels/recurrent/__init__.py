"""Recurrent mechanisms, whose state has a fixed size."""
