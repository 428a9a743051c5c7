"""Studies, reproductions and replacements: the items that are registered beside experiments."""

from collections.abc import Callable, Mapping
from dataclasses import dataclass, field

from attn.config.claims import Claim
from attn.config.compiled import CompiledStep
from attn.config.experiment import Experiment
from attn.config.tuning import Tunings
from attn.errors import unknown
from attn.kernels import Kernel


@dataclass(frozen=True)
class Study:
    """Experiments that answer one question together."""

    name: str
    claim: str
    """The sentence that the table will support or refute."""
    experiments: tuple[Experiment, ...]
    minutes: int | float
    """The expected minutes on two CPU cores."""
    tunings: Tunings = field(default_factory=dict)
    """The grids that the learning rates of experiments come from."""
    claims: tuple[Claim, ...] = ()
    """What its experiments must show, each a sentence with a verdict."""
    planned: bool = False
    """Whether its experiments are only planned, for machines that are not here."""

    def __post_init__(self):
        names = [experiment.name for experiment in self.experiments]
        for claim in self.claims:
            for run in (prediction.run for prediction in claim.predictions):
                if run not in names:
                    raise unknown(f"experiment of study {self.name!r}", run, names)


@dataclass(frozen=True)
class Reproduction:
    """Sources of our numbers for one column of a published table."""

    paper: str
    table: str
    column: str
    rows: Mapping[str, Experiment | CompiledStep | Callable[[], float]]
    """By row: an experiment to train, a step to compile, whose bytes are counted, or a
    function that computes the number."""
    differs: str = ""
    """The settings that differ from the published ones."""
    order_only: bool = False
    """Whether they differ so much that only the order of rows can be compared."""
    higher_is_better: bool = True
    """Whether more of the published number is better."""
    scale: float = 1.0
    """The factor from our metric, or from bytes, to the published unit."""
    minutes: int | float = 0
    """The expected minutes of its experiments and steps on two CPU cores."""
    note: str = ""
    """A sentence that must stand below its numbers."""
    relative_to: str = ""
    """A row that all others are divided by, ours and the published ones, before ratios
    are compared."""

    @property
    def name(self) -> str:
        """The place of the column."""
        return f"{self.paper}/{self.table}/{self.column}"

    @property
    def experiments(self) -> tuple[Experiment, ...]:
        """The experiments among the rows."""
        return tuple(e for e in self.rows.values() if isinstance(e, Experiment))

    @property
    def steps(self) -> tuple[CompiledStep, ...]:
        """The steps to compile among the rows."""
        return tuple(s for s in self.rows.values() if isinstance(s, CompiledStep))

    @property
    def ours_higher_is_better(self) -> bool:
        """Whether more of our metric is better; of bytes, as published."""
        if not self.experiments:
            return self.higher_is_better
        return self.experiments[0].task.metric.higher_is_better

    def __post_init__(self):
        if self.relative_to and self.relative_to not in self.rows:
            raise unknown(f"row of {self.name}", self.relative_to, self.rows)


@dataclass(frozen=True)
class Replacement:
    """A mechanism at several budgets, to be put in place of attention in real weights."""

    name: str
    """The name of its line in a picture, and of its rows in a table."""
    kernels: tuple[Kernel, ...]
    """The mechanism, from few scores kept to many."""
