"""The command `reproduce`: published numbers beside ours, with a verdict on each."""

import json
import sys
from collections.abc import Sequence
from dataclasses import replace
from math import isfinite
from pathlib import Path
from typing import TYPE_CHECKING

from attn.cli.choosing import Source, refuse_unused
from attn.cli.console import console, print_paths
from attn.errors import UserError, unknown

if TYPE_CHECKING:
    from attn.cli.options import Reproducing
    from attn.config import Experiment
    from attn.config.compiled import CompiledStep
    from attn.records.compiled import Planned
    from attn.records.published import Paper
    from attn.records.run import Run
    from attn.report.reproduction import Compared

MADE = ("compiled.json", "*/config.json", "*/*/config.json")
"""Patterns of what this command makes beside tables: compiled steps, and runs."""


def reproduce(words: Sequence[str], registry: Source) -> int:
    """Compares the numbers of a paper with ours; without a name, lists the papers."""
    from attn.cli.folders import check_made
    from attn.cli.options import Reproducing
    from attn.cli.parsing import parse
    from attn.report.reproduction import compare

    papers = _papers(registry)
    if not words or words[0].startswith("-"):
        asked = parse(Reproducing, words, prog="launch.py reproduce [PAPER]")
        return _list(papers, registry, asked, " ".join(words))
    name, rest = words[0], words[1:]
    asked = parse(Reproducing, rest, prog="launch.py reproduce [PAPER]")
    refuse_unused(asked, "reproduce", "nprocs")
    if name not in papers:
        raise unknown("paper", name, papers)
    _have(asked)
    check_made(_root(name, asked), "reproduce", *MADE)
    paper = _one_table(papers[name], asked.table)
    tables = {table.name for table in paper.tables}
    ours = [r for r in registry().reproductions(name) if r.table in tables]
    wanted = dict.fromkeys(e for r in ours for e in r.experiments)
    runs, code = _runs(name, tuple(wanted), asked)
    planned = _planned(
        [step for r in ours for step in r.steps], _root(name, asked), asked
    )
    compared = compare(paper, ours, runs, planned)
    if asked.json:
        print(json.dumps([_as_json(one) for one in compared], indent=2))
        return code
    file = name if asked.table is None else f"{name}-{asked.table}"
    return _write(paper, file, compared, _root(name, asked)) or code


def _papers(registry: Source) -> "dict[str, Paper]":
    """All papers by name, of the laboratory and of a user's files."""
    from attn.records.published import read_papers

    return {
        name: paper
        for folder in registry().papers()
        for name, paper in read_papers(folder).items()
    }


def _list(
    papers: "dict[str, Paper]", registry: Source, asked: "Reproducing", option: str
) -> int:
    """Prints the list of papers, as lines or as JSON.

    Raises:
        UserError: another option was given, which needs a paper.
    """
    from attn.report.reproductions import as_json, as_lines, listed

    if asked != type(asked)(json=asked.json):
        raise UserError(
            f"reproduce {option} needs a paper; name one, as in reproduce h3, or say "
            "reproduce alone for their list"
        )
    rows = [listed(paper, registry().reproductions(n)) for n, paper in papers.items()]
    if asked.json:
        print(json.dumps([as_json(row) for row in rows], indent=2))
    else:
        print("\n".join(as_lines(rows)))
    return 0


def _root(name: str, asked: "Reproducing") -> Path:
    from attn.cli.folders import workdir

    return workdir(asked.workdir, f"reproduce-{name}")


def _one_table(paper: "Paper", name: str | None) -> "Paper":
    """A paper with one of its tables alone, or all of it.

    Raises:
        UserError: it has no table of that name.
    """
    chosen = tuple(table for table in paper.tables if name in (None, table.name))
    if not chosen:
        raise unknown(
            f"table of {paper.name}", str(name), [t.name for t in paper.tables]
        )
    return replace(paper, tables=chosen)


