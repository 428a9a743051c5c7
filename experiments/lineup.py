"""The mechanisms that studies compare, at equal parameters and each at its own rate."""

import json
from dataclasses import replace
from pathlib import Path

from attn.config import Experiment
from attn.config.claims import Prediction
from attn.config.match import match
from attn.config.tuning import Tuning, tuned
from attn.config.typed import decode
from attn.kernels import (
    Kernel,
    Linear,
    Linformer,
    Longformer,
    Performer,
    Softmax,
    WindowAttention,
)
from attn.registry import Study

TUNINGS = Path(__file__).parent / "tunings"
"""The grids of rates of each study, as `launch.py tune` wrote them."""


def line_up(
    *, width: int, num_global: int, num_features: int, rank: int | None = None
) -> tuple[Kernel, ...]:
    """One of each mechanism, dense to low-rank; Linformer where `rank` is given."""
    mechanisms = (
        Softmax(),
        WindowAttention(width=width),
        Longformer(width=width, num_global=num_global),
        Linear(),
        Performer(num_features=num_features),
    )
    return mechanisms if rank is None else (*mechanisms, Linformer(rank=rank))


def under(base: Experiment, mechanisms: tuple[Kernel, ...]) -> tuple[Experiment, ...]:
    """Makes `base` with each mechanism, at equal parameters.

    What a mechanism owns is taken from the hidden layer. Where there is none, only
    mechanisms that own nothing are equal, and a test holds it.
    """
    by = "params" if "mlp" in base.model.pattern else "none"

    def one(kernel: Kernel) -> Experiment:
        model = replace(base.model, kernel=kernel)
        name = f"{base.name}_{kernel.name}"
        return match(replace(base, name=name, model=model), base, by)

    return tuple(map(one, mechanisms))


def better(run: str, *others: str | float) -> tuple[Prediction, ...]:
    """Predicts that an experiment is better than each of others."""
    return tuple(Prediction(run, other) for other in others)


def alike(
    experiments: tuple[Experiment, ...], *, within: float
) -> tuple[Prediction, ...]:
    """Predicts that experiments are alike: each is within a margin of the first."""
    first, *rest = (experiment.name for experiment in experiments)
    return tuple(Prediction(run, first, -within, within) for run in rest)


def at_own_rates(study: Study) -> Study:
    """Makes each experiment of a study at the rate that `launch.py tune` found for it."""
    grids = json.loads((TUNINGS / f"{study.name}.json").read_text())
    tunings = {name: decode(Tuning, grid) for name, grid in grids.items()}
    experiments = tuned(study.experiments, tunings)
    return replace(study, experiments=experiments, tunings=tunings)
