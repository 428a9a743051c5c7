"""The scores of `evaluate --written`: targets that runs write, beside trivial ones."""

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from attn.cli.console import console

if TYPE_CHECKING:
    from attn.plots.tables import Row, Table
    from attn.records.run import Run


def written(run: "Run", split: str, *, quiet: bool) -> dict[str, Any]:
    """The scores of what each seed of a run writes; on test, of trivial predictors too."""
    from attn.cli.progress import Watch
    from attn.inspect.written import pairs_of, score_written

    task, data = pairs_of(run.directory)
    rows, scores = data.splits[split], []
    count = len(rows["tokens"])
    folders = (run.directory, *run.others)
    seeds = [(folder, seed) for folder in folders for seed in _seeds_of(folder)]
    with Watch(console(quiet=quiet), count * len(seeds)) as watch:
        for folder, seed in seeds:
            watch.begin(f"{run.name}, seed {seed}", count)
            scores.append(score_written(folder, task, rows, seed, watch.within))
    return {
        "run": run.name,
        "mechanism": run.mechanism,
        "task": task.name,
        "split": split,
        "rows": count,
        "scores": {name: [one[name] for one in scores] for name in scores[0]},
        "baselines": task.text_baselines(data) if split == "test" else {},
    }


def _seeds_of(folder) -> Sequence[int]:
    from attn.records import load

    return load(folder).experiment.seed_numbers


def written_tables(found: Sequence[Mapping[str, Any]]) -> "list[Table]":
    """The tables of what runs write, one a task, split and set of scores."""
    from attn.plots.tables import Column, Table
    from attn.plots.units import metric_label

    tables: dict[Any, list[Row]] = {}
    for one in found:
        key = one["task"], one["split"], one["rows"], tuple(one["scores"])
        own = [_row(name, _each(of)) for name, of in one["baselines"].items()]
        before = tables.setdefault(key, own)
        before.insert(len(before) - len(own), _row(one["run"], one["scores"]))
    return [
        Table(
            f"{task}: {rows:,} rows of {split}, written greedily",
            (Column("written by", text=True), *map(Column, map(metric_label, names))),
            tuple(own),
        )
        for (task, split, rows, names), own in tables.items()
    ]


def _each(scores: Mapping[str, float]) -> dict[str, list[float]]:
    return {name: [score] for name, score in scores.items()}


def _row(name: str, scores: Mapping[str, Sequence[float]]) -> "Row":
    from attn.plots.tables import Cell, Row
    from attn.plots.units import metric_text
    from attn.records.estimates import estimate

    said = (
        metric_text(metric, estimate(of), with_n=len(of) > 1)
        for metric, of in scores.items()
    )
    return Row((Cell(name), *map(Cell, said)))
