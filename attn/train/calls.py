"""The calls of a run: which steps go to the device at once, and what follows them."""

from dataclasses import dataclass

from attn.config import TrainConfig
from attn.data.pipeline import calls_from

CALL_STEPS = 25
"""The maximum number of steps dispatched to the device at once."""


@dataclass(frozen=True)
class CallEnds:
    """The ends of calls, validations and checkpoints, which follow from the config."""

    train: TrainConfig

    def since(self, step: int, *, begun: int) -> list[range]:
        """The steps of each call from `step` on.

        Args:
            begun: the number of steps of the first call that were done before.
        """
        # Not at `save_every`: how often a run is saved must not change its bits.
        cuts = {"longest": CALL_STEPS, "every": (self.train.eval_every,)}
        calls = calls_from(step, self.train.steps, **cuts)
        if calls:  # which may begin where a run of fewer steps ended
            calls[0] = range(step - begun, calls[0].stop)
        return calls

    def is_eval_due(self, step: int) -> bool:
        """Whether the valid split is scored after `step` steps."""
        return step % self.train.eval_every == 0 or step == self.train.steps

    def is_save_due(self, step: int, saved: int) -> bool:
        """Whether a multiple of `save_every` was passed since the checkpoint `saved`."""
        every = self.train.save_every
        return step // every > saved // every or step == self.train.steps
