"""Checkpoints that are whole and unchanged, or passed over by name."""

from attn.train.checkpoint.checkpoints import Checkpoints, Restored
from attn.train.checkpoint.restore import restore_state

__all__ = ["Checkpoints", "Restored", "restore_state"]
