"""The check of a rival: whether its outputs are attention by the definition."""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial

import jax
import jax.numpy as jnp
import numpy as np
from jax import lax
from jaxtyping import Array

from attn.attention import attend
from attn.bench.cases import Case
from attn.bench.device import products
from attn.kernels import KERNELS

TOLERANCE = {"float32": 1e-4, "tf32": 1e-2, "bfloat16": 4e-2}
"""The largest difference, over the largest value, at which an output is accepted, by the
type of its products (`attn.bench.device`). TF32 keeps three bits more than bfloat16, and
may cut off the others where that rounds, so a quarter of its tolerance."""

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
        queries, keys = (case.B, case.T, case.N), (case.B, case.S, case.K)
        shapes = tuple((*lead, case.H) for lead in (queries, keys, keys, queries))
        return cls(*_drawn(shapes, case.dtype, seed))

    @property
    def arrays(self) -> tuple[np.ndarray, ...]:
        return self.q, self.k, self.v, self.g


@lru_cache(maxsize=1)
def _drawn(
    shapes: tuple[tuple[int, ...], ...], dtype: str, seed: int
) -> tuple[np.ndarray, ...]:
    """Arrays drawn in turn; kept, as cases of one shape follow each other."""
    rng = np.random.default_rng(seed)
    drawn = (rng.standard_normal(shape, np.float32) for shape in shapes)
    return tuple(x.astype(jnp.dtype(dtype)).astype(np.float32) for x in drawn)


def tolerance(case: Case) -> float:
    """The largest difference at which an output of a case is accepted here."""
    return TOLERANCE[products(case.dtype)]


def checked_heads(case: Case) -> list[int]:
    """The key/value heads whose outputs are compared; few of a slow definition."""
    few = case.T * case.S > MANY_SCORES or not case.is_softmax
    return sorted({0, case.K - 1}) if few else list(range(case.K))


def definition(case: Case, inputs: Inputs) -> list[np.ndarray]:
    """Computes float32 softmax(q k^T / sqrt(H)) v and gradients on the checked heads.

    Vaswani et al. 2017, section 3.2.1, equation 1, some queries at a time. Of another
    mechanism: its recurrent form, token by token.

    Returns:
        The output [B, T, heads, H]; of a backward case also dq, dk and dv.
    """
    q, k, v, g = _select(case, inputs.arrays)
    if not case.is_softmax:
        return _pulled(case, partial(recurrence, case), q, k, v, g)
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

    def by_softmax(q, k, v):
        out = lax.map(lambda start: block(start, q, k, v), starts)
        return jnp.moveaxis(out, 0, 1).reshape(q.shape)

    return _pulled(case, by_softmax, q, k, v, g)


def _pulled(case: Case, function: Callable[..., Array], *arrays) -> list[np.ndarray]:
    """The output of a function of q, k, v and, of a backward case, their gradients."""
    *qkv, g = map(jnp.asarray, arrays)
    with jax.default_matmul_precision("highest"):
        out, pull = jax.vjp(function, *qkv)
        found = [out, *pull(g)] if case.backward else [out]
    return [np.asarray(x).reshape(*x.shape[:2], -1, case.H) for x in found]


def recurrence(case: Case, q: Array, k: Array, v: Array) -> Array:
    """Computes a mechanism on the checked heads by its recurrent form."""
    kernel, heads = KERNELS[case.mechanism](), np.array(checked_heads(case))
    weights = {name: x[heads] for name, x in weights_of(case).items()} or None
    fixed = {"mask": case.mask, "weights": weights, "impl": "recurrent"}
    return attend(kernel, q, k, v, **fixed)


def weights_of(case: Case) -> dict[str, Array]:
    """The weights of every head of a case's mechanism, with its knobs at their defaults."""
    kernel, sizes = KERNELS[case.mechanism](), {"head_dim": case.H, "kv_len": case.S}
    return kernel.init_heads(jax.random.key(0), case.N, **sizes)


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
