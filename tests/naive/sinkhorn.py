"""Tay et al. 2020, section 3: blocks of keys, sorted by a balanced matrix."""

import jax.numpy as jnp
import numpy as np

from attn import kernels
from naive.oracle import Oracle
from naive.scores import softmax_row


def balanced(positive, iterations):
    """Rows, then columns, divided by their sums."""
    for _ in range(iterations):
        positive = positive / positive.sum(axis=1, keepdims=True)
        positive = positive / positive.sum(axis=0, keepdims=True)
    return positive


def sorting(spec, k, real, weights):
    """The blocks that hold a real key, and R between them."""
    C = spec.block
    live = [b for b in range(-(-len(k) // C)) if real[b * C : (b + 1) * C].any()]
    rows = []
    for b in live:
        own = slice(b * C, (b + 1) * C)
        hidden = np.maximum(k[own][real[own]].sum(axis=0) @ weights["W1"], 0)
        rows.append((hidden @ weights["W2"])[live] / spec.temperature)
    return live, balanced(np.exp(np.array(rows)), spec.iterations)


def by_sorting(spec, q, k, v, seen, weights):
    C, real, out = spec.block, seen.any(axis=0), np.zeros((len(q), v.shape[1]))
    if not real.any():
        return out
    live, R = sorting(spec, k, real, weights)
    for t in range(len(q)):
        b = t // C
        if b not in live:
            continue
        own = [s for s in range(b * C, min(b * C + C, len(k))) if real[s]]
        keys, values = [k[s] for s in own], [v[s] for s in own]
        for i in range(C):
            there = [
                (R[live.index(b), n], j * C + i)
                for n, j in enumerate(live)
                if j * C + i < len(k) and real[j * C + i]
            ]
            if there:
                keys.append(sum(r * k[s] for r, s in there))
                values.append(sum(r * v[s] for r, s in there))
        scores = np.array(keys) @ q[t] * q.shape[1] ** -0.5
        out[t] = softmax_row(scores, np.full(len(scores), True))[0] @ np.array(values)
    return out


ORACLES = (
    Oracle(
        kernels.SinkhornAttention(block=2, iterations=3),
        by_sorting,
        lambda S, H, Hv: S * (H + Hv),
        {
            "block": (3, [0]),
            "iterations": (1, [0]),
            "temperature": (2.0, [0.0, -1.0]),
        },
        too_large=("block",),
        variants={
            "blocks of four, hot": kernels.SinkhornAttention(4, 7, temperature=1.5),
        },
        is_dense=lambda S, H: (
            kernels.SinkhornAttention(block=S),
            {"W1": jnp.ones((H, H)), "W2": jnp.ones((H, 1))},
        ),
        reaches_all=False,
    ),
)
