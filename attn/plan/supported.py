"""The table of what serves each mechanism where a mesh divides the sequence."""

from itertools import groupby

from attn.parallel.strategies import STRATEGIES
from attn.parallel.support import SENT, Support
from attn.plots.tables import Cell, Column, Row, Table
from attn.plots.units import NONE

_SENDS = "; ".join(f"{name} {', '.join(kinds)}" for name, kinds in SENT.items())
NOTE = (
    "Masks that a strategy serves, of those that the mechanism takes; what is not here is "
    "refused by name. sinks: the strategies that serve it with attention sinks, too. Each "
    "is held to one device in tests/parallel/test_sequence.py.\n"
    f"Sent beside gradients of weights: {_SENDS}."
)


def supported(rows: list[Support]) -> Table:
    """Builds the table: a row a mechanism, and a column a strategy."""
    each = groupby(rows, key=lambda row: row.kernel)
    return Table(
        "Sequences over devices: mechanism, strategy, mask",
        tuple(Column(s, text=True) for s in ("mechanism", *STRATEGIES, "sinks")),
        tuple(_row(kernel, list(own)) for kernel, own in each),
        NOTE,
    )


def _row(kernel: str, rows: list[Support]) -> Row:
    """The cells of one mechanism, from its rows of each mask."""

    def served(strategy: str) -> str:
        masks = [row.mask for row in rows if strategy in row.strategies]
        others = [row.mask for row in rows if row.mask not in masks]
        if len(others) == 1 < len(masks):
            return f"not {others[0]}"
        return ", ".join(masks) or NONE if others else "all"

    each = (*(served(strategy) for strategy in STRATEGIES), _with_sinks(rows))
    return Row((Cell(kernel), *map(Cell, each)))


def _with_sinks(rows: list[Support]) -> str:
    """The strategies that serve one mechanism with sinks: all that do without, or which."""
    if all(row.sinks == row.strategies for row in rows):
        return "all"

    def always(strategy: str) -> bool:
        served = [row.sinks for row in rows if strategy in row.strategies]
        return bool(served) and all(strategy in sinks for sinks in served)

    return ", ".join(filter(always, STRATEGIES)) or NONE
