"""What a person sees of results: tables, pictures, and one HTML page, from run folders."""

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

__all__ = ["Report", "write_report"]


@dataclass(frozen=True)
class Report:
    """What was written, and the tables as text."""

    table: Path
    page: Path
    pictures: Sequence[Path]
    markdown: str


def write_report(directory: Path, out: Path | None = None) -> Report:
    """Reads every run folder in `directory` and writes its report.

    Args:
      directory: holds run folders, at any depth.
      out: where `table.md`, the PNG files and `report.html` go; `directory` unless given.

    Raises:
      UserError: no run folder is there.
    """
    from attn.plots.plots import save_all
    from attn.plots.tables import make_tables, to_markdown
    from attn.records.run import load_all
    from attn.report.html import write_page

    runs = load_all(directory)
    out = Path(out or directory)
    out.mkdir(parents=True, exist_ok=True)
    markdown = to_markdown(make_tables(runs))
    table = out / "table.md"
    table.write_text(markdown, encoding="utf-8")
    page = write_page(
        runs, out / "report.html", f"Results: {Path(directory).resolve().name}"
    )
    return Report(table, page, tuple(save_all(runs, out)), markdown)
