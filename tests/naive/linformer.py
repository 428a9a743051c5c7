"""Wang et al. 2020, equation 7; padding is out before the projection."""

import jax.numpy as jnp
import numpy as np

from attn import kernels
from naive.oracle import Oracle
from naive.scores import softmax


def by_projection(spec, q, k, v, seen, weights):
    real = seen.any(axis=0)
    k, v = (
        weights[name][:, : len(x)][:, real] @ x[real]
        for name, x in (("E", k), ("F", v))
    )
    return softmax(q, k, v, np.full((len(q), len(k)), True))[0]


ORACLES = (
    Oracle(
        kernels.Linformer(rank=3),
        by_projection,
        lambda S, H, Hv: 3 * (H + Hv),
        {"rank": (2, [0])},
        too_large=("rank",),
        is_dense=lambda S, H: (
            kernels.Linformer(rank=S),
            {"E": jnp.eye(S), "F": jnp.eye(S)},
        ),
        # E k and F v.
        roundings=3,
    ),
)
