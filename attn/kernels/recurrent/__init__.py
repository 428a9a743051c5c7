"""Recurrences: attention with a state of fixed size."""
