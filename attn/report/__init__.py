"""Reports from run folders: tables, plots, and one HTML page."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attn.plots.tables import Table
    from attn.records.run import Run

__all__ = ["Report", "write_report"]


@dataclass(frozen=True)
class Report:
    """The files of a report, and its tables as data."""

    table: Path
    page: Path
    pictures: Sequence[Path]
    tables: "Sequence[Table]"
    """Tables of results, then those of claims."""
    problems: Sequence[str]
    """Files that could not be read, and so are not among the plots."""


def write_report(
    runs: "Sequence[Run]",
    out: Path,
    title: str,
    *,
    claims: "Sequence[Table]" = (),
    svg: bool = False,
) -> Report:
    """Writes the report of runs.

    Args:
      out: where `table.md`, `table.csv`, `table.tex`, the pictures and `report.html` go.
      claims: the verdicts on claims (`attn.report.claims`), for `claims.md` and so on.
      title: what the runs are called, above all.
      svg: whether pictures are written as SVG, beside PNG.
    """
    from attn.plots.plots import save_all
    from attn.plots.results import CAPTION, make_table
    from attn.plots.tables import write_tables
    from attn.records.comparison import group_runs
    from attn.report import claims as verdicts
    from attn.report.html import write_page

    out.mkdir(parents=True, exist_ok=True)
    groups = group_runs(runs)
    tables = [make_table(group) for group in groups]
    table, *_ = write_tables(tables, out / "table", after=[CAPTION])
    if claims:
        write_tables(claims, out / "claims", after=[verdicts.CAPTION])
    page = write_page(groups, out / "report.html", f"Results: {title}", claims)
    pictures, problems = save_all(groups, out, svg=svg)
    return Report(table, page, pictures, [*tables, *claims], problems)
