"""What a run has to say of itself: its costs, its baselines, its attention maps."""

from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from attn.attention import CallShape, choose_implementation
from attn.config import Experiment, cost
from attn.device import device_kind
from attn.kernels import TokenInfo
from attn.tasks.base import Dataset
from attn.train.state import ModelDef, State

MAP_TOKENS = 64
"""Tokens of the example that maps are kept for, from its start."""


def make_result(
    experiment: Experiment, data: Dataset, *, study: str | None
) -> dict[str, Any]:
    """What is known of a run but its times and scores (`None` until there are any)."""
    model, task = experiment.resolved_model, experiment.task
    return {
        "error": None,
        "study": study,
        "metric": task.metric.name,
        "higher_is_better": task.metric.higher_is_better,
        "valid": None,
        "test": None,
        "baselines": task.baselines(data),
        "kernel": _kernel(experiment),
        "params": cost.count_params(experiment),
        "train_flops_per_step": cost.train_flops(experiment),
        "state_bytes": cost.decode_state(experiment),
        "dataset": {"builder": data.builder, "sha256": data.sha256},
        **model.sizes,
    }


def _kernel(experiment: Experiment) -> dict[str, Any] | None:
    """The first mechanism of the model, and the implementation it resolved to."""
    model, T = experiment.resolved_model, experiment.task.seq_len
    layer = next(iter(model.attention_layers), None)
    if layer is None:
        return None
    (N, K, Hv), kernel = layer.sizes, layer.mechanism
    asked = frozenset(["key_padding"] if experiment.task.padded else [])
    sizes = (experiment.train.batch_size, T, T, N, K, layer.key_width, Hv)
    ask = CallShape(*sizes, model.dtype, experiment.mask, asked, device_kind())
    chosen, _ = choose_implementation(kernel, ask, layer.impl or "auto")
    return {
        "is": kernel.name,
        "family": kernel.family,
        "impl": chosen,
        "density": kernel.pattern(experiment.mask, T, T).density(T),
        "exact": "exact" in kernel.can,
    }


def save_maps(
    experiment: Experiment, model: ModelDef, state: State, data: Dataset, folder: Path
) -> None:
    """Writes `maps.npz`: the effective map of every head of the first seed, float16.

    One example of the test split, cut to `MAP_TOKENS` tokens; arrays `layer_<i>`
    [N, T, T], its tokens and their labels.
    """
    rows = data.splits["test"]
    tokens = np.asarray(rows["tokens"][0][:MAP_TOKENS], np.int32)
    length = min(int(rows["lengths"][0]), tokens.size) if "lengths" in rows else None
    copies = jax.typeof(state.step).sharding.mesh.shape["data"]
    batch = jax.device_put(np.repeat(tokens[None], copies, axis=0), P("data"))

    def first(state: State, batch):
        params, features = jax.tree.map(lambda x: x[0], (state.params, state.features))
        seen = None
        if length is not None:
            seen = jnp.arange(tokens.size)[None] < jnp.full_like(batch[:, :1], length)
        maps = model.merge(params, features).maps(batch, TokenInfo(mask=seen))
        return jax.tree.map(lambda m: m.astype(jnp.float16), maps)

    maps = jax.jit(first)(state, batch)
    labels = [experiment.task.label(int(token)) for token in tokens]
    arrays = {name: np.asarray(m)[0] for name, m in maps.items()}
    np.savez_compressed(folder / "maps.npz", tokens=tokens, labels=labels, **arrays)
