"""The command `reproduce`: published numbers beside ours, with a verdict on each."""

import json
import sys
import textwrap
from collections.abc import Sequence
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


def reproduce(words: Sequence[str], registry: Source) -> int:
    """Compares the numbers of a paper with ours; without a name, lists the papers."""
    from attn.cli.options import Reproducing
    from attn.cli.parsing import parse
    from attn.report.reproduction import compare

    papers = _papers(registry)
    if not words:
        print("\n".join(_listed(papers, registry)))
        return 0
    name, rest = ("", words) if words[0].startswith("-") else (words[0], words[1:])
    asked = parse(Reproducing, rest, prog="launch.py reproduce PAPER")
    refuse_unused(asked, "reproduce", "nprocs")
    if name not in papers:
        raise unknown("paper", name, papers)
    _have(asked)
    ours = registry().reproductions(name)
    runs, code = _runs(name, {e.name: e for r in ours for e in r.experiments}, asked)
    planned = _planned(
        [step for r in ours for step in r.steps], _root(name, asked), asked
    )
    compared = compare(papers[name], ours, runs, planned)
    if asked.json:
        print(json.dumps([_as_json(one) for one in compared], indent=2))
        return code
    return _write(papers[name], compared, _root(name, asked)) or code


def _papers(registry: Source) -> "dict[str, Paper]":
    """All papers by name, of the laboratory and of a user's files."""
    from attn.records.published import read_papers

    return {
        name: paper
        for folder in registry().papers()
        for name, paper in read_papers(folder).items()
    }


def _listed(papers: "dict[str, Paper]", registry: Source) -> list[str]:
    """Each paper in some lines: its numbers, how many of them have ours, and minutes."""
    from attn.records.published import cells

    lines = []
    for name, paper in papers.items():
        ours = registry().reproductions(name)
        beside = sum(len(one.rows) for one in ours)
        minutes = sum({(r.experiments, r.steps): r.minutes for r in ours}.values())
        took = f", {minutes:g} min" if minutes else ""
        said = f"{beside} beside ours{took}" if beside else "none beside ours yet"
        lines.append(f"{name:20} {len(list(cells(paper))):3} numbers, {said}")
        lines += textwrap.wrap(
            f"{paper.title} ({paper.year}), {paper.source}",
            80,
            initial_indent="  ",
            subsequent_indent="  ",
        )
    return [
        *lines,
        "",
        "reproduce PAPER: trains or compiles what is missing, and compares",
    ]


def _root(name: str, asked: "Reproducing") -> Path:
    from attn.cli.folders import workdir

    return workdir(asked.workdir, f"reproduce-{name}")


def _runs(
    name: str, experiments: "dict[str, Experiment]", asked: "Reproducing"
) -> "tuple[dict[str, Run], int]":
    """The finished runs of all experiments, those that were missing trained."""
    from attn.cli.training import prepare, train
    from attn.records.collect import load_all

    found: dict[str, Run] = {}
    for path in _have(asked) if experiments else ():
        for run in load_all(path):
            if not run.failed and run.experiment == experiments.get(run.name):
                found[run.name] = run
    missing = [e for e in experiments.values() if e.name not in found]
    if not missing:
        return found, 0
    study = f"reproduce-{name}"
    root, mesh_shape = prepare(missing, asked, study)
    code = train(missing, root, mesh_shape, asked, study)
    wanted = {e.name for e in missing}
    trained = {run.name: run for run in load_all(root) if run.name in wanted}
    return found | trained, code


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


def _write(paper: "Paper", compared: "Sequence[Compared]", root: Path) -> int:
    """Writes and prints the comparison of one paper."""
    from attn.cli.folders import writing
    from attn.plots.tables import write_tables
    from attn.plots.terminal import to_rich
    from attn.report.reproduced import tables, write_page
    from attn.report.reproduction import summary

    shown = tables(paper, compared)
    said = f"{paper.title} ({paper.source}): {summary(compared)}"
    with writing(root):
        paths = write_tables(shown, root / paper.name, after=[said])
        paths.append(write_page(paper, compared, root / f"{paper.name}.html"))
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
        "ours": ours and ours.mean,
        "half": ours and ours.half,
        "n": ours and ours.n,
        "verdict": one.verdict,
        "differs": one.by.differs if one.by else None,
        "caveat": cell.caveat,
        "source": cell.source,
    }
