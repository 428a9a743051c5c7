"""Generation: one compiled loop, a stream of tokens, or the best of several beams."""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Bool, Int

from attn.errors import UserError
from attn.kernels import TokenInfo
from attn.model.decode import Decoded, advance, start
from attn.model.sampling import GREEDY, Sampler
from attn.model.transformer import Transformer

NO_TOKEN = -1
"""The filler after the end of a sequence in an array of generated tokens."""


class Prompt(NamedTuple):
    """The input of generation: tokens, and what an encoder reads."""

    tokens: Int[Array, "B T"]
    info: TokenInfo = TokenInfo()
    source: Int[Array, "B S"] | None = None
    source_info: TokenInfo = TokenInfo()


class Writing(NamedTuple):
    """The carry of the loop: tokens so far, and what decoding keeps."""

    step: Array
    written: Int[Array, "B steps"]
    active: Bool[Array, "B"]
    state: Decoded
    key: Array


def generate(
    model: Transformer,
    prompt: Prompt,
    steps: int,
    *,
    sampler: Sampler = GREEDY,
    key: Array | None = None,
    end: int | None = None,
) -> Int[Array, "B steps"]:
    """Writes up to `steps` tokens after each prompt, in one compiled loop.

    Args:
        key: the randomness of a sampler with a temperature.
        end: the token that ends a sequence; `NO_TOKEN` follows it. The loop stops when
            all sequences have ended.
    """
    require_steps(steps)
    graph, weights = nnx.split(model)
    key = jax.random.key(0) if key is None else key
    return _generate(graph, weights, prompt, key, steps, sampler, end)


@partial(jax.jit, static_argnums=(0, 4, 5, 6))
def _generate(
    graph: Any,
    weights: Any,
    prompt: Prompt,
    key: Array,
    steps: int,
    sampler: Sampler,
    end: int | None,
) -> Int[Array, "B steps"]:
    model, (B, T) = nnx.merge(graph, weights), prompt.tokens.shape
    state = begin(model, prompt, T + steps)

    def unfinished(carry: Writing) -> Array:
        return (carry.step < steps) & carry.active.any()

    def write(carry: Writing) -> Writing:
        i, written, active, state, key = carry
        own = jax.random.fold_in(key, i)
        token = jnp.where(active, sampler(state.logits, own), NO_TOKEN)
        written = lax.dynamic_update_slice(written, token[:, None], (0, i))
        active = active if end is None else active & (token != end)
        state = advance(model, jnp.maximum(token, 0), state, active)
        return Writing(i + 1, written, active, state, key)

    empty = jnp.full((B, steps), NO_TOKEN, jnp.int32)
    first = Writing(jnp.asarray(0), empty, jnp.ones(B, bool), state, key)
    return lax.while_loop(unfinished, write, first).written


def begin(model: Transformer, prompt: Prompt, length: int) -> Decoded:
    """Reads a prompt, and makes room for `length` tokens in all."""
    return start(
        model,
        prompt.tokens,
        length,
        prompt.info,
        source=prompt.source,
        source_info=prompt.source_info,
    )


def stream(
    model: Transformer,
    prompt: Prompt,
    steps: int,
    *,
    sampler: Sampler = GREEDY,
    key: Array | None = None,
    end: int | None = None,
) -> Iterator[np.ndarray]:
    """Yields the tokens [B] that `generate` writes, each when it is there."""
    require_steps(steps)
    graph, weights = nnx.split(model)
    key = jax.random.key(0) if key is None else key
    length = prompt.tokens.shape[1] + steps
    state = _begin(graph, weights, prompt, length)
    active = jnp.ones(len(prompt.tokens), bool)
    for i in range(steps):
        token, active, state = _write(
            graph, weights, state, active, jax.random.fold_in(key, i), sampler, end
        )
        yield np.asarray(token)
        if not np.asarray(active).any():
            return


@partial(jax.jit, static_argnums=(0, 3))
def _begin(graph: Any, weights: Any, prompt: Prompt, length: int) -> Decoded:
    return begin(nnx.merge(graph, weights), prompt, length)


@partial(jax.jit, static_argnums=(0, 5, 6), donate_argnums=2)
def _write(
    graph: Any,
    weights: Any,
    state: Decoded,
    active: Bool[Array, "B"],
    key: Array,
    sampler: Sampler,
    end: int | None,
) -> tuple[Int[Array, "B"], Bool[Array, "B"], Decoded]:
    token = jnp.where(active, sampler(state.logits, key), NO_TOKEN)
    active = active if end is None else active & (token != end)
    model = nnx.merge(graph, weights)
    return token, active, advance(model, jnp.maximum(token, 0), state, active)


def require_steps(steps: int) -> None:
    """Raises `UserError` unless at least one token is asked for."""
    if steps < 1:
        raise UserError(f"{steps} tokens were asked for; ask for at least 1")


def off_mesh(model: Transformer) -> Transformer:
    """The model with its weights on the first device, and on no mesh."""
    graph, state = nnx.split(model)
    return nnx.merge(graph, jax.tree.map(jnp.asarray, jax.device_get(state)))
