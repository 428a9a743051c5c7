"""Ye et al. 2024, section 2.1: two maps of half the width, the second taken off."""

import numpy as np

from attn import kernels
from naive.oracle import Oracle
from naive.scores import softmax_row


def by_difference(spec, q, k, v, seen, weights):
    power = np.exp([weights["a1"] @ weights["b1"], weights["a2"] @ weights["b2"]])
    share = power[0] - power[1] + spec.lambda_init
    out = np.zeros((len(q), v.shape[1]))
    for t in range(len(q)):
        for first, factor in ((0, 1.0), (1, -share)):
            half = [k[s, first::2] @ q[t, first::2] for s in range(len(k))]
            scores = np.array(half) / np.sqrt(q.shape[1] / 2)
            row = softmax_row(scores, seen[t])[0]
            out[t] += factor * (row[seen[t]] @ v[seen[t]])
    return out


ORACLES = (
    Oracle(
        kernels.Differential(lambda_init=0.6),
        by_difference,
        lambda S, H, Hv: S * (H + Hv),
        {"lambda_init": (0.2, [-0.1, 1.0])},
        maps=2,
    ),
)
