"""Generation: one compiled loop, a stream of tokens, or the best of several beams."""

from collections.abc import Iterator
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from attn.errors import UserError
from attn.kernels import TokenInfo
from attn.model.decode import Decoded, advance, log_probs, start, state_of_beams
from attn.model.sampling import GREEDY, Sampler
from attn.model.transformer import Transformer

NO_TOKEN = -1
"""What follows the end of a sequence in an array of generated tokens."""


class Prompt(NamedTuple):
    """What a model reads before it writes: tokens, and the source of an encoder."""

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


class Beams(NamedTuple):
    """The carry of a beam search: W sequences of each row, best first."""

    step: Array
    written: Int[Array, "B W steps"]
    scores: Float[Array, "B W"]
    active: Bool[Array, "B W"]
    state: Decoded


def beam_search(
    model: Transformer,
    prompt: Prompt,
    steps: int,
    *,
    width: int,
    end: int,
    length_penalty: float = 0.0,
) -> tuple[Int[Array, "B W steps"], Float[Array, "B W"]]:
    """Finds the likely continuations of each prompt, keeping `width` at every step.

    Args:
        end: the token that ends a sequence, after which it gains nothing.
        length_penalty: the power of the length by which a sum of log-probabilities is
            divided at the end (Wu et al. 2016, equation 14, with its constant 5).

    Returns:
        The sequences, with `NO_TOKEN` after their ends, and their scores, best first.
    """
    require_steps(steps)
    if width < 1:
        raise UserError(f"width = {width} beams; it must be at least 1")
    graph, weights = nnx.split(model)
    return _beam_search(graph, weights, prompt, steps, width, end, length_penalty)


@partial(jax.jit, static_argnums=(0, 3, 4, 5, 6))
def _beam_search(
    graph: Any,
    weights: Any,
    prompt: Prompt,
    steps: int,
    W: int,
    end: int,
    length_penalty: float,
) -> tuple[Int[Array, "B W steps"], Float[Array, "B W"]]:
    model, (B, T) = nnx.merge(graph, weights), prompt.tokens.shape
    state = begin(model, prompt, T + steps)
    state = state_of_beams(state, jnp.repeat(jnp.arange(B), W))
    # All beams of a row are the same at first: one of them counts.
    scores = jnp.where(jnp.arange(W) == 0, 0.0, -jnp.inf)
    first = Beams(
        jnp.asarray(0),
        jnp.full((B, W, steps), NO_TOKEN, jnp.int32),
        jnp.broadcast_to(scores, (B, W)),
        jnp.ones((B, W), bool),
        state,
    )
    last = lax.while_loop(
        lambda beams: (beams.step < steps) & beams.active.any(),
        partial(_extend, model, end),
        first,
    )
    lengths = (last.written != NO_TOKEN).sum(axis=-1)
    scores = last.scores / ((5 + lengths) / 6) ** length_penalty
    order = jnp.argsort(-scores, axis=-1)
    best = jnp.take_along_axis(last.written, order[..., None], axis=1)
    return best, jnp.take_along_axis(scores, order, axis=1)


def _extend(model: Transformer, end: int, beams: Beams) -> Beams:
    """Extends every beam by one token, and keeps the best of all."""
    i, written, scores, active, state = beams
    B, W = scores.shape
    more = log_probs(state).reshape(B, W, -1)
    V = more.shape[-1]
    # A sequence that has ended goes on in one way, which costs nothing.
    stay = jnp.where(jnp.arange(V) == 0, 0.0, -jnp.inf)
    more = jnp.where(active[..., None], more, stay)
    total = (scores[..., None] + more).reshape(B, W * V)
    scores, chosen = lax.top_k(total, W)
    parent, token = chosen // V, chosen % V
    active = jnp.take_along_axis(active, parent, axis=1)
    token = jnp.where(active, token, NO_TOKEN).astype(jnp.int32)
    written = jnp.take_along_axis(written, parent[..., None], axis=1)
    written = lax.dynamic_update_slice(written, token[..., None], (0, 0, i))
    active = active & (token != end)
    rows = (jnp.arange(B)[:, None] * W + parent).reshape(-1)
    state = state_of_beams(state, rows)
    state = advance(model, jnp.maximum(token, 0).reshape(-1), state, active.reshape(-1))
    return Beams(i + 1, written, scores, active, state)


def require_steps(steps: int) -> None:
    """Raises `UserError` unless at least one token is asked for."""
    if steps < 1:
        raise UserError(f"{steps} tokens were asked for; ask for at least 1")
