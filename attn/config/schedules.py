"""Learning-rate schedules as plain data, each after a linear warm-up."""

from dataclasses import dataclass
from typing import ClassVar

from attn.config.checks import require_share


@dataclass(frozen=True)
class Schedule:
    """The base of schedules: the learning rate from the end of the warm-up on."""

    name: ClassVar[str]
    extends: ClassVar[bool] = False
    """Whether more steps change no rate of the steps before."""


@dataclass(frozen=True)
class Constant(Schedule):
    """The peak rate to the end."""

    name = "constant"
    extends = True


@dataclass(frozen=True)
class Cosine(Schedule):
    """Half a cosine to the final rate: Loshchilov and Hutter 2017, equation 5."""

    name = "cosine"

    final: float = 0.1
    """Final rate, as a share of the peak."""

    def __post_init__(self):
        require_share(self, "final", to=1)


@dataclass(frozen=True)
class Linear(Cosine):
    """A straight line to the final rate."""

    name = "linear"

    final: float = 0.0


@dataclass(frozen=True)
class WarmupStableDecay(Cosine):
    """The peak rate, then a straight line to the final one: Hu et al. 2024, section 4."""

    name = "wsd"

    final: float = 0.0
    decay: float = 0.2
    """Share of all steps in which the rate falls."""

    def __post_init__(self):
        require_share(self, "final", "decay", to=1)


@dataclass(frozen=True)
class InverseSqrt(Schedule):
    """The peak rate times sqrt(warm-up / step): Vaswani et al. 2017, section 5.3.

    Without a warm-up it falls from the first step.
    """

    name = "inverse_sqrt"
    extends = True


SCHEDULES: dict[str, type[Schedule]] = {
    schedule.name: schedule
    for schedule in (Cosine, Linear, Constant, WarmupStableDecay, InverseSqrt)
}
"""Every schedule by its name."""
