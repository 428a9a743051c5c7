"""Katharopoulos et al. 2020, equation 7."""

import numpy as np

from attn import kernels
from naive.oracle import Oracle
from naive.scores import by_features


def by_elu(spec, q, k, v, seen, weights):
    phi_q, phi_k = (np.where(x > 0, x + 1, np.exp(np.minimum(x, 0))) for x in (q, k))
    return by_features(phi_q, phi_k, v, seen)


ORACLES = (Oracle(kernels.Linear(), by_elu, lambda S, H, Hv: H * (Hv + 1)),)
