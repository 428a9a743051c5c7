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
from attn.parallel.rules import lay

NO_TOKEN = -1
"""The filler after the end of a sequence in an array of generated tokens."""
End = int | tuple[int, ...] | None
"""The token that ends a sequence, any of several, or none."""


class Prompt(NamedTuple):
    """The input of generation: tokens, and what an encoder reads."""

    tokens: Int[Array, "B T"]
    info: TokenInfo = TokenInfo()
    source: Int[Array, "B S"] | None = None
    source_info: TokenInfo = TokenInfo()


class Writing(NamedTuple):
    """The last token of each sequence, which of them go on, and what decoding keeps."""

    token: Int[Array, "B"]
    active: Bool[Array, "B"]
    state: Decoded


def generate(
    model: Transformer,
    prompt: Prompt,
    steps: int,
    *,
    sampler: Sampler = GREEDY,
    key: Array | None = None,
    end: End = None,
) -> Int[Array, "B steps"]:
    """Writes up to `steps` tokens after each prompt, in one compiled loop.

    Args:
        key: the randomness of a sampler with a temperature.
        end: what ends a sequence; `NO_TOKEN` follows it. The loop stops when
            all sequences have ended.
    """
    require_steps(steps)
    graph, weights = nnx.split(model)
    return _generate(graph, weights, prompt, key, steps, sampler, end)


@partial(jax.jit, static_argnums=(0, 4, 5, 6))
def _generate(
    graph: Any,
    weights: Any,
    prompt: Prompt,
    key: Array | None,
    steps: int,
    sampler: Sampler,
    end: End,
) -> Int[Array, "B steps"]:
    model, (B, T) = nnx.merge(graph, weights), prompt.tokens.shape
    choose = partial(_choose, key=key, sampler=sampler, end=end)

    def put(written: Array, token: Array, i: Array | int) -> Array:
        return lax.dynamic_update_slice(written, token[:, None], (0, i))

    def unfinished(carry: tuple[Array, Array, Writing]) -> Array:
        i, _, last = carry
        return (i < steps) & last.active.any()

    def write(carry: tuple[Array, Array, Writing]) -> tuple[Array, Array, Writing]:
        i, written, last = carry
        new = choose(_read(model, last), last.active, i)
        return i + 1, put(written, new.token, i), new

    first = choose(begin(model, prompt, T + steps), lay(jnp.ones(B, bool), "B"), 0)
    none = lay(jnp.full((B, steps), NO_TOKEN, jnp.int32), "B L")
    written = put(none, first.token, 0)
    return lax.while_loop(unfinished, write, (jnp.asarray(1), written, first))[1]


def _read(model: Transformer, last: Writing) -> Decoded:
    """Reads the tokens that were written last."""
    return advance(model, jnp.maximum(last.token, 0), last.state, last.active)


def _choose(
    state: Decoded,
    active: Bool[Array, "B"],
    i: Array | int,
    *,
    key: Array | None,
    sampler: Sampler,
    end: End,
) -> Writing:
    """Chooses token i of each sequence that goes on; the `end` token is its last."""
    own = None if key is None else jax.random.fold_in(key, i)
    token = sampler(state.logits, own)
    token = jnp.where(active, token, NO_TOKEN)
    return Writing(token, active & ~ends(token, end), state)


def ends(token: Int[Array, "..."], end: End) -> Bool[Array, "..."]:
    """Whether tokens end their sequences."""
    several = end if isinstance(end, tuple) else () if end is None else (end,)
    return jnp.isin(token, jnp.asarray(several, token.dtype))


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
    end: End = None,
) -> Iterator[np.ndarray]:
    """Yields the tokens [B] that `generate` writes, each when it is there."""
    require_steps(steps)
    graph, weights = nnx.split(model)
    length = prompt.tokens.shape[1] + steps
    last = _first(graph, weights, prompt, key, length, sampler, end)
    yield np.asarray(last.token)
    for i in range(1, steps):
        if not np.asarray(last.active).any():
            return
        last = _next(graph, weights, last, key, i, sampler, end)
        yield np.asarray(last.token)


@partial(jax.jit, static_argnums=(0, 4, 5, 6))
def _first(
    graph: Any,
    weights: Any,
    prompt: Prompt,
    key: Array | None,
    length: int,
    sampler: Sampler,
    end: End,
) -> Writing:
    state = begin(nnx.merge(graph, weights), prompt, length)
    active = lay(jnp.ones(len(prompt.tokens), bool), "B")
    return _choose(state, active, 0, key=key, sampler=sampler, end=end)


@partial(jax.jit, static_argnums=(0, 5, 6), donate_argnums=2)
def _next(
    graph: Any,
    weights: Any,
    last: Writing,
    key: Array | None,
    i: Array | int,
    sampler: Sampler,
    end: End,
) -> Writing:
    state = _read(nnx.merge(graph, weights), last)
    return _choose(state, last.active, i, key=key, sampler=sampler, end=end)


def require_steps(steps: int) -> None:
    """Raises `UserError` unless at least one token is asked for."""
    if steps < 1:
        raise UserError(f"{steps} tokens were asked for; ask for at least 1")


def off_mesh(model: Transformer) -> Transformer:
    """The model with its weights on the first device, and on no mesh."""
    graph, state = nnx.split(model)
    return nnx.merge(graph, jax.tree.map(jnp.asarray, jax.device_get(state)))
