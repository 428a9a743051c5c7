"""What there is, for people and for programs, from configs alone."""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from attn.config import Experiment, cost, fingerprint, to_json

if TYPE_CHECKING:
    from rich.table import Table


def as_json(items: Sequence[Any]) -> list[dict[str, Any]]:
    """Each experiment and study with its claim; a study names its experiments."""
    return [_row(item) for item in items]


def as_table(items: Sequence[Any]) -> "Table":
    """The same for a terminal."""
    from rich.table import Table

    table = Table(box=None, pad_edge=False)
    for column in ("name", "task", "mechanism", "min", "claim"):
        table.add_column(column, overflow="fold")
    for item in items:
        row = _row(item)
        study = row["kind"] == "study"
        words = (row["name"], row.get("task", ""), row.get("mechanism", ""))
        minutes = f"{row['minutes']:g}" if study else ""
        claim = row["claim"] if study else ""
        table.add_row(*words, minutes, claim, style="bold" if study else "")
    return table


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
    """The resolved config and what follows from it without compiling."""
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
