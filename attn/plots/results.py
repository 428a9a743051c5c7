"""Tables of results: one a task, a row a run, with trivial baselines."""

import math
from collections.abc import Callable, Mapping, Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

from attn.errors import UserError
from attn.plots.apart import bold, floor
from attn.plots.audits import shortcuts
from attn.plots.tables import Cell, Column, Row, Table
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
from attn.records.environment import every, provenance
from attn.records.estimates import Estimate
from attn.records.files import read_bytes, write_atomically
from attn.records.knobs import RATE
from attn.records.power import POWER
from attn.records.run import Run

BEGIN, END = "<!-- results:begin -->", "<!-- results:end -->"

CAPTION = (
    "Mean over seeds ± half of the 95 % interval (Student t). Bold: the best mean, and "
    "every mean whose interval overlaps the best one's, or whose difference from it is below "
    f"what their seeds find with a probability of {POWER:.0%}. FLOPs and time are of one seed, "
    "time the median over calls ± half of its interquartile range; scratch memory is what "
    "a training step of all seeds needs beside its arguments."
)


def _number(
    field: str, text: Callable[[float | int | None], str]
) -> Callable[[Run], Cell]:
    def cell(run: Run) -> Cell:
        value = getattr(run.result, field)
        return Cell(text(value), value)

    return cell


def _exact(run: Run) -> Cell:
    exact = run.result.kernel and run.result.kernel.exact
    return Cell(NONE) if exact is None else Cell("yes" if exact else "no", int(exact))


def _pace(run: Run) -> Cell:
    """The time of a step, with half of its interquartile range over calls."""
    time, spread = run.result.step_ms, run.step_ms_spread
    if time is None or spread is None:
        return Cell(milliseconds(time), time)
    half = (spread[1] - spread[0]) / 2
    text = milliseconds(time)
    digits = len(text.partition(".")[2])
    return Cell(f"{text} ± {half:.{digits}f}", time, half)


SCRATCH = Column("scratch memory", raw="scratch bytes", spare=4)
COSTS: Mapping[Column, Callable[[Run], Cell]] = {
    Column("parameters", spare=2): _number("params", count),
    Column("train FLOPs a step", spare=3): _number("train_flops_per_step", quantity),
    SCRATCH: _number("temp_bytes", memory),
    Column("decoding state", raw="decoding state bytes", spare=5): _number(
        "state_bytes", memory
    ),
    Column("ms a step", spare=1): _pace,
    Column("exact", spare=7): _exact,
}


LEARNING_RATE = Column(RATE)
GAIN = Column("gain by tuning", spare=1)
SOME = "bold: among those with intervals"
TUNED = (
    "gain by tuning: over the rate in brackets, on the valid split and the grid's seeds"
)


def make_tables(runs: Sequence[Run]) -> list[Table]:
    """Makes one table for every task of every study among `runs`."""
    return [make_table(group) for group in group_runs(runs)]


def make_table(group: Group) -> Table:
    """Makes the table of one task: runs by family, then baselines, best first.

    Its note names a kept audit, the noise floor, and what made the runs.
    """
    costs = [column for column in COSTS if _is_shown(column, group)]
    tuned = group.is_tuned
    columns = (
        *(Column("mechanism", text=True), Column("family", text=True, spare=6)),
        *map(Column, group.varying),
        Column(metric_label(group.metric), raw=group.metric),
        *([LEARNING_RATE, GAIN] if tuned else []),
        *costs,
    )
    rows = (
        *_run_rows(group, costs, tuned=tuned),
        *_baseline_rows(group, len(group.varying), 2 * tuned + len(costs)),
    )
    notes = [_made_by(group.runs), TUNED if tuned else "", _of_some(group)]
    said = [shortcuts(group), floor(group), " · ".join(filter(None, notes))]
    return Table(group.title, columns, rows, note="\n".join(filter(None, said)))


def _is_shown(cost: Column, group: Group) -> bool:
    """Whether a cost column is shown: decoding state only where a run has it."""
    known = any(COSTS[cost](run).value is not None for run in group.runs)
    return known or cost.name != "decoding state"


def _rate(run: Run) -> Cell:
    rate = run.config["train"]["peak_lr"]
    return Cell(f"{rate:g}", rate)


