"""The registry of experiments, and of studies that compare some of them."""

from dataclasses import dataclass

from attn.config import Experiment
from attn.errors import UserError, unknown


@dataclass(frozen=True)
class Study:
    """Experiments that answer one question together."""

    name: str
    claim: str
    """The sentence that the table will support or refute."""
    experiments: tuple[Experiment, ...]
    minutes: float
    """The expected minutes on two CPU cores."""


_REGISTRY: dict[str, Experiment | Study] = {}


def register(*items: Experiment | Study) -> None:
    """Registers items by name; a study brings its experiments.

    Raises:
        UserError: a name is taken.
    """
    for item in items:
        if item.name in _REGISTRY:
            raise UserError(f"two experiments are called {item.name!r}; rename one")
        _REGISTRY[item.name] = item
        if isinstance(item, Study):
            register(*item.experiments)


def get(name: str) -> Experiment | Study:
    """Returns the item of that name.

    Raises:
        UserError: there is none; the nearest name is offered.
    """
    if name not in _REGISTRY:
        raise unknown("experiment", name, _REGISTRY)
    return _REGISTRY[name]


def everything() -> tuple[Experiment | Study, ...]:
    """All items, in order of registration."""
    return tuple(_REGISTRY.values())
