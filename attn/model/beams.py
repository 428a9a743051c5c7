"""Beam search: the likely continuations of a prompt, several kept at every step."""

from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from flax import nnx
from jax import lax
from jaxtyping import Array, Bool, Float, Int

from attn.errors import UserError
from attn.model.decode import Decoded, advance, log_probs, state_of_beams
from attn.model.generate import (
    NO_TOKEN,
    End,
    Prompt,
    begin,
    ends,
    require_steps,
)
from attn.model.transformer import Transformer


class Beams(NamedTuple):
    """The carry of a beam search: W sequences of each row, best first."""

    step: Array
    written: Int[Array, "B W steps"]
    scores: Float[Array, "B W"]
    active: Bool[Array, "B W"]
    state: Decoded

    def read(self, model: Transformer) -> "Beams":
        """Reads the tokens that were written last."""
        token = lax.dynamic_index_in_dim(self.written, self.step - 1, 2, keepdims=False)
        tokens, active = jnp.maximum(token, 0).reshape(-1), self.active.reshape(-1)
        return self._replace(state=advance(model, tokens, self.state, active))


def beam_search(
    model: Transformer,
    prompt: Prompt,
    steps: int,
    *,
    width: int,
    end: End,
    length_penalty: float = 0.0,
) -> tuple[Int[Array, "B W steps"], Float[Array, "B W"]]:
    """Finds the likely continuations of each prompt, keeping `width` at every step.

    Args:
        end: what ends a sequence, after which it gains nothing.
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
    end: End,
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
        lambda beams: _extend(beams.read(model), end),
        _extend(first, end),
    )
    lengths = (last.written != NO_TOKEN).sum(axis=-1)
    scores = last.scores / ((5 + lengths) / 6) ** length_penalty
    order = jnp.argsort(-scores, axis=-1)
    best = jnp.take_along_axis(last.written, order[..., None], axis=1)
    return best, jnp.take_along_axis(scores, order, axis=1)


def _extend(beams: Beams, end: End) -> Beams:
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
    active = active & ~ends(token, end)
    rows = (jnp.arange(B)[:, None] * W + parent).reshape(-1)
    return Beams(i + 1, written, scores, active, state_of_beams(state, rows))
