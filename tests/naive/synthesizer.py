"""Tay et al. 2020, section 3.1 (dense) and 3.3 (factorised random)."""

import numpy as np

from attn import kernels
from naive.oracle import Oracle
from naive.scores import softmax_row


def by_learned_scores(spec, q, k, v, seen, weights):
    out = np.zeros((len(q), v.shape[1]))
    for t in range(len(q)):
        if spec.kind == "dense":
            scores = np.maximum(q[t] @ weights["W1"], 0) @ weights["W2"]
        else:
            scores = weights["R1"][:, t] @ weights["R2"]
        row = softmax_row(scores[: len(v)], seen[t])[0]
        out[t] = row[seen[t]] @ v[seen[t]]
    return out


ORACLES = (
    Oracle(
        kernels.Synthesizer(rank=3),
        by_learned_scores,
        lambda S, H, Hv: S * Hv,
        # A wrong kind is refused as any other wrong choice is.
        {"kind": ("random", []), "rank": (2, [0])},
        too_large=("rank",),
        variants={"random": kernels.Synthesizer(kind="random", rank=3)},
        # What stands for queries, and for keys.
        roundings=3,
    ),
)
