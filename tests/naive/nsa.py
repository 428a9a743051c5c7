"""Yuan et al. 2025, section 3: compressed, chosen and near keys, one query at a time."""

import math

import jax.numpy as jnp
import numpy as np

from attn import kernels
from naive.oracle import Oracle
from naive.scores import softmax_row


def gelu(x):
    """Hendrycks and Gimpel 2016, by their tanh."""
    inner = np.sqrt(2 / math.pi) * (x + 0.044715 * x**3)
    return 0.5 * x * (1 + np.tanh(inner))


def compressed(spec, k, v, real, weights):
    """Last position, key, value and positions of every block that has a real key."""
    share = np.exp(weights["values"])
    found = []
    for start in range(0, len(k) - spec.block + 1, spec.stride):
        positions = range(start, start + spec.block)
        hidden, mean, total = np.zeros(k.shape[1]), np.zeros(v.shape[1]), 0.0
        for u, s in enumerate(positions):
            if real[s]:
                hidden += (k[s] + weights["position"][u]) @ weights["hidden"][u]
                mean += share[u] * v[s]
                total += share[u]
        if total:
            key = gelu(hidden) @ weights["out"]
            found.append((positions[-1], key, mean / total, set(positions)))
    return found


def attend(q, k, v, seen):
    weights = softmax_row(k @ q * len(q) ** -0.5, np.asarray(seen))[0]
    return weights[seen] @ v[seen], weights


def choice(spec, t, likes, real):
    """The numbers of the blocks that query t chooses."""
    own = t // spec.block
    blocks = {i: range(i * spec.block, (i + 1) * spec.block) for i in range(own + 1)}
    able = [i for i in blocks if any(real[s] for s in blocks[i] if s < len(real))]
    kept = [i for i in able if i in (0, own - 1, own)]
    others = sorted(set(able) - set(kept), key=lambda i: -likes(set(blocks[i])))
    return kept + others[: spec.num_blocks - len(kept)]


def by_branches(spec, q, k, v, seen, weights):
    real, out = seen.any(axis=0), np.zeros((len(q), v.shape[1]))
    summaries = compressed(spec, k, v, real, weights)
    for t in range(len(q)):
        gates = 1 / (1 + np.exp(-(weights["gates"] @ q[t] + weights["gate_bias"])))
        past = [one for one in summaries if one[0] <= t]
        shares = []
        if past:
            keys, values = (np.stack([one[i] for one in past]) for i in (1, 2))
            far, shares = attend(q[t], keys, values, np.full(len(past), True))
            out[t] += gates[0] * far

        def likes(block, past=past, shares=shares):
            """Equation 9: a share counts for each stride in both blocks."""
            common = (len(one[3] & block) / spec.stride for one in past)
            return sum(share * n for share, n in zip(shares, common))

        chosen = choice(spec, t, likes, real)
        positions = np.arange(len(k))
        near = (t - spec.width < positions) & (positions <= t)
        for gate, own in ((1, np.isin(positions // spec.block, chosen)), (2, near)):
            out[t] += gates[gate] * attend(q[t], k, v, seen[t] & own)[0]
    return out


def chosen_alone(S, H):
    """All blocks are chosen, and the gates leave that branch alone."""
    spec = kernels.NativeSparseAttention(block=2, stride=1, num_blocks=S, width=1)
    weights = {
        "position": jnp.ones((2, H)),
        "hidden": jnp.ones((2, H, H)),
        "out": jnp.ones((H, H)),
        "values": jnp.ones(2),
        "gates": jnp.zeros((3, H)),
        "gate_bias": jnp.asarray([-30.0, 30.0, -30.0]),
    }
    return spec, weights


ORACLES = (
    Oracle(
        kernels.NativeSparseAttention(block=2, stride=1, num_blocks=4, width=3),
        by_branches,
        # A block ends at every key but the first.
        lambda S, H, Hv: (S + S - 1) * (H + Hv),
        {
            "block": (4, [0]),
            "stride": (2, [0, 3]),
            "num_blocks": (3, [2]),
            "width": (4, [0]),
        },
        too_large=("block", "width"),
        variants={
            "of blocks that do not overlap": kernels.NativeSparseAttention(
                block=2, stride=2, num_blocks=4, width=1
            ),
            "of wide blocks": kernels.NativeSparseAttention(
                block=3, stride=1, num_blocks=3, width=5
            ),
        },
        is_dense=chosen_alone,
        reaches_all=False,
    ),
)
