"""The table of what serves each mechanism where a mesh divides the sequence."""

from itertools import groupby

from attn.parallel.strategies import STRATEGIES
from attn.parallel.support import Support
from attn.plots.tables import Cell, Column, Row, Table
from attn.plots.units import NONE

NOTE = (
    "Masks that a strategy serves, of those that the mechanism takes; what is not here is "
    "refused by name. Each is held to one device in tests/parallel/test_sequence.py."
)


def supported(rows: list[Support]) -> Table:
    """Builds the table: a row a mechanism, and a column a strategy."""
    each = groupby(rows, key=lambda row: row.kernel)
    return Table(
        "Sequences over devices: mechanism, strategy, mask",
        (Column("mechanism", text=True), *(Column(s, text=True) for s in STRATEGIES)),
        tuple(_row(kernel, list(own)) for kernel, own in each),
        NOTE,
    )


def _row(kernel: str, rows: list[Support]) -> Row:
    """The cells of one mechanism, from its rows of each mask."""

    def served(strategy: str) -> str:
        masks = [row.mask for row in rows if strategy in row.strategies]
        return "all" if len(masks) == len(rows) else ", ".join(masks) or NONE

    return Row((Cell(kernel), *(Cell(served(strategy)) for strategy in STRATEGIES)))
