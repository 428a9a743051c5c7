"""The check of a rival: whether its outputs are attention by the definition."""

import math
from collections.abc import Sequence
from dataclasses import dataclass

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax

from attn.bench.cases import Case

TOLERANCE = {"float32": 1e-4, "bfloat16": 4e-2}
"""The largest difference, over the largest value, at which an output is accepted."""

MANY_SCORES = 2**26
"""The number of scores of one head above which only the first and the last head are
compared."""


@dataclass(frozen=True)
class Inputs:
    """Inputs q, k, v and the cotangent g, standard normal, [B, T or S, N or K, H].

    float32 arrays whose values the dtype of the case can hold, so every library gets
    the same numbers.
    """

    q: np.ndarray
    k: np.ndarray
    v: np.ndarray
    g: np.ndarray

    @classmethod
    def make(cls, case: Case, seed: int = 0) -> "Inputs":
        rng = np.random.default_rng(seed)
        queries, keys = (case.T, case.N), (case.S, case.K)
        shapes = [(case.B, *lead, case.H) for lead in (queries, keys, keys, queries)]
        return cls(*(_round(rng.standard_normal(s, np.float32), case) for s in shapes))

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        return self.q, self.k, self.v, self.g


def _round(x: np.ndarray, case: Case) -> np.ndarray:
    return x.astype(jnp.dtype(case.dtype)).astype(np.float32)


def checked_heads(case: Case) -> list[int]:
    """The key/value heads whose outputs are compared."""
    few = case.T * case.S > MANY_SCORES
    return sorted({0, case.K - 1}) if few else list(range(case.K))


def definition(case: Case, inputs: Inputs) -> list[np.ndarray]:
    """Computes float32 softmax(q k^T / sqrt(H)) v and gradients on the checked heads.

    Vaswani et al. 2017, section 3.2.1, equation 1, some queries at a time.

    Returns:
        The output [B, T, heads, H]; of a backward case also dq, dk and dv.
    """
    q, k, v, g = _select(case, inputs.arrays)
    q, g = (x.reshape(*x.shape[:2], k.shape[2], -1, case.H) for x in (q, g))
    rows = math.gcd(case.T, 256)
    starts = jnp.arange(0, case.T, rows)

    @jax.checkpoint
    def block(start, q, k, v):
        q = lax.dynamic_slice_in_dim(q, start, rows, axis=1)
        scores = jnp.einsum("btkgh,bskh->bkgts", q, k) * case.H**-0.5
        positions = start + jnp.arange(rows)
        seen = case.mask.predicate(positions[:, None], jnp.arange(case.S)[None, :])
        seen = jnp.broadcast_to(seen, scores.shape)
        weights = jax.nn.softmax(scores, axis=-1, where=seen)
        return jnp.einsum("bkgts,bskh->btkgh", weights, v)

    def attend(q, k, v):
        out = lax.map(lambda start: block(start, q, k, v), starts)
        return jnp.moveaxis(out, 0, 1).reshape(q.shape)

    with jax.default_matmul_precision("highest"):
        out, pull = jax.vjp(attend, *map(jnp.asarray, (q, k, v)))
        arrays = [out, *pull(jnp.asarray(g))] if case.backward else [out]
    return [np.asarray(x).reshape(*x.shape[:2], -1, case.H) for x in arrays]


def _select(case: Case, arrays: Sequence[np.ndarray]) -> list[np.ndarray]:
    """Selects the checked heads of arrays [B, T or S, N or K, H]."""
    groups = [x.reshape(*x.shape[:2], case.K, -1, case.H) for x in arrays]
    heads = [x[:, :, checked_heads(case)] for x in groups]
    return [x.reshape(*x.shape[:2], -1, case.H) for x in heads]


def largest_error(
    case: Case, found: Sequence[np.ndarray], expected: Sequence[np.ndarray]
) -> float:
    """The largest |found - expected| / max |expected| over the outputs.

    Infinite where an output is missing, has another shape, or is not finite.
    """
    worst = 0.0 if len(found) == len(expected) else math.inf
    for mine, right in zip(_select(case, found), expected):
        if mine.shape != right.shape or not np.isfinite(mine).all():
            return math.inf
        gap = np.abs(mine.astype(np.float32) - right).max()
        worst = max(worst, float(gap / np.abs(right).max()))
    return worst
