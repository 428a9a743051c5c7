"""Optimizers as plain data: which update rule, and its knobs.

The learning rate, weight decay and the clip belong to `TrainConfig`; a rule says whether it
takes decay apart from the gradient (`decoupled`).
"""

from dataclasses import dataclass
from typing import ClassVar

from attn.config.checks import require_above_0, require_share


@dataclass(frozen=True)
class Optimizer:
    """The base of update rules: what turns a gradient into the direction of a step."""

    name: ClassVar[str]
    decoupled: ClassVar[bool] = True
    """Whether weight decay shrinks the weights themselves; else it is added to the
    gradient, as an L2 penalty is."""


@dataclass(frozen=True)
class AdamW(Optimizer):
    """Adam with decoupled decay: Loshchilov and Hutter 2019, algorithm 2."""

    name = "adamw"

    b1: float = 0.9
    """Decay of the mean of gradients."""
    b2: float = 0.999
    """Decay of the mean of squared gradients."""
    eps: float = 1e-8

    def __post_init__(self):
        require_share(self, "b1", "b2")
        require_above_0(self, "eps")


@dataclass(frozen=True)
class Adam(AdamW):
    """Adam: Kingma and Ba 2015, algorithm 1; decay is added to the gradient."""

    name = "adam"
    decoupled = False


@dataclass(frozen=True)
class Lion(Optimizer):
    """Lion, the sign of a momentum: Chen et al. 2023, algorithm 2.

    Its steps have the size of the learning rate; 3 to 10 times less than AdamW's is
    usual, with as much more weight decay.
    """

    name = "lion"

    b1: float = 0.9
    """Share of the momentum in the direction of a step."""
    b2: float = 0.99
    """Decay of the momentum."""

    def __post_init__(self):
        require_share(self, "b1", "b2")


@dataclass(frozen=True)
class SGD(Optimizer):
    """Stochastic gradient descent with momentum; decay is added to the gradient."""

    name = "sgd"
    decoupled = False

    momentum: float = 0.9
    nesterov: bool = False

    def __post_init__(self):
        require_share(self, "momentum")


@dataclass(frozen=True)
class Muon(Optimizer):
    """Muon, an orthogonalized momentum: Jordan et al. 2024; Liu et al. 2025, 2.2.

    For the matrices of layers; embeddings, vectors and a kernel's own weights get AdamW
    at the same learning rate. Updates of matrices are scaled to the root mean square of
    AdamW's (0.2 sqrt(max(in, out))), so that one learning rate serves both. A mesh gathers
    whole matrices on each device, which hold their momentum.
    """

    name = "muon"

    beta: float = 0.95
    """Decay of the momentum."""
    iterations: int = 5
    """Newton-Schulz iterations."""
    b1: float = 0.9
    b2: float = 0.999
    eps: float = 1e-8

    def __post_init__(self):
        require_share(self, "beta", "b1", "b2")
        require_above_0(self, "iterations", "eps")


@dataclass(frozen=True)
class Adafactor(Optimizer):
    """Adafactor without momentum: Shazeer and Stern 2018, algorithms 4 and 5.

    Second moments of large matrices are kept as sums of rows and columns. Steps are
    relative to the size of the weights.
    """

    name = "adafactor"

    decay: float = 0.8
    """Exponent by which the decay of second moments approaches 1."""
    least_factored: int = 128
    """The smallest dimension of a matrix whose moments are factored."""
    threshold: float = 1.0
    """Largest root mean square of an update."""

    def __post_init__(self):
        require_share(self, "decay")
        require_above_0(self, "least_factored", "threshold")


@dataclass(frozen=True)
class LAMB(AdamW):
    """LAMB, AdamW with a trust ratio for each weight: You et al. 2020, algorithm 2."""

    name = "lamb"

    eps: float = 1e-6


OPTIMIZERS: dict[str, type[Optimizer]] = {
    rule.name: rule for rule in (AdamW, Adam, Lion, SGD, Muon, Adafactor, LAMB)
}
"""Every optimizer by its name."""
