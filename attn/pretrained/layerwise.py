"""A decoder's logits layer by layer: one program for all layers that are alike."""

from functools import partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jaxtyping import Array, Float, Int

from attn.kernels import TokenInfo
from attn.model import Transformer


def logits(model: Transformer, tokens: Int[np.ndarray, "B T"]) -> Float[Array, "B T V"]:
    """Computes a decoder's logits by one program for all layers that are alike.

    Another mechanism then compiles one layer, where a program of the whole model
    compiles longer than it runs.
    """
    x = model.embed(jnp.asarray(tokens))
    for block in model.layers:
        x = _layer(*nnx.split(block), x)
    return model.read(model.last(x))


@partial(jax.jit, static_argnums=0)
def _layer(graph: nnx.GraphDef, state: Any, x: Float[Array, "B T D"]) -> Array:
    return nnx.merge(graph, state)(x, TokenInfo())[0]
