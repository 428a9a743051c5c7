"""Softmax and normalised features, one query at a time."""

import numpy as np


def softmax_row(scores, visible):
    """Weights and log-sum-exp of one query over the keys it sees."""
    weights = np.zeros_like(scores)
    if not visible.any():
        return weights, -np.inf
    top = scores[visible].max()
    weights[visible] = np.exp(scores[visible] - top)
    total = weights.sum()
    return weights / total, top + np.log(total)


def softmax(q, k, v, seen, scale=None, bias=None, softcap=None, sink=None):
    """Output [T, Hv] and log-sum-exp [T]: Vaswani et al. 2017, equation 1."""
    q, k, v = (np.asarray(x, np.float64) for x in (q, k, v))
    scale = q.shape[1] ** -0.5 if scale is None else scale
    out, lse = np.zeros((len(q), v.shape[1])), np.zeros(len(q))
    for t in range(len(q)):
        scores, visible = scale * (k @ q[t]), seen[t]
        if bias is not None:
            scores = scores + np.asarray(bias[t], np.float64)
        if softcap is not None:
            scores = softcap * np.tanh(scores / softcap)
        if sink is not None:
            # One key more, that everyone sees and that holds nothing.
            scores, visible = np.append(scores, sink), np.append(visible, True)
        weights, lse[t] = softmax_row(scores, visible)
        out[t] = weights[: len(v)][seen[t]] @ v[seen[t]]
    return out, lse


def by_features(phi_q, phi_k, v, seen):
    """Rows of phi(q) . phi(k), divided by their sums."""
    out = np.zeros((len(phi_q), v.shape[1]))
    for t in range(len(phi_q)):
        weights = np.where(seen[t], phi_k @ phi_q[t], 0.0)
        if seen[t].any():
            out[t] = (weights / weights.sum()) @ v
    return out
