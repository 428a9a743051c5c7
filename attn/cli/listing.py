"""Listings of experiments and studies, from their configs alone."""

from collections.abc import Sequence
from typing import Any

from attn.config import Experiment, cost, fingerprint, to_json
from attn.config.optimizers import OPTIMIZERS
from attn.config.schedules import SCHEDULES
from attn.kernels import KERNELS, Kernel
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


def as_lines(items: Sequence[Any]) -> list[str]:
    """Each experiment and study as a line of text, a study's claim below its name."""
    head = {"name": "name", "task": "task", "mechanism": "mechanism"}
    rows = [head, *map(_row, items)]
    name, task = (
        max(len(row.get(key, "")) for row in rows) + 2 for key in ("name", "task")
    )
    lines = []
    for row in rows:
        if row.get("kind") == "study":
            about = f"{row['minutes']:g} min; {row['claim']}"
            lines += ["", f"{row['name']:{name}}{about}"]
        else:
            lines.append(f"{row['name']:{name}}{row['task']:{task}}{row['mechanism']}")
    return lines


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
        kernel = _mechanism(item)
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
        "experiments": [experiment.name for experiment in item.experiments],
    }


def _mechanism(experiment: Experiment) -> Kernel | None:
    """The kernel of the first attention layer."""
    layers = experiment.resolved_model.attention_layers
    return layers[0].mechanism if layers else None


def details(experiment: Experiment) -> dict[str, Any]:
    """The config, its layers with every size resolved, and the costs that follow."""
    model, T = experiment.resolved_model, experiment.task.seq_len
    kernel = _mechanism(experiment)
    return to_json(experiment) | {
        "fingerprint": fingerprint(experiment),
        "vocab_size": model.vocab_size,
        "max_len": model.max_len,
        "block": [to_json(layer) for layer in model.one_block],
        "family": kernel and kernel.family,
        "mask": kernel and repr(kernel.pattern(experiment.mask, T, T)),
        "params": cost.count_params(experiment),
        "param_bytes": 4 * cost.count_params(experiment),
        "forward_flops_per_sequence": cost.forward_flops(experiment),
        "train_flops_per_step": cost.train_flops(experiment),
        "decode_state_bytes": cost.decode_state(experiment),
    }
