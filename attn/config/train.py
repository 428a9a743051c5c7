"""Training settings: steps, batch, optimizer and schedule."""

from dataclasses import dataclass
from math import isfinite

from attn.config.optimizers import AdamW, Optimizer
from attn.config.schedules import Cosine, Schedule
from attn.errors import UserError, require_positive


@dataclass(frozen=True)
class TrainConfig:
    """The optimizer and its schedule: AdamW, a warm-up and a cosine unless given."""

    steps: int = 500
    batch_size: int = 64
    """Sequences a step, for each seed."""
    peak_lr: float = 3e-3
    warmup_steps: int = 25
    weight_decay: float = 0.1
    """Weight decay of matrices and embeddings; scales, taps and vectors have none."""
    clip_norm: float = 1.0
    """Maximum global norm of the gradient."""
    optimizer: Optimizer = AdamW()
    """The update rule."""
    schedule: Schedule = Cosine()
    """The learning rate after the warm-up."""
    accumulate: int = 1
    """Parts of a batch whose gradients are added up, one part at a time in memory."""
    eval_every: int = 100
    """Steps between evaluations on the validation split."""
    save_every: int = 200
    """Steps between checkpoints."""

    def __post_init__(self):
        require_positive(self, "steps", "batch_size", "eval_every", "save_every")
        require_positive(self, "accumulate")
        if self.batch_size % self.accumulate:
            raise UserError(
                f"TrainConfig.accumulate = {self.accumulate} does not divide batch_size "
                f"= {self.batch_size}; choose a divisor"
            )
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
