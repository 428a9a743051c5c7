"""Decoding with a model: a prompt, then one token of each sequence at a time."""

from dataclasses import dataclass, field
from typing import Any

import jax
import jax.numpy as jnp
from jaxtyping import Array, Bool, Float, Int

from attn.attention.cache_shards import check_rows
from attn.errors import UserError
from attn.kernels import TokenInfo
from attn.model.batch import check_tokens, of_batch
from attn.model.transformer import Transformer
from attn.parallel.rules import batch_parts, lay
from attn.parallel.shard import explicit_spec


@jax.tree_util.register_dataclass
@dataclass(frozen=True, eq=False)
class Decoded:
    """The state of decoding after some tokens; its arrays begin with the sequence."""

    caches: Any
    """The cache of each layer."""
    position: Any
    """The position of the next token of each sequence, [B]."""
    logits: Any
    """The logits of the next token of each sequence, [B, V]."""
    length: int = field(metadata={"static": True})
    """The most tokens that a sequence may have, L."""


def start(
    model: Transformer,
    tokens: Int[Array, "B T"],
    length: int,
    info: TokenInfo = TokenInfo(),
    *,
    source: Int[Array, "B S"] | None = None,
    source_info: TokenInfo = TokenInfo(),
) -> Decoded:
    """Reads a prompt, padded at any side, and makes room for `length` tokens in all.

    Args:
        info: which tokens are padding, by `lengths` or `mask`; positions are counted
            over the others.
        source, source_info: what the encoder reads, of an encoder-decoder.

    Raises:
        UserError: the prompt is empty or too long, a layer does not decode, or the mesh
            divides the sequence, or not these rows.
    """
    T = jnp.shape(tokens)[-1]
    check_lengths(model, T, length)
    check_tokens(tokens, model.model.vocab_size)
    B = len(tokens)
    if info.segment_ids is not None or info.positions is not None:
        raise UserError(
            "decoding takes one sequence a row, whose real tokens are counted from 0; "
            "leave out segment_ids and positions"
        )
    if model.model.attend_padding:
        raise UserError(
            "ModelConfig.attend_padding = True; decoding reads no padding, so it would be "
            "of another function than was trained"
        )
    check_rows(B)
    tokens, info = lay(tokens, "B L"), of_batch(info, tokens)
    real = jnp.ones((B, T), bool) if info.mask is None else info.mask
    real = lay(real, "B L")
    positions = jnp.maximum(jnp.cumsum(real, axis=1) - 1, 0)
    # Without padding, masks need no positions that are known at run time alone.
    given = TokenInfo() if info.mask is None else TokenInfo(None, positions, None, real)
    caches = model.begin(B, length, model.memory(source, source_info))
    if T == 1:
        given = TokenInfo(None, positions, None, info.mask)
    x, caches = model.advance(model.embed(tokens, given), given, caches)
    last = jnp.max(jnp.where(real, jnp.arange(T)[None], 0), axis=1)
    x = jax.vmap(lambda states, i: states[i])(x, last[:, None])
    count = real.sum(axis=1, dtype=jnp.int32)
    return Decoded(caches, count, _logits(model, x), length)


def advance(
    model: Transformer,
    tokens: Int[Array, "B"],
    state: Decoded,
    active: Bool[Array, "B"] | None = None,
) -> Decoded:
    """Reads one more token of each sequence, or of those that are active."""
    tokens, active = lay(tokens, "B"), None if active is None else lay(active, "B")
    mask = None if active is None else active[:, None]
    info = TokenInfo(None, state.position[:, None], None, mask)
    x, caches = model.advance(model.embed(tokens[:, None], info), info, state.caches)
    more = 1 if active is None else active.astype(jnp.int32)
    return Decoded(caches, state.position + more, _logits(model, x), state.length)


def _logits(model: Transformer, x: Float[Array, "B 1 D"]) -> Float[Array, "B V"]:
    """The logits of each next token, of the whole vocabulary on each device."""
    return lay(model.read(x)[:, 0], "B R")


def check_lengths(model: Transformer, T: int, length: int) -> None:
    """Raises `UserError` for an empty prompt, or more tokens than there are positions."""
    if T == 0:
        raise UserError(
            "the prompt is empty; give at least one token, such as the start token"
        )
    if length < T:
        raise UserError(
            f"the prompt has {T} tokens and the sequence ends at {length}; ask for more"
        )
    longest = model.model.max_len or length
    # The last token that is written is never read.
    if model.model.positions == "learned" and max(T, length - 1) > longest:
        raise UserError(
            f"{length} tokens, prompt included, are more than the {longest} positions that "
            "were learned, and one; shorten the prompt, or ask for fewer"
        )


def state_of_beams(state: Decoded, rows: Int[Array, "R"]) -> Decoded:
    """The state with its sequences chosen, repeated or reordered.

    Raises:
        UserError: the mesh divides them.
    """
    if batch_parts() > 1:
        raise UserError(
            f"the mesh divides sequences into {batch_parts()} parts, and beams go from one "
            "to another; take a mesh of heads alone"
        )

    def taken(x: Array) -> Array:
        return x.at[rows].get(out_sharding=explicit_spec(x))

    return jax.tree.map(taken, state)


def log_probs(state: Decoded) -> Float[Array, "B V"]:
    """The log-probability of each next token."""
    return jax.nn.log_softmax(state.logits, axis=-1)
