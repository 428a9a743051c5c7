"""Attention over sequences that a mesh divides: a strategy each, and their choice."""

from attn.attention.sequence.run import run

__all__ = ["run"]
