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
    """The files of a report, and its tables as data and as text."""

    table: Path
    page: Path
    pictures: Sequence[Path]
    tables: "Sequence[Table]"
    markdown: str
    problems: Sequence[str]
    """Files that could not be read, and so are not among the plots."""


def write_report(
    runs: "Sequence[Run]", out: Path, title: str, *, svg: bool = False
) -> Report:
    """Writes the report of runs.

    Args:
      out: where `table.md`, `table.csv`, `table.tex`, the pictures and `report.html` go.
      title: what the runs are called, above all.
      svg: whether pictures are written as SVG, beside PNG.
    """
    from attn.plots.plots import save_all
    from attn.plots.results import CAPTION, make_table
    from attn.plots.tables import to_csv, to_latex, to_markdown
    from attn.records.comparison import group_runs
    from attn.report.html import write_page

    out.mkdir(parents=True, exist_ok=True)
    groups = group_runs(runs)
    tables = [make_table(group) for group in groups]
    markdown = to_markdown(tables, after=[CAPTION])
    written = {"md": markdown, "csv": to_csv(tables), "tex": to_latex(tables)}
    for kind, text in written.items():
        (out / f"table.{kind}").write_text(text, encoding="utf-8")
    page = write_page(groups, out / "report.html", f"Results: {title}")
    pictures, problems = save_all(groups, out, svg=svg)
    return Report(out / "table.md", page, pictures, tables, markdown, problems)
