"""Arora et al. 2024 (Based), section 4: exp by its Taylor series of second order."""

import numpy as np

from attn import kernels
from naive.oracle import Oracle


def by_taylor(spec, q, k, v, seen, weights):
    q, k = q @ weights["W_q"], k @ weights["W_k"]
    out = np.zeros((len(q), v.shape[1]))
    for t in range(len(q)):
        scores = k @ q[t] / np.sqrt(spec.feature_dim)
        mixed = np.where(seen[t], 1 + scores + scores**2 / 2, 0.0)
        if seen[t].any():
            out[t] = (mixed / mixed.sum()) @ v
    return out


ORACLES = (
    Oracle(
        kernels.Based(feature_dim=3),
        by_taylor,
        # 1, three numbers, three squares and three products of two.
        lambda S, H, Hv: 10 * (Hv + 1),
        {"feature_dim": (2, [0, -1])},
    ),
)
