"""Listings of experiments and studies, from their configs alone."""

from collections.abc import Sequence
from typing import Any

from attn.config import Experiment, cost, fingerprint, to_json


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


def _row(item: Any) -> dict[str, Any]:
    if isinstance(item, Experiment):
        kernel = item.model.kernel
        return {
            "name": item.name,
            "kind": "experiment",
            "claim": item.claim,
            "task": item.task.name,
            "mechanism": kernel.name,
            "family": kernel.family,
        }
    return {
        "name": item.name,
        "kind": "study",
        "claim": item.claim,
        "minutes": item.minutes,
        "experiments": [experiment.name for experiment in item.experiments],
    }


def details(experiment: Experiment) -> dict[str, Any]:
    """The resolved config, and the costs that follow from it without compiling."""
    model, T = experiment.model, experiment.task.seq_len
    return to_json(experiment) | {
        "fingerprint": fingerprint(experiment),
        "family": model.kernel.family,
        "layers": [layer.name for layer in experiment.resolved_model.layers],
        "mask": repr(model.kernel.pattern(experiment.mask, T, T)),
        "params": cost.count_params(experiment),
        "param_bytes": 4 * cost.count_params(experiment),
        "forward_flops_per_sequence": cost.forward_flops(experiment),
        "train_flops_per_step": cost.train_flops(experiment),
        "decode_state_bytes": cost.decode_state(experiment),
    }
