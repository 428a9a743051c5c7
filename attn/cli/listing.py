"""Listings of experiments and studies, from their configs alone."""

import textwrap
from collections.abc import Mapping, Sequence
from typing import Any

from attn.config import Attention, Experiment, cost, fingerprint, to_json
from attn.config.optimizers import OPTIMIZERS
from attn.config.schedules import SCHEDULES
from attn.kernels import KERNELS
from attn.tasks import TASKS

NAMED = {
    "mechanisms": KERNELS,
    "tasks": TASKS,
    "optimizers": OPTIMIZERS,
    "schedules": SCHEDULES,
}
"""What may be named on the command line, beside experiments."""


def as_json(items: Sequence[Any]) -> list[dict[str, Any]]:
    """Experiments and studies with claims, as JSON; a study names its experiments."""
    return [_row(item) for item in items]


def as_lines(items: Sequence[Any], *, members: bool = False) -> list[str]:
    """Studies with their claims, then experiments that are in none, as lines.

    Args:
        members: whether the experiments of a study are listed below it.
    """
    rows = {row["name"]: row for row in map(_row, items)}
    studies = [row for row in rows.values() if row["kind"] == "study"]
    within = {name for study in studies for name in study["experiments"]}
    alone = [name for name, row in rows.items() if row["kind"] != "study"]
    alone = [name for name in alone if name not in within]
    lines = []
    for study in studies:
        own = study["experiments"]
        cost = f"{len(own)} runs, {study['minutes']:g} min"
        cost = f"{len(own)} to plan" if study["planned"] else cost
        lines.append(f"{study['name']}  {cost}")
        lines += _wrapped(study["claim"])
        lines += [_experiment_line(rows[name]) for name in own if members]
        lines.append("")
    if alone:
        lines += [
            "experiments of no study",
            *(_experiment_line(rows[n]) for n in alone),
            "",
        ]
    if not members:
        lines.append(
            "list --all: the runs of each study; list mechanisms: what may be named"
        )
    return lines


def _experiment_line(row: dict[str, Any]) -> str:
    return f"  {row['name']:26} {row['task']:9} {row['mechanism']}"


def _wrapped(text: str) -> list[str]:
    return textwrap.wrap(text, 76, initial_indent="  ", subsequent_indent="  ")


def named_lines(what: str) -> list[str]:
    """Each mechanism, task, optimizer or schedule as a line: its name, what it is."""
    items = NAMED[what]
    width = max(map(len, items)) + 2
    return [
        f"{name:{width}}{(item.__doc__ or '').strip().splitlines()[0]}"
        for name, item in items.items()
    ]


def _row(item: Any) -> dict[str, Any]:
    if isinstance(item, Experiment):
        layer = _first_attention(item)
        kernel = layer and layer.mechanism
        return {
            "name": item.name,
            "kind": "experiment",
            "claim": item.claim,
            "task": item.task.name,
            "mechanism": kernel.name if kernel else "none",
            "family": kernel.family if kernel else "none",
        }
    return {
        "name": item.name,
        "kind": "study",
        "claim": item.claim,
        "minutes": item.minutes,
        "planned": item.planned,
        "experiments": [experiment.name for experiment in item.experiments],
    }


def _first_attention(experiment: Experiment) -> Attention | None:
    """The first attention layer, if there is one."""
    return next(iter(experiment.resolved_model.attention_layers), None)


def details(experiment: Experiment) -> dict[str, Any]:
    """The config, its layers with every size resolved, and the costs that follow."""
    model, T = experiment.resolved_model, experiment.lengths[0]
    layer = _first_attention(experiment)
    kernel = layer and layer.mechanism
    return to_json(experiment) | {
        "fingerprint": fingerprint(experiment),
        "vocab_size": model.vocab_size,
        "max_len": model.max_len,
        "block": [to_json(layer) for layer in model.one_block],
        "encoder": model.encoder
        and [to_json(layer) for layer in model.encoder.one_block],
        "family": kernel and kernel.family,
        "mask": layer
        and repr(layer.mechanism.pattern(layer.seen(experiment.mask), T, T)),
        "params": cost.count_params(experiment),
        "param_bytes": 4 * cost.count_params(experiment),
        "forward_flops_per_sequence": cost.forward_flops(experiment),
        "train_flops_per_step": cost.train_flops(experiment),
        "decode_state_bytes": cost.decode_state(experiment),
    }


def as_text(shown: Mapping[str, Any]) -> list[str]:
    """The `details` of an experiment as lines of at most 80 letters, by section."""
    lines = [f"{shown['name']}: {shown['claim']}"]
    lines = textwrap.wrap(lines[0], 80)
    costs = {key: value for key, value in shown.items() if key not in CONFIG}
    sections = {
        "task": shown["task"],
        "model": {k: v for k, v in shown["model"].items() if k != "block"},
        "train": shown["train"],
        "resolved": {"seeds": shown["seeds"], **costs},
    }
    for name, values in sections.items():
        lines += ["", name]
        for key, value in values.items():
            if value is not None and value != []:
                lines += _field("name" if key == "is" else key, _value(value))
    return lines


CONFIG = ("name", "claim", "task", "model", "train", "seeds", "first_seed")
"""Keys of `details` that are the experiment itself."""


def _field(key: str, value: str) -> list[str]:
    return textwrap.wrap(
        f"{key:26} {value}", 80, initial_indent="  ", subsequent_indent=" " * 29
    )


def _value(value: Any) -> str:
    """A value in words, as in `longformer(width 16, num_global 4)`."""
    if isinstance(value, Mapping):
        knobs = [
            f"{k} {_value(v)}" for k, v in value.items() if k != "is" and v is not None
        ]
        return (
            f"{value['is']}({', '.join(knobs)})" if "is" in value else ", ".join(knobs)
        )
    if isinstance(value, list | tuple):
        return ", ".join(map(_value, value))
    if isinstance(value, int) and not isinstance(value, bool):
        return f"{value:,}"
    if isinstance(value, float):
        return f"{value:,.0f}" if value >= 10**5 else f"{value:g}"
    return str(value)
