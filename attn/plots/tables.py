"""Tables of results: one a task, every run a row, trivial baselines beside them.

A table is data first (`Table`); Markdown, the terminal and the page each draw it.
"""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, Literal

from rich.console import Group as RichGroup
from rich.table import Table as RichTable
from rich.text import Text

from attn.errors import UserError
from attn.plots.units import (
    NONE,
    count,
    memory,
    metric_label,
    metric_text,
    milliseconds,
    quantity,
)
from attn.records.comparison import Group, group_runs
from attn.records.estimates import Estimate
from attn.records.run import Run

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"


@dataclass(frozen=True)
class Cell:
    """What a cell says, and the number it sorts by."""

    text: str
    value: float | int | None = None
    strong: bool = False


@dataclass(frozen=True)
class Row:
    """One line of a table."""

    kind: Literal["run", "failed", "baseline"]
    family: str
    cells: tuple[Cell, ...]


@dataclass(frozen=True)
class Table:
    """One task: its runs, its trivial baselines, and where the numbers come from."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[Row, ...]
    provenance: str


def _number(
    field: str, text: Callable[[float | int | None], str]
) -> Callable[[Run], Cell]:
    return lambda run: Cell(
        text(getattr(run.result, field)), getattr(run.result, field)
    )


def _exact(run: Run) -> Cell:
    exact = run.result.kernel and run.result.kernel.exact
    return Cell(NONE) if exact is None else Cell("yes" if exact else "no", float(exact))


COSTS: Mapping[str, Callable[[Run], Cell]] = {
    "parameters": _number("params", count),
    "train FLOPs a step": _number("train_flops_per_step", quantity),
    "scratch memory": _number("temp_bytes", memory),
    "decoding state": _number("state_bytes", memory),
    "ms a step": _number("step_ms", milliseconds),
    "exact": _exact,
}


def make_tables(runs: Sequence[Run]) -> list[Table]:
    """One table for every task of every study among `runs`."""
    return [make_table(group) for group in group_runs(runs)]


def make_table(group: Group) -> Table:
    """The table of one task: runs by family and mechanism, then baselines, best first."""
    costs = [name for name in COSTS if _is_shown(name, group)]
    score = metric_label(group.metric)
    return Table(
        title=group.title,
        columns=("mechanism", "family", *group.varying, score, *costs),
        rows=(*_run_rows(group, costs), *_baseline_rows(group, len(costs))),
        provenance=provenance(group.runs),
    )


def _is_shown(cost: str, group: Group) -> bool:
    """An encoder has no decoding state; a column of dashes says nothing."""
    known = any(COSTS[cost](run).value is not None for run in group.runs)
    return known or cost != "decoding state"


def _run_rows(group: Group, costs: Sequence[str]) -> list[Row]:
    best = _best(group)
    rows = []
    for run in group.runs:
        cells = [Cell(group.labels[run.directory]), Cell(run.family)]
        cells += [_knob_cell(value) for value in group.knobs(run)]
        cells += [_score_cell(run, strong=run.directory in best)]
        cells += [COSTS[name](run) for name in costs]
        rows.append(Row("failed" if run.failed else "run", run.family, tuple(cells)))
    return rows


def _baseline_rows(group: Group, costs: int) -> list[Row]:
    rows = []
    for name, value in group.baselines:
        text = metric_text(group.metric, Estimate(value, None, 1), with_n=False)
        cells = [Cell(name.replace("_", " ")), Cell("baseline")]
        cells += [Cell(NONE)] * len(group.varying)
        cells += [Cell(text, value)] + [Cell(NONE)] * costs
        rows.append(Row("baseline", "baseline", tuple(cells)))
    return rows


def _knob_cell(value: Any) -> Cell:
    number = float(value) if isinstance(value, int | float) else None
    return Cell(NONE if value is None else str(value), number)


def _score_cell(run: Run, *, strong: bool) -> Cell:
    score = run.score
    if score is None:
        why = (run.result.error or "no reason given").strip().splitlines()[0]
        return Cell(f"failed: {why if len(why) <= 70 else why[:69] + '…'}")
    value = score.mean if math.isfinite(score.mean) else None
    return Cell(metric_text(run.metric, score), value, strong)


def _best(group: Group) -> set[Path]:
    """Where the best mean is, and every run whose interval overlaps that one's."""
    scores = {run.directory: run.score for run in group.done}
    finite = {at: s for at, s in scores.items() if s and math.isfinite(s.mean)}
    if len(finite) < 2:
        return set()
    pick = max if group.higher_is_better else min
    best = pick(finite.values(), key=lambda score: score.mean)
    return {at for at, s in finite.items() if s.low <= best.high and best.low <= s.high}


