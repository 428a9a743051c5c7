"""Checkpoints that are whole and unchanged, or passed over by name."""
