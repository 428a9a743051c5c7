"""Training settings: steps, batch, optimizer and schedule."""

from dataclasses import dataclass
from math import isfinite

from attn.errors import UserError, require_positive


@dataclass(frozen=True)
class TrainConfig:
    """AdamW on a warm-up and cosine schedule."""

    steps: int = 500
    batch_size: int = 64
    """Sequences a step, for each seed."""
    peak_lr: float = 3e-3
    warmup_steps: int = 25
    weight_decay: float = 0.1
    """Weight decay of matrices; vectors have none."""
    clip_norm: float = 1.0
    """Maximum global norm of the gradient."""
    eval_every: int = 100
    """Steps between evaluations on the validation split."""
    save_every: int = 200
    """Steps between checkpoints."""

    def __post_init__(self):
        require_positive(self, "steps", "batch_size", "eval_every", "save_every")
        for name in ("peak_lr", "clip_norm"):
            value = getattr(self, name)
            if not (value > 0 and isfinite(value)):
                raise UserError(
                    f"TrainConfig.{name} = {value}; it must be above 0, and finite"
                )
        if not (self.weight_decay >= 0 and isfinite(self.weight_decay)):
            raise UserError(
                f"TrainConfig.weight_decay = {self.weight_decay}; at least 0, and finite"
            )
        if not 0 <= self.warmup_steps < self.steps:
            raise UserError(
                f"TrainConfig.warmup_steps = {self.warmup_steps} must be from 0 to "
                f"steps - 1 = {self.steps - 1}"
            )
