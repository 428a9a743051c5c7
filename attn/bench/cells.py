"""Cells of the tables of a record: spreads, fits and crossovers as text."""

from collections.abc import Sequence

from attn.bench.measure import Spread
from attn.bench.record import Crossover, Fit
from attn.plots.tables import Cell, Column, Row, Table
from attn.plots.units import NONE, milliseconds


def text_table(title: str, columns: Sequence[str | Column], rows) -> Table:
    """Builds a table of strings, whose first and last columns are sentences."""
    last = len(columns) - 1
    heads = tuple(
        c if isinstance(c, Column) else Column(c, text=i in (0, last))
        for i, c in enumerate(columns)
    )
    return Table(title, heads, tuple(Row(tuple(map(Cell, row))) for row in rows))


def exponent(fit: Fit | None, lengths: int) -> str:
    """Formats a fit as `1.02 ± 0.03`, with its number of lengths if any is missing."""
    if fit is None:
        return NONE
    error = "" if fit.error is None else f" ± {fit.error:.2f}"
    fewer = len(fit.tokens) < lengths
    return f"{fit.exponent:.2f}{error}" + f" ({len(fit.tokens)} lengths)" * fewer


def overtaken(crossover: Crossover | None) -> str:
    """Formats a crossover: `1,730`, `below 1,024`, `beyond 16,384` or `never seen`."""
    if crossover is None:
        return NONE
    if crossover.kind == "never":
        return "never seen"
    lead = "" if crossover.kind == "at" else f"{crossover.kind} "
    return f"{lead}{crossover.tokens:,}"


def spread(value: Spread | None) -> str:
    """Formats samples as `61.2 (60.1 to 64.0)`; one number where all are equal."""
    if value is None:
        return NONE
    texts = [milliseconds(x) for x in (value.median, value.low, value.high)]
    if value.low == value.high:
        return texts[0]
    return f"{texts[0]} ({texts[1]} to {texts[2]})"
