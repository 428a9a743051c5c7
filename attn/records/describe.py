"""The part of a result that is known before the run: costs, baselines, sizes."""

from attn.config import Experiment, cost
from attn.records.result import Data, Mechanism, Result
from attn.tasks.base import Dataset


def describe(
    experiment: Experiment, *, study: str | None, data: Dataset | None = None
) -> Result:
    """The result of a failed run, before any measurements are filled in."""
    task, sizes = experiment.task, experiment.resolved_model.sizes
    return Result(
        status="failed",
        study=study,
        metric=task.metric.name,
        higher_is_better=task.metric.higher_is_better,
        baselines={} if data is None else task.baselines(data),
        kernel=_mechanism(experiment),
        dataset=None if data is None else Data(data.builder, data.sha256),
        params=cost.count_params(experiment),
        train_flops_per_step=cost.train_flops(experiment),
        state_bytes=cost.decode_state(experiment),
        num_heads=sizes["num_heads"],
        num_kv_heads=sizes["num_kv_heads"],
        head_dim=sizes["head_dim"],
        d_ff=sizes["d_ff"],
    )


def _mechanism(experiment: Experiment) -> Mechanism | None:
    layer = next(iter(experiment.resolved_model.attention_layers), None)
    if layer is None:
        return None
    kernel, T = layer.mechanism, experiment.task.seq_len
    density = kernel.pattern(experiment.mask, T, T).density(T)
    return Mechanism(kernel.name, kernel.family, density, "exact" in kernel.can)
