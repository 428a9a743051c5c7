"""The base of recurrences whose state decays and gains one outer product a token.

    S_t = a_t S_{t-1} + k_t u_t^T,    o_t = q_t S_t,    S of size H × Hv,

where what is written, u_t, is v_t or corrects v_t by what S holds. Written once in
three forms; a mechanism is its `tokens`, its `write` and its `writes`. A chunk reads
what came before it from one state, and its own tokens directly: Sun et al. 2023,
equations 5-7, are the forms of this without a correction; with one they are Yang,
Kautz, Hatamizadeh 2024, section 3.3.
"""

from dataclasses import dataclass
from typing import ClassVar, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jaxtyping import Array, Bool, Float

from attn.kernels.base import Weights, wide
from attn.kernels.chunks import in_chunks
from attn.kernels.dense import clean
from attn.kernels.resumable import Resumable
from attn.kernels.tokens import NO_INFO, TokenInfo
from attn.masks import Mask

CHUNK = 64


class Tokens(NamedTuple):
    """The inputs of the recurrence, at least float32: of a sequence, or one token."""

    q: Float[Array, "*T H"]
    k: Float[Array, "*T H"]
    v: Float[Array, "*T Hv"]
    log_keep: Float[Array, "*T"]
    """log a_t, at most 0."""
    beta: Float[Array, "*T"]
    """The strength of the write; 0 at padding."""


