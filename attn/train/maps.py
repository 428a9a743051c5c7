"""The attention maps that a run saves: one example, every head of the first seed."""

from collections.abc import Mapping

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import NamedSharding

from attn.config import Experiment
from attn.kernels import TokenInfo
from attn.model import Transformer
from attn.parallel.processes import fetch, place
from attn.parallel.rules import batch_parts, spec
from attn.tasks.base import Dataset
from attn.train.state import ModelDef, State

MAP_TOKENS = 64
"""Tokens of the example, from its start, whose maps are saved."""


def make_maps(
    experiment: Experiment, model: ModelDef, state: State, data: Dataset
) -> dict[str, np.ndarray]:
    """Computes the effective map of every head of the first seed, in float16.

    Of one example of the test split, truncated to `MAP_TOKENS` tokens: arrays
    `layer_<i>` [N, T, S], of an encoder `encoder_<i>` [N, S, S], its tokens and their
    labels; where there is a source, also of that.
    """
    rows = {key: np.asarray(array[0]) for key, array in data.splits["test"].items()}
    sides = _sides(experiment, rows)
    by_rows = NamedSharding(jax.sharding.get_mesh(), spec("B"))

    def placed(tokens: np.ndarray) -> jax.Array:
        return place(np.repeat(tokens[None], batch_parts(), axis=0), by_rows)

    def first(state: State, sides: dict[str, jax.Array]):
        params, features = jax.tree.map(lambda x: x[0], (state.params, state.features))
        maps = _maps(model.merge(params, features), experiment, rows, sides)
        return jax.tree.map(lambda m: m.astype(jnp.float16), maps)

    maps = jax.jit(first)(state, {name: placed(x) for name, x in sides.items()})
    label = experiment.task.label
    found = {name: fetch(m)[0] for name, m in maps.items()}
    for name, tokens in sides.items():
        said = "labels" if name == "tokens" else f"{name}_labels"
        found |= {name: tokens, said: np.array([label(int(t)) for t in tokens])}
    return found


def _sides(
    experiment: Experiment, rows: Mapping[str, np.ndarray]
) -> dict[str, np.ndarray]:
    """The tokens of the example, and of its source, without the padding of a pair."""
    tokens = np.asarray(rows["tokens"], np.int32)
    if "source" not in rows:
        return {"tokens": tokens[: min(MAP_TOKENS, experiment.lengths[0])]}
    source = np.asarray(rows["source"][: int(rows["source_lengths"])], np.int32)
    tokens = tokens[: int(rows["lengths"])]
    if experiment.model.encoder is None:
        return {"tokens": np.concatenate([source, tokens])[:MAP_TOKENS]}
    return {"tokens": tokens[:MAP_TOKENS], "source": source[:MAP_TOKENS]}


def _maps(
    model: Transformer,
    experiment: Experiment,
    rows: Mapping[str, np.ndarray],
    sides: dict[str, jax.Array],
) -> dict[str, jax.Array]:
    tokens = sides["tokens"]
    if "source" in sides or "lengths" not in rows or experiment.task.source_len:
        return model.maps(tokens, source=sides.get("source"))
    T = tokens.shape[1]
    length = min(int(rows["lengths"].flat[0]), T)
    seen = jnp.arange(T)[None] < jnp.full_like(tokens[:, :1], length)
    return model.maps(tokens, TokenInfo(mask=seen))
