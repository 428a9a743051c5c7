"""Reports from run folders: tables, plots, and one HTML page."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING

if TYPE_CHECKING:
    from attn.plots.tables import Table

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


def write_report(directory: Path, out: Path | None = None) -> Report:
    """Reads every run folder in `directory` and writes its report.

    Args:
      directory: holds run folders, at any depth.
      out: where `table.md`, `table.csv`, `table.tex`, the PNG files and `report.html`
        go; `directory` unless given.

    Raises:
      UserError: no run folder is there.
    """
    from attn.plots.plots import save_all
    from attn.plots.results import CAPTION, make_tables
    from attn.plots.tables import to_csv, to_latex, to_markdown
    from attn.records.run import load_all
    from attn.report.html import write_page

    runs = load_all(directory)
    out = Path(out or directory)
    out.mkdir(parents=True, exist_ok=True)
    tables = make_tables(runs)
    markdown = to_markdown(tables, after=[CAPTION])
    written = {"md": markdown, "csv": to_csv(tables), "tex": to_latex(tables)}
    for kind, text in written.items():
        (out / f"table.{kind}").write_text(text, encoding="utf-8")
    title = f"Results: {Path(directory).resolve().name}"
    page = write_page(runs, out / "report.html", title)
    pictures, problems = save_all(runs, out)
    return Report(out / "table.md", page, pictures, tables, markdown, problems)