@dataclass(frozen=True)
class FadingState(Resumable):
    """The base of mechanisms with a decaying state; padding may lie anywhere."""

    family = "recurrent"
    can: ClassVar[frozenset[str]] = frozenset(
        {"causal", "key_padding", "map", "decoding"}
    )
    implementations = ("parallel", "recurrent", "chunked")
    head_norm = True
    steady: ClassVar[bool] = False
    """Whether a_t is the same for every token, so that all chunks decay alike."""

    def tokens(
        self,
        q: Float[Array, "T H"],
        k: Float[Array, "T H"],
        v: Float[Array, "T Hv"],
        weights: Weights,
        real: Bool[Array, "T"],
    ) -> Tokens:
        """Computes the inputs of the recurrence from float arrays, 0 at padded keys."""
        raise NotImplementedError

    def write(self, x: Tokens, state: Float[Array, "H Hv"]) -> Float[Array, "Hv"]:
        """Computes u of one token from the state, which has decayed already."""
        raise NotImplementedError

    def writes(
        self, x: Tokens, fade: Float[Array, "#M C C"], left: Float[Array, "#M C 1"]
    ) -> tuple[Float[Array, "M C Hv"], Float[Array, "M C H"] | None]:
        """Computes U and W of chunks: u is U - W S where S is the state before a chunk.

        Args:
            fade: what is left of token s when token t is read, 0 for t < s.
            left: what is left of S by then.
        """
        raise NotImplementedError

    def state_size(self, S, H, Hv, mask):
        return H * Hv

    def begin(self, H, Hv):
        return jnp.zeros((H, Hv), jnp.float32)

    def step(self, state, q, k, v, *, weights=None):
        dtype, real = v.dtype, jnp.ones(1, bool)
        q, k, v = (y[None].astype(state.dtype) for y in (q, k, v))
        x = self.tokens(q, k, v, weights or {}, real)
        state, out = self._advance(state, jax.tree.map(lambda y: y[0], x))
        return state, out.astype(dtype)

    def absorb(self, q, k, v, real, *, weights=None):
        k, v = (jnp.where(real[:, None], y, 0) for y in (k, v))
        x = self._tokens(q, k, v, weights, real)
        # Decoding counts real tokens alone, so what is padding fades nothing.
        x = x._replace(log_keep=jnp.where(real, x.log_keep, 0.0))
        x = jax.tree.map(lambda y: in_chunks(y, min(CHUNK, len(real))), x)
        return states(*self._moves(x, *self._fading(x, steady=False))[2:])[1]

    def __call__(
        self,
        q: Float[Array, "T H"],
        k: Float[Array, "T H"],
        v: Float[Array, "T Hv"],
        *,
        mask: Mask,
        weights: Weights | None = None,
        kv_info: TokenInfo = NO_INFO,
        form: str = "parallel",
    ) -> Float[Array, "T Hv"]:
        """Attends: [T, Hv] in the dtype of `v`, by one of `implementations`."""
        x = self._real_tokens(q, k, v, weights, kv_info)
        if form == "recurrent":
            state = jnp.zeros((q.shape[1], v.shape[1]), x.v.dtype)
            out = lax.scan(self._advance, state, x)[1]
        elif form == "parallel":
            out = self._inside(jax.tree.map(lambda y: y[None], x))[0]
        else:
            out = self._chunked(x)
        return out.astype(v.dtype)

    def transfer(self, q, k, v, *, weights=None, kv_info=NO_INFO):
        """The share of the state that is kept, a number or a matrix, and what is added."""
        x = self._real_tokens(q, k, v, weights, kv_info)
        x = jax.tree.map(lambda y: in_chunks(y, min(CHUNK, len(k))), x)
        fade, left = self._fading(x, steady=False)
        _, found, kept, added = self._moves(x, fade, left)
        last = states(kept, added)[1]
        if found is None:
            return jnp.exp(x.log_keep.sum())[None, None], last
        whole = jnp.zeros_like(kept[0]) + jnp.eye(kept.shape[-1], dtype=kept.dtype)
        return lax.scan(lambda a, b: (b @ a, None), whole, kept)[0], last

    def after(self, state, transfer):
        kept, added = transfer
        return (kept @ state if kept.shape[-1] > 1 else kept * state) + added

    def resume(self, state, q, k, v, *, mask, weights=None, kv_info=NO_INFO):
        x = self._real_tokens(q, k, v, weights, kv_info)
        return self._chunked(x, state).astype(v.dtype)

    def _real_tokens(
        self,
        q: Array,
        k: Array,
        v: Array,
        weights: Weights | None,
        kv_info: TokenInfo,
    ) -> Tokens:
        """Computes `tokens` of a sequence with padding."""
        kv_ids = kv_info.ids(len(k))
        k, v = clean(k, kv_ids), clean(v, kv_ids)
        real = jnp.ones(len(k), bool) if kv_ids is None else kv_ids >= 0
        return self._tokens(q, k, v, weights, real)

    def _tokens(
        self, q: Array, k: Array, v: Array, weights: Weights | None, real: Array
    ) -> Tokens:
        """Computes `tokens` of arrays that are made at least float32."""
        own = {name: wide(w) for name, w in (weights or {}).items()}
        return self.tokens(wide(q), wide(k), wide(v), own, real)

    def _advance(
        self, state: Float[Array, "H Hv"], x: Tokens
    ) -> tuple[Float[Array, "H Hv"], Float[Array, "Hv"]]:
        """Advances the state by one token, and reads it."""
        state = jnp.exp(x.log_keep) * state
        state = state + jnp.outer(x.k, self.write(x, state))
        return state, x.q @ state

    def _inside(self, x: Tokens) -> Float[Array, "M C Hv"]:
        """The part of the output that comes from tokens of the same chunk."""
        fade, left = self._fading(x, self.steady)
        return _scores(x, fade) @ self.writes(x, fade, left)[0]

    def _chunked(
        self, x: Tokens, state: Float[Array, "H Hv"] | None = None
    ) -> Float[Array, "T Hv"]:
        """Computes all chunks at once, except for the states between them."""
        T = len(x.q)
        C = min(CHUNK, T)
        # The last chunk is padded with zeros, which change nothing.
        x = jax.tree.map(lambda y: in_chunks(y, C), x)
        fade, left = self._fading(x, self.steady)
        own, found, kept, added = self._moves(x, fade, left)
        before, _ = states(kept, added, state)
        if found is not None:
            own = own - found @ before
        out = _scores(x, fade) @ own + (x.q * left) @ before
        return out.reshape(-1, out.shape[-1])[:T]

    def _moves(
        self, x: Tokens, fade: Float[Array, "#M C C"], left: Float[Array, "#M C 1"]
    ) -> tuple[Array, Array | None, Array, Array]:
        """Computes what `writes` gives, and what each chunk keeps and adds to the state."""
        own, found = self.writes(x, fade, left)
        # The part of each key that is left at the end of its chunk.
        sent = x.k * fade[:, -1, :, None]
        added = jnp.einsum("mch,mcv->mhv", sent, own)
        kept = left[:, -1:]
        if found is not None:
            erased = jnp.einsum("mch,mcg->mhg", sent, found)
            kept = kept * jnp.eye(erased.shape[1], dtype=erased.dtype)[None] - erased
        return own, found, kept, added

    def _fading(
        self, x: Tokens, steady: bool
    ) -> tuple[Float[Array, "#M C C"], Float[Array, "#M C 1"]]:
        """The decay from each token, and from the earlier state, to each token."""
        since = jnp.cumsum(x.log_keep[:1] if steady else x.log_keep, axis=1)
        gone = since[:, :, None] - since[:, None, :]
        seen = jnp.tri(since.shape[1], dtype=bool)[None]
        # Masked before exp, whose argument is above 0 for later tokens.
        fade = jnp.exp(jnp.where(seen, gone, -jnp.inf))
        return fade, jnp.exp(since)[..., None]


def _scores(x: Tokens, fade: Float[Array, "#M C C"]) -> Float[Array, "M C C"]:
    return jnp.einsum("mch,mdh->mcd", x.q, x.k) * fade


def states(
    kept: Float[Array, "#M ..."],
    added: Float[Array, "M H Hv"],
    start: Float[Array, "H Hv"] | None = None,
) -> tuple[Float[Array, "M H Hv"], Float[Array, "H Hv"]]:
    """The state before each chunk, and the last: S_{m+1} = kept_m S_m + added_m.

    Args:
        kept: a number, [#M, 1, 1], or a matrix, [M, H, H].
        start: the state before the first chunk; 0 unless given.
    """
    matrix = kept.shape[-1] > 1

    def step(state, x):
        keep, add = x
        return (keep @ state if matrix else keep * state) + add, state

    kept = jnp.broadcast_to(kept, (len(added), *kept.shape[1:]))
    start = jnp.zeros_like(added[0]) if start is None else start
    last, before = lax.scan(step, start, (kept, added))
    return before, last
