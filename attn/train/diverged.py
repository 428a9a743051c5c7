"""The end of a run whose loss or gradient is not finite."""

from collections.abc import Mapping

import numpy as np

from attn.config import Experiment
from attn.errors import Failed


class Diverged(Failed):
    """A loss or gradient is not finite; its step changed no parameter."""


def refuse_non_finite(
    experiment: Experiment, before: int, values: Mapping[str, np.ndarray]
) -> None:
    """Raises for the first step of a call that was not finite.

    Args:
        before: the number of steps before the call.
        values: the metrics of its steps, [C, R].

    Raises:
        Diverged: a step of a seed was not finite.
    """
    bad = np.argwhere(values["finite"] == 0)
    if not bad.size:
        return
    at, replica = bad[0]
    raise Diverged(
        f"step {before + at + 1} of seed {experiment.seed_numbers[replica]} was not "
        f"finite: loss {values['loss'][at, replica]}, gradient norm "
        f"{values['grad_norm'][at, replica]}; nothing after it is saved; try a lower "
        f"train.peak_lr than {experiment.train.peak_lr}, or a longer warm-up"
    )
