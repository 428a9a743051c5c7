"""The attention maps that a run saves: one example, every head of the first seed."""

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import PartitionSpec as P

from attn.config import Experiment
from attn.kernels import TokenInfo
from attn.tasks.base import Dataset
from attn.train.state import ModelDef, State

MAP_TOKENS = 64
"""Tokens of the example, from its start, whose maps are saved."""


def make_maps(
    experiment: Experiment, model: ModelDef, state: State, data: Dataset
) -> dict[str, np.ndarray]:
    """Computes the effective map of every head of the first seed, in float16.

    Of one example of the test split, truncated to `MAP_TOKENS` tokens: arrays
    `layer_<i>` [N, T, T], its tokens and their labels.
    """
    rows = {key: np.asarray(array[0]) for key, array in data.splits["test"].items()}
    read = min(MAP_TOKENS, experiment.lengths[0])
    tokens = np.asarray(rows["tokens"][:read], np.int32)
    length = min(int(rows["lengths"].flat[0]), read) if "lengths" in rows else None
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
    return {"tokens": tokens, "labels": np.array(labels), **arrays}
