"""Choromanski et al. 2021, lemma 1, on q / H^(1/4) and k / H^(1/4)."""

import numpy as np

from attn import kernels
from naive.oracle import Oracle
from naive.scores import by_features


def by_random_features(spec, q, k, v, seen, weights):
    q, k = (x * x.shape[1] ** -0.25 for x in (q, k))
    phi_q, phi_k = (
        np.exp(x @ weights["directions"].T - 0.5 * (x * x).sum(1)[:, None])
        for x in (q, k)
    )
    return by_features(phi_q, phi_k, v, seen)


ORACLES = (
    Oracle(
        kernels.Performer(num_features=6),
        by_random_features,
        lambda S, H, Hv: 6 * (Hv + 2),
        {"num_features": (7, [0])},
    ),
)