def provenance(runs: Sequence[Run]) -> str:
    """One line: seeds, machine, versions, commit, data; every value that occurs."""
    parts = [
        f"{_all(run.config.get('seeds') for run in runs)} seeds",
        _all(_machine(run.environment) for run in runs),
        f"jax {_all(run.environment.get('jax') for run in runs)}",
        f"commit {_all(_commit(run.environment) for run in runs)}",
    ]
    data = _all(run.result.dataset and run.result.dataset.sha256[:12] for run in runs)
    return " · ".join([*parts, f"data {data}"] if data != "unknown" else parts)


def _all(values) -> str:
    found = dict.fromkeys(str(value) for value in values if value not in (None, ""))
    return " / ".join(found) or "unknown"


def _machine(env: Mapping[str, Any]) -> str:
    """`cpu (AMD EPYC 7B13, 2 cores)` or `gpu (NVIDIA H200 x 8 devices)`."""
    platform, count = env.get("platform", "unknown"), env.get("device_count") or 1
    if platform == "cpu":
        what = f"{env.get('cpu') or 'cpu'}, {env.get('cores', '?')} cores"
    else:
        what = str(env.get("device_kind", "?"))
    return f"{platform} ({what}{f' x {count} devices' if count > 1 else ''})"


def _commit(env: Mapping[str, Any]) -> str | None:
    commit = env.get("git_commit")
    return commit and commit[:10] + (" (dirty)" if env.get("git_dirty") else "")


CAPTION = (
    "Mean over seeds ± half of the 95 % interval (Student t). Bold: the best mean, and "
    "every mean whose interval overlaps the best one's. FLOPs and time are of one seed; "
    "scratch memory is what a training step of all seeds needs beside its arguments."
)


def to_markdown(tables: Sequence[Table]) -> str:
    """All tables as GitHub Markdown, the caption once."""
    parts = [_markdown(table) for table in tables]
    return "\n\n".join([*parts, CAPTION]) + "\n"


def _markdown(table: Table) -> str:
    right = ["---" if index < 2 else "---:" for index in range(len(table.columns))]
    lines = [list(map(_escape, table.columns)), right]
    for row in table.rows:
        texts = [_escape(cell.text) for cell in row.cells]
        bold = [f"**{t}**" if cell.strong else t for t, cell in zip(texts, row.cells)]
        lines.append([f"*{bold[0]}*", *bold[1:]] if row.kind == "baseline" else bold)
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"### {_escape(table.title)}\n\n{body}\n\n{_escape(table.provenance)}"


def _escape(text: str) -> str:
    for old, new in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("\n", " ")):
        text = text.replace(old, new)
    return text.replace("*", "\\*").replace("`", "\\`").replace("[", "\\[")


STYLES = {"failed": "red", "baseline": "dim", "run": ""}


def to_rich(tables: Sequence[Table]) -> RichGroup:
    """All tables for a terminal; `rich.print` it."""
    return RichGroup(*map(_rich, tables), Text(CAPTION, style="dim"))


def _rich(table: Table) -> RichTable:
    drawn = RichTable(title=Text(table.title), caption=Text(table.provenance))
    for index, column in enumerate(table.columns):
        drawn.add_column(Text(column), justify="left" if index < 2 else "right")
    for row in table.rows:
        texts = [Text(c.text, style="bold" if c.strong else "") for c in row.cells]
        drawn.add_row(*texts, style=STYLES[row.kind])
    return drawn


def update_readme(readme: Path, tables: str) -> None:
    """Puts `tables` between the two results markers of a Markdown file.

    Raises `UserError` when the file does not hold each marker once, in order.
    """
    if not readme.exists():
        raise UserError(f"{readme} does not exist; give a Markdown file with markers")
    text = readme.read_text(encoding="utf-8")
    if (
        text.count(BEGIN) != 1
        or text.count(END) != 1
        or text.find(BEGIN) > text.find(END)
    ):
        raise UserError(
            f"{readme} needs one {BEGIN} and after it one {END}, on own lines"
        )
    before, rest = text.split(BEGIN)
    after = rest.split(END)[1]
    text = f"{before}{BEGIN}\n\n{tables.strip()}\n\n{END}{after}"
    readme.write_text(text, encoding="utf-8")
