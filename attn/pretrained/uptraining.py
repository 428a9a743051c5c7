"""Training after a swap: the projections of a decoder's attention alone, on a little text.

Ainslie et al. 2023, section 2.2, call it uptraining, and do it with all weights.
"""

from collections.abc import Iterable
from functools import cache, partial
from typing import Any

import jax
import jax.numpy as jnp
import optax
from flax import nnx
from jaxtyping import Array, Float, Int

from attn.errors import Failed
from attn.kernels import TokenInfo
from attn.model import Transformer

CLIP = 1.0
"""The largest norm of the gradient of all projections."""


def uptrained(
    model: Transformer, batches: Iterable[Int[Any, "B L"]], rate: float, steps: int
) -> Transformer:
    """Trains the projections of a decoder's attention on next tokens; the rest stays.

    Adam at a rate that falls to 0 over the steps. Forward and backward go layer by layer,
    each by one program for all layers that are alike, as in `layerwise.logits`.

    Args:
        batches: one a step, each of T + 1 tokens a row.
        rate: the first learning rate.

    Raises:
        Failed: the loss became infinite or NaN.
    """
    split = [nnx.split(block, _trained, ...) for block in model.layers]
    graphs, moving, still = map(list, zip(*split, strict=True))
    update = _optimizer(rate, steps)
    kept = update.init(moving)
    for step, tokens in enumerate(batches):
        loss, gradients = _gradients(model, graphs, moving, still, jnp.asarray(tokens))
        if not jnp.isfinite(loss):
            raise Failed(f"the loss is {loss} at step {step + 1}; lower the rate")
        moving, kept = _step(update, gradients, kept, moving)
    graph, state = nnx.split(model)
    # New variables of the same arrays: merged as it is, the state would share them.
    trained = nnx.merge(graph, jax.tree.map(lambda x: x, state))
    for block, own in zip(trained.layers, moving, strict=True):
        nnx.update(block, own)
    return trained


@cache
def _optimizer(rate: float, steps: int) -> optax.GradientTransformation:
    """The same object for the same training, so that its step compiles once."""
    schedule = optax.linear_schedule(rate, 0.0, steps)
    return optax.chain(optax.clip_by_global_norm(CLIP), optax.adam(schedule, b2=0.99))


def _trained(path: tuple[Any, ...], value: Any) -> bool:
    """Whether a weight of a block is a matrix of attention's projections."""
    return path in [("layer", name) for name in "qkvo"]


@partial(jax.jit, static_argnums=0)
def _step(update: Any, gradients: Any, kept: Any, moving: Any) -> tuple[Any, Any]:
    updates, kept = update.update(gradients, kept, moving)
    return optax.apply_updates(moving, updates), kept


def _gradients(
    model: Transformer,
    graphs: list[Any],
    moving: list[Any],
    still: list[Any],
    tokens: Int[Array, "B L"],
) -> tuple[Float[Array, ""], list[Any]]:
    """The loss, and its gradients of what moves, block by block."""
    x = model.embed(tokens[:, :-1])
    inputs = []
    for block in zip(graphs, moving, still, strict=True):
        inputs.append(x)
        x = _forward(*block, x)
    loss, dx = _top(*nnx.split(model), x, tokens[:, 1:])
    gradients = []
    for *block, x in reversed([*zip(graphs, moving, still, inputs, strict=True)]):
        own, dx = _backward(*block, x, dx)
        gradients.append(own)
    return loss, gradients[::-1]


def _run(graph: Any, moving: Any, still: Any, x: Array) -> Array:
    return nnx.merge(graph, moving, still)(x, TokenInfo())[0]


_forward = jax.jit(_run, static_argnums=0)


@partial(jax.jit, static_argnums=0)
def _backward(graph, moving, still, x, dx):
    _, pull = jax.vjp(lambda moving, x: _run(graph, moving, still, x), moving, x)
    return pull(dx)


@partial(jax.jit, static_argnums=0)
def _top(graph, state, x, targets):
    """The mean loss of the states after the last layer, and its gradient of them."""

    def loss(x):
        model = nnx.merge(graph, state)
        logits = model.read(model.last(x))
        return optax.softmax_cross_entropy_with_integer_labels(logits, targets).mean()

    return jax.value_and_grad(loss)(x)
