"""The effective maps of every layer of a model, in one compiled program."""

from functools import partial
from typing import Any

import jax
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from attn.kernels import TokenInfo
from attn.model.transformer import Transformer


def compute_maps(
    model: Transformer,
    tokens: Int[Array, "B T"],
    info: TokenInfo = TokenInfo(),
    *,
    source: Int[Array, "B S"] | None = None,
    source_info: TokenInfo = TokenInfo(),
) -> dict[str, Float[np.ndarray, "B N _ _"]]:
    """Computes `Transformer.maps` of a batch, and fetches them in float32."""
    graph, weights = nnx.split(model)
    found = _maps(graph, weights, tokens, info, source, source_info)
    return {name: np.asarray(values, np.float32) for name, values in found.items()}


@partial(jax.jit, static_argnums=0)
def _maps(
    graph: Any,
    weights: Any,
    tokens: Array,
    info: TokenInfo,
    source: Array | None,
    source_info: TokenInfo,
) -> dict[str, Array]:
    model = nnx.merge(graph, weights)
    return model.maps(tokens, info, source=source, source_info=source_info)
