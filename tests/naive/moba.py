"""Lu et al. 2025, section 2.2: the gate of each block, its own block, the best others."""

import numpy as np

from attn import kernels
from naive.oracle import Oracle
from naive.scores import softmax


def by_blocks(spec, q, k, v, seen, weights):
    T, S = seen.shape
    real, ahead = seen.any(axis=0), seen[0].sum() > 1
    blocks = [range(i, min(i + spec.block, S)) for i in range(0, S, spec.block)]
    blocks = [[s for s in block if real[s]] for block in blocks]
    chosen = np.zeros_like(seen)
    for t in range(T):
        own = t // spec.block
        others = [
            (q[t] @ k[block].mean(axis=0), i)
            for i, block in enumerate(blocks)
            if block and i != own and (ahead or i < own)
        ]
        room = spec.num_blocks - (1 if blocks[own] else 0)
        best = [i for _, i in sorted(others, reverse=True)[:room]]
        for i in (own, *best):
            chosen[t, blocks[i]] = True
    return softmax(q, k, v, seen & chosen)[0]


ORACLES = (
    Oracle(
        kernels.MoBA(block=2, num_blocks=2),
        by_blocks,
        # A mean for each two keys, of as many numbers as a key.
        lambda S, H, Hv: S * (H + Hv) + (S + S % 2) // 2 * H,
        {"block": (3, [0]), "num_blocks": (3, [0])},
        too_large=("block",),
        variants={"of its own block alone": kernels.MoBA(block=4, num_blocks=1)},
        is_dense=lambda S, H: (kernels.MoBA(block=2, num_blocks=S // 2 + 1), {}),
        reaches_all=False,
    ),
)
