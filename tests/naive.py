"""Every mechanism by its definition: NumPy, float64, one query at a time, slow.

`DEFINITIONS[name](spec, q, k, v, seen, weights)` gives the output [T, Hv] of one head.
`seen` [T, S] is what mask, padding and segments leave; what the mechanism hides on top
is its own `PATTERNS[name](spec, t, s, T, causal)`, and written without `attn.masks`.
A new mechanism adds its definition here, and its short-text spec to `SPECS`.
"""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from attn import kernels

SPECS = {
    "softmax": kernels.Softmax(),
    "window": kernels.WindowAttention(width=3),
    "dilated": kernels.DilatedAttention(width=3, dilation=2),
    "local": kernels.LocalAttention(block=4),
    "strided": kernels.StridedAttention(stride=3),
    "fixed": kernels.FixedAttention(stride=3, columns=1),
    "longformer": kernels.Longformer(width=3, num_global=2),
    "bigbird": kernels.BigBirdAttention(
        block=2, num_window=1, num_global=1, num_random=1
    ),
    "streaming": kernels.StreamingAttention(width=3, num_first=2),
    "linear": kernels.Linear(),
    "performer": kernels.Performer(num_features=6),
    "linformer": kernels.Linformer(rank=3),
}
"""One spec of every mechanism that means something on a text of nine tokens."""


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


def near(width, t, s, causal):
    return t - width < s <= t if causal else abs(t - s) <= width // 2


def window_shows(spec, t, s, T, causal):
    return near(spec.width, t, s, causal)


def dilated_shows(spec, t, s, T, causal):
    """Beltagy et al. 2020, section 3.1: gaps of size dilation in the window."""
    apart, steps = abs(t - s) % spec.dilation, abs(t - s) // spec.dilation
    return apart == 0 and near(spec.width, 0, steps if s > t else -steps, causal)


def local_shows(spec, t, s, T, causal):
    start = t - t % spec.block
    return start <= s < start + spec.block


def strided_shows(spec, t, s, T, causal):
    """Child et al. 2019, section 4.3, A1 and A2 together."""
    return near(spec.stride, t, s, causal) or (t - s) % spec.stride == 0


def fixed_shows(spec, t, s, T, causal):
    """Child et al. 2019, section 4.3: floor(s / l) = floor(t / l), or s mod l >= l - c."""
    stride, kept = spec.stride, spec.stride - spec.columns
    return s // stride == t // stride or s % stride >= kept


def longformer_shows(spec, t, s, T, causal):
    first = t < spec.num_global or s < spec.num_global
    return first or near(spec.width, t, s, causal)


def bigbird_shows(spec, t, s, T, causal):
    """Zaheer et al. 2020, section 2; the random blocks are those that the spec drew."""
    i, j = t // spec.block, s // spec.block
    first = i < spec.num_global or j < spec.num_global
    drawn = spec.shown(T, T, ahead=not causal).picks[i]
    return abs(i - j) <= spec.num_window // 2 or first or j in drawn


def streaming_shows(spec, t, s, T, causal):
    """Xiao et al. 2023, figure 1d, which never looks ahead."""
    return s <= t and (s < spec.num_first or t - s < spec.width)


PATTERNS = {
    "window": window_shows,
    "dilated": dilated_shows,
    "local": local_shows,
    "strided": strided_shows,
    "fixed": fixed_shows,
    "longformer": longformer_shows,
    "bigbird": bigbird_shows,
    "streaming": streaming_shows,
}


def visible(spec, T, S, causal, real=None):
    """What each query sees, bool [T, S]; `real` tells keys from padding."""
    shows = PATTERNS.get(spec.name, lambda spec, t, s, T, causal: True)
    seen = [
        [(s <= t or not causal) and shows(spec, t, s, T, causal) for s in range(S)]
        for t in range(T)
    ]
    return np.array(seen) & (True if real is None else np.asarray(real)[None, :])


def by_softmax(spec, q, k, v, seen, weights):
    sink = weights.get("sink")
    return softmax(q, k, v, seen, softcap=spec.softcap, sink=sink)[0]


def by_features(phi_q, phi_k, v, seen):
    out = np.zeros((len(phi_q), v.shape[1]))
    for t in range(len(phi_q)):
        weights = np.where(seen[t], phi_k @ phi_q[t], 0.0)
        if seen[t].any():
            out[t] = (weights / weights.sum()) @ v
    return out


def by_elu(spec, q, k, v, seen, weights):
    """Katharopoulos et al. 2020, equation 7."""
    phi_q, phi_k = (np.where(x > 0, x + 1, np.exp(np.minimum(x, 0))) for x in (q, k))
    return by_features(phi_q, phi_k, v, seen)


def by_random_features(spec, q, k, v, seen, weights):
    """Choromanski et al. 2021, lemma 1, on q / H^(1/4) and k / H^(1/4)."""
    q, k = (x * x.shape[1] ** -0.25 for x in (q, k))
    phi_q, phi_k = (
        np.exp(x @ weights["directions"].T - 0.5 * (x * x).sum(1)[:, None])
        for x in (q, k)
    )
    return by_features(phi_q, phi_k, v, seen)


def by_projection(spec, q, k, v, seen, weights):
    """Wang et al. 2020, equation 7; padding is out before the projection."""
    real = seen.any(axis=0)
    k, v = (
        weights[name][:, : len(x)][:, real] @ x[real]
        for name, x in (("E", k), ("F", v))
    )
    return softmax(q, k, v, np.full((len(q), len(k)), True))[0]


DEFINITIONS = {
    **dict.fromkeys(("softmax", *PATTERNS), by_softmax),
    "linear": by_elu,
    "performer": by_random_features,
    "linformer": by_projection,
}


@cache
def own_weights(spec, H, S, N=None):
    """Weights shaped as the spec's `init` makes them, [N, ...] or one head's; normal."""
    random, lead = np.random.default_rng(7), () if N is None else (N,)
    shapes = jax.eval_shape(
        lambda: spec.init(jax.random.key(0), head_dim=H, kv_len=S),
    )
    return {
        name: jnp.asarray(random.normal(size=(*lead, *leaf.shape)), leaf.dtype)
        for name, leaf in shapes.items()
    }


def gradient(function, arrays, cotangent, step=1e-6):
    """d sum(function(arrays) * cotangent) for each array, by central differences."""
    arrays = {name: np.array(x, np.float64) for name, x in arrays.items()}
    found = {name: np.zeros_like(x) for name, x in arrays.items()}
    for name, x in arrays.items():
        for place in np.ndindex(x.shape):
            kept, change = x[place], 0.0
            for sign in (1, -1):
                x[place] = kept + sign * step
                change += sign * (function(**arrays) * cotangent).sum()
            x[place] = kept
            found[name][place] = change / (2 * step)
    return found
