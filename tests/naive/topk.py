"""Gupta et al. 2021, section 2: softmax over the k largest scores of each query."""

import numpy as np

from attn import kernels
from naive.oracle import Oracle
from naive.scores import softmax


def by_choice(spec, q, k, v, seen, weights):
    """Hides from each query all but its best keys, of equal ones the first."""
    chosen = np.full(seen.shape, False)
    for t in range(len(q)):
        scores = [float(q[t] @ key) for key in k]
        ranked = sorted((-scores[s], s) for s in range(len(k)) if seen[t, s])
        for _, s in ranked[: spec.num_keys]:
            chosen[t, s] = True
    return softmax(q, k, v, chosen)[0]


ORACLES = (
    Oracle(
        kernels.TopK(num_keys=3),
        by_choice,
        lambda S, H, Hv: S * (H + Hv),
        {"num_keys": (5, [0, -1])},
        too_large=("num_keys",),
        variants={"one key": kernels.TopK(num_keys=1)},
        is_dense=lambda S, H: (kernels.TopK(num_keys=S), {}),
        reaches_all=False,
    ),
)
