"""Kitaev et al. 2020, section 2, by its sets: what a round shows, and their union.

Chunks are cut from the start of each bucket.
"""

import jax.numpy as jnp
import numpy as np

from attn import kernels
from naive.oracle import Oracle
from naive.scores import softmax


def bucket(x, rotation, num_buckets):
    """h(x) = argmax([x R; -x R])."""
    if num_buckets == 1:
        return 0
    return int(np.argmax(np.concatenate([x @ rotation, -(x @ rotation)])))


def shown_in_a_round(spec, q, k, real, rotation):
    """Pairs (t, s) of one bucket whose chunks are at most 1 apart."""
    of_q, of_k = (
        [bucket(row, rotation, spec.num_buckets) for row in x] for x in (q, k)
    )
    pairs = set()
    for b in set(of_q):
        keys = [s for s in range(len(k)) if real[s] and of_k[s] == b]
        for t in [t for t in range(len(q)) if of_q[t] == b]:
            stands = max(sum(s <= t for s in keys) - 1, 0)
            for rank, s in enumerate(keys):
                if abs(rank // spec.chunk - stands // spec.chunk) <= 1:
                    pairs.add((t, s))
    return pairs


def by_buckets(spec, q, k, v, seen, weights):
    real = seen.any(axis=0)
    pairs = {(t, t) for t in range(len(q))}
    for rotation in weights["rotations"]:
        pairs |= shown_in_a_round(spec, q, k, real, rotation)
    shown = np.zeros_like(seen)
    for t, s in pairs:
        shown[t, s] = seen[t, s]
    if spec.unit_keys:
        k = k / np.linalg.norm(k, axis=1, keepdims=True)
    return softmax(q, k, v, shown)[0]


ORACLES = (
    Oracle(
        kernels.Reformer(num_buckets=4, num_rounds=2, chunk=2),
        by_buckets,
        lambda S, H, Hv: S * (H + Hv),
        {
            "num_buckets": (2, [0, 3, -2]),
            "num_rounds": (3, [0]),
            "chunk": (3, [0]),
            "unit_keys": (False, []),
        },
        too_large=("num_buckets", "chunk"),
        variants={
            "one round of keys as they are": kernels.Reformer(2, 1, 3, unit_keys=False),
            "three rounds": kernels.Reformer(num_buckets=2, num_rounds=3, chunk=2),
            "one bucket": kernels.Reformer(num_buckets=1, num_rounds=2, chunk=2),
        },
        is_dense=lambda S, H: (
            kernels.Reformer(num_buckets=1, num_rounds=2, chunk=S, unit_keys=False),
            {"rotations": jnp.ones((2, H, 1))},
        ),
        reaches_all=False,
    ),
)
