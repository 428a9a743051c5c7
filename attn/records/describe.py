"""The part of a result that is known before the run: costs, baselines, sizes."""

from dataclasses import replace
from functools import lru_cache

from attn.config import Experiment, cost
from attn.records.result import Data, Mechanism, Result, Tuning
from attn.tasks.base import Dataset, Task


def describe(
    experiment: Experiment,
    *,
    study: str | None,
    tuning: Tuning | None = None,
) -> Result:
    """The result of a failed run, before any measurements are filled in."""
    task, sizes = experiment.task, experiment.resolved_model.sizes
    return Result(
        status="failed",
        study=study,
        tuning=tuning,
        metric=task.metric.name,
        higher_is_better=task.metric.higher_is_better,
        kernel=_mechanism(experiment),
        params=cost.count_params(experiment),
        train_flops_per_step=cost.train_flops(experiment),
        state_bytes=cost.decode_state(experiment),
        num_heads=sizes["num_heads"],
        num_kv_heads=sizes["num_kv_heads"],
        head_dim=sizes["head_dim"],
        d_ff=sizes["d_ff"],
    )


def with_data(result: Result, experiment: Experiment, data: Dataset) -> Result:
    """The result with the dataset and its trivial baselines."""
    baselines = _baselines(experiment.task, data)
    dataset = Data(data.builder, data.sha256)
    return replace(result, baselines=baselines, dataset=dataset)


@lru_cache(maxsize=8)
def _baselines(task: Task, data: Dataset) -> dict[str, float]:
    """The trivial baselines, computed once for all runs on the same data."""
    return task.baselines(data)


def _mechanism(experiment: Experiment) -> Mechanism | None:
    layer = next(iter(experiment.resolved_model.attention_layers), None)
    if layer is None:
        return None
    kernel, T = layer.mechanism, experiment.lengths[0]
    density = kernel.pattern(layer.seen(experiment.mask), T, T).density(T)
    return Mechanism(kernel.name, kernel.family, density, "exact" in kernel.can)