def _gain(run: Run) -> Cell:
    """The gain of the tuned rate over the one before, on the valid split."""
    tuning = run.result.tuning
    if tuning is None or not math.isfinite(tuning.score(tuning.before)):
        return Cell(NONE)
    sign = 1 if run.higher_is_better else -1
    gain = sign * (tuning.score(tuning.chosen) - tuning.score(tuning.before))
    text = metric_text(run.metric, Estimate(gain, None, 1), with_n=False)
    return Cell(f"{text} (from {tuning.before:g})", gain)


def _run_rows(group: Group, costs: Sequence[Column], *, tuned: bool) -> list[Row]:
    best = bold(group)
    rows = []
    for run in group.runs:
        cells = [Cell(group.labels[run.directory]), Cell(run.family, family=run.family)]
        cells += [_knob_cell(value) for value in group.knobs(run)]
        cells += [_score_cell(run, strong=run.directory in best)]
        cells += [_rate(run), _gain(run)] if tuned else []
        cells += [_cost_cell(group, column, run) for column in costs]
        rows.append(Row(tuple(cells), "failed" if run.failed else "run"))
    return rows


def _cost_cell(group: Group, column: Column, run: Run) -> Cell:
    """A cost; scratch memory with its number of seeds, where it is not of all alike."""
    cell = COSTS[column](run)
    alike = group.compares_memory and run.program_seeds is None
    if column != SCRATCH or cell.value is None or alike:
        return cell
    return replace(cell, text=f"{cell.text} (n={run.memory_seeds})", n=run.memory_seeds)


def _baseline_rows(group: Group, knobs: int, costs: int) -> list[Row]:
    rows = []
    for name, value in group.baselines:
        text = metric_text(group.metric, Estimate(value, None, 1), with_n=False)
        cells = [Cell(name.replace("_", " ")), Cell("baseline")]
        cells += [Cell(NONE)] * knobs
        cells += [Cell(text, value)] + [Cell(NONE)] * costs
        rows.append(Row(tuple(cells), "baseline"))
    return rows


def _knob_cell(value: Any) -> Cell:
    number = value if isinstance(value, int | float) else None
    return Cell(NONE if value is None else str(value), number)


def _score_cell(run: Run, *, strong: bool) -> Cell:
    score = run.score
    if score is None:
        why = (run.result.error or "no reason given").strip().splitlines()[0]
        return Cell(f"failed: {why if len(why) <= 80 else why[:79] + '…'}")
    value = score.mean if math.isfinite(score.mean) else None
    return Cell(metric_text(run.metric, score), value, score.half, score.n, strong)


def _of_some(group: Group) -> str:
    """A note where some score has no interval, so that the best may not be bold."""
    lone = [run for run in group.done if run.score and run.score.half is None]
    return SOME if lone and bold(group) else ""


def _made_by(runs: Sequence[Run]) -> str:
    """The provenance in one line: seeds, machine, versions, commit and data."""
    hashes = [run.data_sha256 for run in runs]
    data = [f"data {every(h and h[:12] for h in hashes)}"] if any(hashes) else []
    count = every(run.config.get("seeds") for run in runs)
    seeds = f"{count} seed{'' if count == '1' else 's'}"
    environments = [env for run in runs for env in run.environments]
    return provenance(environments, before=[seeds], after=data)


def update_readme(readme: Path, tables: str) -> None:
    """Writes `tables` between the results markers of a Markdown file.

    Raises `UserError` as `around` does.
    """
    before, after = around(readme)
    write_atomically(readme, f"{before}{BEGIN}\n\n{tables.strip()}\n\n{END}{after}")


def around(readme: Path) -> tuple[str, str]:
    """The text before and after the results markers of a Markdown file.

    Raises `UserError` when it cannot be read, or does not hold each marker once, in order.
    """
    if not readme.is_file():
        raise UserError(f"{readme} is not a file; give a Markdown file with markers")
    try:
        text = (read_bytes(readme) or b"").decode()
    except UnicodeDecodeError:
        raise UserError(f"{readme} is not UTF-8; save it as UTF-8") from None
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end or BEGIN in rest or END in before + after:
        raise UserError(
            f"{readme} needs one {BEGIN} and after it one {END}, on own lines"
        )
    return before, after
