"""The command `tune`: a learning rate for each model, then its study at these rates."""

import hashlib
import json
from collections.abc import Mapping, Sequence
from dataclasses import replace
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from attn.cli.choosing import Source, choose, take_name
from attn.cli.console import console, print_paths
from attn.cli.training import connect, prepare, train
from attn.errors import UserError

if TYPE_CHECKING:
    from attn.config import Experiment
    from attn.config.tuning import Tuning
    from attn.parallel.mesh import MeshShape

FIELD = "train.peak_lr"
AROUND = (0.25, 0.5, 1.0, 2.0, 4.0)
"""The rates that are tried unless given, as multiples of the experiment's own."""
EXTENSIONS = 2
"""How often such a grid is extended where its best rate lies at an end."""
KEPT = ".tuning"
"""The folder of finished grids, in the workdir."""
FOUND = "tuning.json"
"""The file of all grids of a study, in the workdir."""


def tune(words: Sequence[str], registry: Source) -> int:
    """Tunes the peak learning rate of each model, then trains fresh seeds at it."""
    from attn.cli.folders import check_study
    from attn.cli.options import Tune
    from attn.cli.parsing import parse, print_help_of, split_off
    from attn.config.tuning import tuned, untuned
    from attn.parallel import processes
    from attn.records.files import write_json
    from attn.records.typed import encode

    name, _ = take_name(words, "tune")
    own, rest = split_off(words[1:], ("over", "trials"))
    asked = parse(Tune, own, prog=f"launch.py tune {name}")
    if asked.trials < 1:
        raise UserError(f"--trials {asked.trials}: at least one seed for each rate")
    print_help_of(Tune, rest, prog=f"launch.py tune {name}")
    chosen, where, _ = choose([name, *rest], "tune", registry)
    experiments = untuned(chosen, registry().tunings())
    grids = {e.name: rates_of(e, asked.over) for e in experiments}
    study = f"tune-{Path(name).stem}"
    root, mesh_shape = prepare(experiments, where, study)
    _check_grids(experiments, grids, asked.trials, mesh_shape)
    check_study(root, study, [e.name for e in experiments])
    connect(root, mesh_shape, where)
    extensions = EXTENSIONS if asked.over is None else 0
    tunings = _tune_all(experiments, grids, asked.trials, extensions, root, mesh_shape)
    code = train(tuned(experiments, tunings), root, mesh_shape, where, study, tunings)
    if processes.is_first():
        write_json(root / FOUND, encode(tunings))
        print_paths(console(), root / FOUND)
    return code


def _check_grids(
    experiments: "Sequence[Experiment]",
    grids: "Mapping[str, tuple[float, ...]]",
    trials: int,
    mesh_shape: "MeshShape",
) -> None:
    """Raises `UserError` where a grid, all of whose rates train at once, is too large."""
    from attn.cli.sizes import check_size

    for e in experiments:
        rates = len(grids[e.name])
        replicas = trials * rates
        try:
            check_size([replace(e, seeds=replicas)], mesh_shape)
        except UserError as error:
            raise UserError(
                f"--trials {trials} of {rates} rates train {replicas:,} replicas at once; "
                f"lower it, or give fewer rates by --over: {error}"
            ) from None


def _tune_all(
    experiments: "Sequence[Experiment]",
    grids: "Mapping[str, tuple[float, ...]]",
    trials: int,
    extensions: int,
    root: Path,
    mesh_shape: "MeshShape",
) -> "dict[str, Tuning]":
    """The grid of each experiment, from the workdir where it is finished."""
    from attn.cli.progress import Watch
    from attn.config.tuning import Tuning
    from attn.parallel.processes import in_turn, is_first
    from attn.records.files import read_json, write_json
    from attn.records.typed import decode, encode
    from attn.train.study import load_data
    from attn.train.tune import NoRate, search, train_grid

    kept = root / KEPT

    def grid(e: "Experiment", rates: Sequence[float]) -> "Tuning":
        path = kept / f"{_key(e, rates, trials)}.json"
        if not path.exists():
            made = train_grid(
                e, rates, data[e.task], seeds=trials, watcher=watch,
                mesh_shape=mesh_shape,
            )  # fmt: skip
            in_turn(lambda: path.exists() or write_json(path, encode(made)))
        return decode(Tuning, read_json(path), where=path)

    found = {}
    printer = console(quiet=not is_first())
    with Watch(printer, sum(e.train.steps for e in experiments)) as watch:
        data = load_data(experiments, watch.note)
        _make_folder(kept)
        for e in experiments:
            higher = e.task.metric.higher_is_better
            watch.begin(f"{e.name}, tuning", e.train.steps)
            try:
                found[e.name] = search(
                    partial(grid, e), grids[e.name], higher=higher,
                    extensions=extensions,
                )  # fmt: skip
            except NoRate as error:
                raise NoRate(f"{e.name}: {error}") from None
            watch.note(said(found[e.name]))
    return found


def _make_folder(path: Path) -> None:
    try:
        path.mkdir(parents=True, exist_ok=True)
    except OSError as error:
        raise UserError(
            f"cannot write to {path.parent}: {error.strerror}; choose another --workdir"
        ) from None


def said(tuning: "Tuning") -> str:
    """The summary of a grid, as in `best rate 0.003 of 5; the largest, try higher ones`."""
    rates, best = tuning.rates, tuning.chosen
    edge = {
        rates[0]: "the lowest, try lower ones",
        rates[-1]: "the largest, try higher",
    }
    more = f"; {edge[best]}" if best in edge else ""
    return f"best rate {best:g} of {len(rates)}{more}"


def _key(experiment: "Experiment", rates: Sequence[float], trials: int) -> str:
    """A name for a grid, equal for equal grids."""
    from attn.config import fingerprint

    text = json.dumps([fingerprint(experiment), list(rates), trials])
    return f"{experiment.name}-{hashlib.sha256(text.encode()).hexdigest()[:12]}"


def rates_of(experiment: "Experiment", over: str | None) -> tuple[float, ...]:
    """The rates to try for an experiment, lowest first."""
    from attn.config.sweep import parse_axis

    if over is None:
        return tuple(experiment.train.peak_lr * factor for factor in AROUND)
    path, rates = parse_axis(experiment, over)
    if path != FIELD:
        raise UserError(
            f"--over {over!r}: tune varies {FIELD}, whose replicas share one program; "
            f"use sweep for {path}"
        )
    for rate in rates:
        replace(experiment.train, peak_lr=rate)  # which raises for what is no rate
    if len({*rates}) < 2:
        raise UserError(f"--over {over!r}: give two different rates or more")
    return tuple(sorted({*rates}))