def _runs(
    name: str, experiments: "Sequence[Experiment]", asked: "Reproducing"
) -> "tuple[dict[Experiment, Run], int]":
    """The finished runs of all experiments, those that were missing trained.

    They are found by what they are, whatever they are called.
    """
    from attn.cli.training import prepare, train
    from attn.records.collect import load_all, run_folders_in

    if not experiments:
        return {}, 0
    root = _root(name, asked)
    # A folder of their own, since tables and compiled steps lie in the other.
    below = replace(asked, workdir=str(root / "runs"))
    study, code = f"reproduce-{name}", 0
    told: set[Path] = set()

    def finished(*folders: Path) -> "dict[Experiment, Run]":
        there = [path for path in folders if any(run_folders_in(path))]
        runs = [run for path in there for run in load_all(path) if not run.failed]
        done = {e.unnamed: run for run in runs if (e := _decoded(run, told))}
        return {e: done[e.unnamed] for e in experiments if e.unnamed in done}

    found = finished(*_have(asked), *([root] if root.is_dir() else []))
    missing = [e for e in experiments if e not in found]
    if missing:
        folder, mesh_shape = prepare(missing, below, study)
        code = train(missing, folder, mesh_shape, below, study)
        found |= finished(folder)
    return found, code


def _decoded(run: "Run", told: set[Path]) -> "Experiment | None":
    """The experiment of a run; one of a mechanism that is not here is told of once."""
    try:
        return run.experiment
    except UserError as error:
        if run.directory not in told:
            print(f"not compared: {run.directory}: {error}", file=sys.stderr)
        told.add(run.directory)
        return None


def _planned(
    steps: "Sequence[CompiledStep]", root: Path, asked: "Reproducing"
) -> "dict[str, Planned]":
    """The bytes of all steps, those that were missing compiled, and kept one by one."""
    from attn.cli.folders import writing
    from attn.records.compiled import read_planned, write_planned

    found = read_planned(root, *_have(asked)) if steps else {}
    missing = {step.key: step for step in steps if step.key not in found}
    for i, (key, step) in enumerate(missing.items(), 1):
        from attn.train.memory import planned

        print(f"compiling {i}/{len(missing)}: {step.experiment.name}", file=sys.stderr)
        found[key] = planned(step)
        with writing(root):
            write_planned(root, {key: found[key]})
    return found


def _have(asked: "Reproducing") -> list[Path]:
    """The folders of --have; raises `UserError` for one that is not there."""
    from attn.cli.folders import folder

    paths = [folder("--have", text) for text in asked.have]
    for path in paths:
        if not path.is_dir():
            raise UserError(
                f"--have {path} is not a folder; give the folder of your runs"
            )
    return paths


def _write(
    paper: "Paper", name: str, compared: "Sequence[Compared]", root: Path
) -> int:
    """Writes and prints the comparison of one paper, in files of this name."""
    from attn.cli.folders import writing
    from attn.plots.tables import write_tables
    from attn.plots.terminal import to_rich
    from attn.report.reproduced import tables, write_page
    from attn.report.reproduction import summary

    shown = tables(paper, compared)
    said = f"{paper.title} ({paper.source}): {summary(compared)}"
    with writing(root):
        paths = write_tables(shown, root / name, after=[said])
        paths.append(write_page(paper, compared, root / f"{name}.html"))
    printer = console()
    printer.print(to_rich(shown, [said], width=printer.width))
    print_paths(printer, *paths)
    return 0


def _as_json(one: "Compared") -> dict[str, object]:
    """One comparison as JSON values."""
    cell, ours = one.cell, one.ours
    return {
        "paper": cell.paper,
        "table": cell.table,
        "row": cell.row,
        "column": cell.column,
        "unit": cell.unit,
        "published": cell.value,
        "ours": ours.mean if ours and isfinite(ours.mean) else None,
        "half": ours.half if ours and isfinite(ours.mean) else None,
        "n": ours and ours.n,
        "verdict": one.verdict,
        "differs": one.by.differs if one.by else None,
        "note": one.by.note if one.by else None,
        "not_run": cell.not_run,
        "caveat": cell.caveat,
        "source": cell.source,
    }
