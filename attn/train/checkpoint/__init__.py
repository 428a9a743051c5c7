"""Checkpoints that are verified: damaged ones are skipped, and named."""
