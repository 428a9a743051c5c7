"""The command `report`, and the report that a training command ends with."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from attn.cli.choosing import Source
from attn.cli.console import console, print_paths
from attn.errors import UserError

if TYPE_CHECKING:
    from attn.cli.options import Reporting
    from attn.plots.tables import Table
    from attn.records.run import Run

REPOSITORY = (".git", ".hg", "pyproject.toml", "setup.py", "setup.cfg")
"""What is in a folder that a report does not write into unless told to."""


def report(words: Sequence[str], registry: Source) -> int:
    """Writes tables, plots and one offline page from run folders."""
    from attn.cli.folders import folder
    from attn.cli.options import Reporting
    from attn.cli.parsing import parse

    if not words:
        raise UserError("report needs the folder of your runs, as in `report runs`")
    asked = parse(Reporting, words, prog="launch.py report")
    directories = [folder("directory", text) for text in asked.directories]
    readme = asked.readme
    readme = None if readme is None else folder("--readme", readme, file=True)
    out = _out(asked, directories)

    from attn.plots.results import around
    from attn.records.collect import load_all, pick

    if readme is not None:
        around(readme)  # which refuses it before anything is written
    registry()  # claims are those of registered studies
    runs = pick(load_all(*directories), only=asked.only, where=asked.where)
    title = ", ".join(directory.resolve().name for directory in directories)
    return write_report(runs, out, title, readme, svg=asked.svg)


def _out(asked: "Reporting", directories: Sequence[Path]) -> Path:
    """The folder to write to."""
    from attn.cli.folders import folder

    if asked.out is not None:
        return folder("--out", asked.out)
    if len(directories) > 1:
        raise UserError(
            f"report of {len(directories)} folders needs --out, as in --out runs/report"
        )
    refuse_repository(directories[0], "give --out, as in --out runs/report")
    return directories[0]


def refuse_repository(here: Path, way_out: str) -> None:
    """Raises `UserError` where a folder is a repository, into which nothing is written."""
    found = next((name for name in REPOSITORY if (here / name).exists()), None)
    if found is not None:
        raise UserError(
            f"{here} is a repository ({found} is there), and nothing is written into "
            f"one; {way_out}"
        )


def write_report(
    runs: "Sequence[Run]",
    out: Path,
    title: str,
    readme: Path | None = None,
    *,
    svg: bool = False,
) -> int:
    """Writes the report of runs and prints its tables."""
    from attn.plots.results import CAPTION, update_readme
    from attn.plots.terminal import to_rich
    from attn.report import write_report as write

    try:
        written = write(runs, out, title, claims=judged_claims(runs), svg=svg)
    except OSError as error:
        raise UserError(
            f"cannot write to {out}: {error.strerror}; choose another --out"
        ) from error
    printer = console()
    after = [CAPTION, *written.problems]
    printer.print(to_rich(written.tables, after, width=printer.width))
    if readme is not None:
        update_readme(readme, written.table.read_text("utf-8"))
    print_paths(printer, written.table, written.page)
    return 0


def judged_claims(runs: "Sequence[Run]") -> "Sequence[Table]":
    """Verdicts on the claims of registered studies, from runs that are as registered."""
    from attn.registry import claims, is_registered
    from attn.report.claims import claim_tables

    def judged(run: "Run") -> bool:
        try:
            return is_registered(run.experiment)
        except UserError:  # of another version, or of a mechanism that is not here
            return False

    return claim_tables(claims(), [run for run in runs if judged(run)])


def print_finished(root: Path) -> None:
    """Prints the table of the runs that a study has begun, if any."""
    from attn.plots.results import make_tables
    from attn.plots.terminal import to_rich
    from attn.records.collect import load_all, run_folders_in

    if root.is_dir() and any(run_folders_in(root)):
        printer = console()
        printer.print(to_rich(make_tables(load_all(root)), width=printer.width))
