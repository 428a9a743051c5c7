"""Tuned learning rates: the grid that a rate was taken from, as plain data."""

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace

from attn.config.experiment import Experiment


@dataclass(frozen=True)
class Tuning:
    """A grid of peak learning rates, of which the best on the valid split was taken."""

    rates: tuple[float, ...]
    valid: tuple[tuple[float, ...], ...]
    """The metric of each rate, one number a seed; NaN where it diverged."""
    before: float
    """The rate of the experiment as it was."""
    chosen: float

    def score(self, rate: float) -> float:
        """The mean of a rate's seeds; NaN where one diverged, or it is not in the grid."""
        if rate not in self.rates:
            return math.nan
        values = self.valid[self.rates.index(rate)]
        return math.fsum(values) / len(values)


Tunings = Mapping[str, Tuning]
"""The grid of each experiment, by its name."""


def tuned(
    experiments: Sequence[Experiment], tunings: Tunings
) -> tuple[Experiment, ...]:
    """The experiments at the rates that their grids chose, where they have one."""
    return tuple(
        at_rate(e, tunings[e.name].chosen) if e.name in tunings else e
        for e in experiments
    )


def untuned(
    experiments: Sequence[Experiment], tunings: Tunings
) -> tuple[Experiment, ...]:
    """The experiments at their rates before; those at other rates stay as they are."""
    return tuple(
        at_rate(e, tunings[e.name].before)
        if e.name in tunings and e.train.peak_lr == tunings[e.name].chosen
        else e
        for e in experiments
    )


def at_rate(experiment: Experiment, rate: float) -> Experiment:
    """The experiment with another peak learning rate."""
    return replace(experiment, train=replace(experiment.train, peak_lr=rate))
