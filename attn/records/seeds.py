"""The seeds of one experiment in several folders: further ones, and all as one run.

Seeds that are asked for later are trained in a folder of their own, inside that of the
run; runs of other seeds elsewhere are put together alike.
"""

import json
from collections import Counter
from collections.abc import Iterable, Sequence
from dataclasses import replace
from pathlib import Path

from attn.config import Experiment
from attn.errors import UserError
from attn.records.files import read_json_or_none
from attn.records.folder import RunFolder
from attn.records.identity import difference, experiment_of, identity
from attn.records.result import Line, Scores
from attn.records.run import Run

MORE_SEEDS = "seeds-*"
"""The folders inside a run folder in which further seeds are trained."""
SEEDS = ("seeds", "first_seed", "fingerprint", "claim")
"""Fields of a config in which runs of other seeds may differ."""


def remaining(experiment: Experiment, folder: Path) -> tuple[Experiment, Path]:
    """The seeds that are not trained yet, and the folder for them.

    That is the experiment and its folder, unless a run of fewer seeds has ended there.
    """
    known = RunFolder(folder).config()
    if known is None or not _has_ended(folder):
        return experiment, folder
    before = experiment_of(known)
    more = replace(experiment, seeds=before.seeds, claim=before.claim)
    if before.seeds >= experiment.seeds or difference(known, identity(more)):
        return experiment, folder
    done = set(before.seed_numbers)
    for inner in filter(_has_ended, folder.glob(MORE_SEEDS)):
        config = RunFolder(inner).config()
        if config is not None and _alike(own := experiment_of(config), before):
            done |= set(own.seed_numbers)
    missing = [seed for seed in experiment.seed_numbers if seed not in done]
    if not missing:
        return before, folder
    first, last = missing[0], missing[-1]
    own = replace(experiment, first_seed=first, seeds=last + 1 - first)
    return own, folder / f"seeds-{first}-{last}"


def _alike(one: Experiment, other: Experiment) -> bool:
    """Whether experiments differ in nothing but their seeds."""
    same = replace(one, seeds=other.seeds, first_seed=other.first_seed)
    return difference(identity(same), identity(other)) is None


def _has_ended(folder: Path) -> bool:
    return (read_json_or_none(folder / "result.json") or {}).get("status") == "done"


def merged(runs: Iterable[Run]) -> list[Run]:
    """The runs, those of other seeds of one experiment as one, in order."""
    runs = list(runs)
    together: dict[str, list[Run]] = {}
    names = Counter(run.name for run in runs if not run.failed)
    for run in runs:
        numbers, key = _seeds_of(run), f"{run.directory}"
        if not run.failed and names[run.name] > 1:  # a config takes time to decode
            same = together.get(common := _common(run), [])
            again = any(numbers & _seeds_of(other) for other in same)
            key = key if again else common
        together.setdefault(key, []).append(run)
    return sorted((join(same) for same in together.values()), key=Run.order)


def _common(run: Run) -> str:
    """The part of a run that those of other seeds share with it.

    A field that an older config does not have yet counts with its default.
    """
    try:
        config = identity(run.experiment.unnamed) | {"name": run.name}
    except UserError:  # of another version, or of a mechanism that is not here
        config = run.config
    config = {k: v for k, v in config.items() if k not in SEEDS}
    return json.dumps([config, run.data_sha256], sort_keys=True)


def _seeds_of(run: Run) -> set[int]:
    first = run.config.get("first_seed", 0)
    return set(range(first, first + run.config.get("seeds", 0)))


def join(runs: Sequence[Run]) -> Run:
    """One run of the seeds of several; its costs and maps are those of the first."""
    runs = sorted(runs, key=lambda run: run.config.get("first_seed", 0))
    first = runs[0]
    if len(runs) == 1:
        return first
    scores = {
        split: _all_seeds([getattr(run.result, split) or {} for run in runs])
        for split in ("valid", "test")
    }
    lines = [{line.step: line for line in run.metrics} for run in runs]
    steps = sorted(set.intersection(*(set(of) for of in lines)))
    metrics = tuple(_joined_line([of[step] for of in lines]) for step in steps)
    seeds = sum(run.config.get("seeds", 0) for run in runs)
    return replace(
        first,
        others=tuple(run.directory for run in runs[1:]),
        other_environments=tuple(run.environment for run in runs[1:]),
        program_seeds=first.config.get("seeds"),
        config={**first.config, "seeds": seeds},
        result=replace(first.result, **scores),
        metrics=metrics,
        sealed=all(run.sealed for run in runs),
    )


def _joined_line(lines: Sequence[Line]) -> Line:
    valid = [line.valid for line in lines if line.valid is not None]
    return replace(
        lines[0],
        train_loss=tuple(x for line in lines for x in line.train_loss),
        grad_norm=tuple(x for line in lines for x in line.grad_norm),
        valid=_all_seeds(valid) if len(valid) == len(lines) else None,
    )


def _all_seeds(scores: Sequence[Scores]) -> Scores:
    """Each metric with the numbers of all seeds."""
    names = set.intersection(*(set(of) for of in scores))
    return {name: tuple(x for of in scores for x in of[name]) for name in sorted(names)}
