"""Softmax, and softmax under a mask of its own; written without `attn.masks`."""

from attn import kernels
from naive.oracle import Oracle
from naive.scores import softmax

BIRD = kernels.BigBirdAttention(block=2, num_window=1, num_global=1, num_random=1)
SOFTMAX_KNOBS = {"softcap": (1.5, [0.0, -1.0]), "sinks": (True, [])}


def by_softmax(spec, q, k, v, seen, weights):
    sink = weights.get("sink")
    return softmax(q, k, v, seen, softcap=spec.softcap, sink=sink)[0]


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


def bigbird_keeps(S):
    """Each block is kept up to the last block that sees it, and the query's own."""
    of = BIRD.block
    picks = BIRD.shown(S, S, ahead=False).picks.tolist()
    blocks = range(-(-S // of))
    first = BIRD.num_global
    last = [
        max(
            i
            for i in blocks[j:]
            if i in (j, *range(first)) or j < first or j in picks[i]
        )
        for j in blocks
    ]
    return max(
        sum(s == t or last[s // of] >= t // of for s in range(t + 1)) for t in range(S)
    )


def oracle(spec, keys, shows=None, knobs=None, **options):
    """Keeps at most `keys(S)` keys and values at once, to decode S tokens."""
    knobs = SOFTMAX_KNOBS | (knobs or {})
    state = lambda S, H, Hv: keys(S) * (H + Hv)  # noqa: E731
    return Oracle(spec, by_softmax, state, knobs, shows=shows, **options)


ORACLES = (
    oracle(
        kernels.Softmax(),
        lambda S: S,
        variants={"capped, with a sink": kernels.Softmax(softcap=1.5, sinks=True)},
        is_dense=lambda S, H: (kernels.Softmax(), {}),
    ),
    oracle(
        kernels.WindowAttention(width=3),
        lambda S: 3,
        window_shows,
        {"width": (5, [0, -1])},
        too_large=("width",),
        variants={"of an even width": kernels.WindowAttention(width=4)},
        is_dense=lambda S, H: (kernels.WindowAttention(width=2 * S), {}),
    ),
    oracle(
        kernels.DilatedAttention(width=3, dilation=2),
        lambda S: 5,
        dilated_shows,
        {"width": (5, [0]), "dilation": (3, [0])},
        too_large=("width", "dilation"),
        is_dense=lambda S, H: (kernels.DilatedAttention(width=2 * S, dilation=1), {}),
    ),
    oracle(
        kernels.LocalAttention(block=4),
        lambda S: 4,
        local_shows,
        {"block": (3, [0])},
        too_large=("block",),
        is_dense=lambda S, H: (kernels.LocalAttention(block=S), {}),
    ),
    oracle(
        kernels.StridedAttention(stride=3),
        # Only the last queries see no more of some, one residue after another.
        lambda S: S - 3 + 1,
        strided_shows,
        {"stride": (4, [0])},
        too_large=("stride",),
        is_dense=lambda S, H: (kernels.StridedAttention(stride=1), {}),
    ),
    oracle(
        kernels.FixedAttention(stride=3, columns=1),
        # The last whole block, or what follows it, and a column of each before.
        lambda S: max(3 + S // 3 - 1, S // 3 + S % 3),
        fixed_shows,
        {"stride": (4, [0]), "columns": (2, [0, 4])},
        too_large=("stride",),
        is_dense=lambda S, H: (kernels.FixedAttention(stride=S, columns=1), {}),
    ),
    oracle(
        kernels.Longformer(width=3, num_global=2),
        lambda S: 5,
        longformer_shows,
        {"width": (5, [0]), "num_global": (3, [0])},
        too_large=("num_global",),
        is_dense=lambda S, H: (kernels.Longformer(width=2 * S, num_global=1), {}),
    ),
    oracle(
        BIRD,
        bigbird_keeps,
        bigbird_shows,
        {
            "block": (3, [0]),
            "num_window": (3, [0, 2]),
            "num_global": (2, [-1]),
            "num_random": (2, [-1]),
            "seed": (1, [-1]),
        },
        too_large=("block",),
        length_free=False,
    ),
    oracle(
        kernels.StreamingAttention(width=3, num_first=2),
        lambda S: 5,
        streaming_shows,
        {"width": (5, [0]), "num_first": (3, [0])},
        too_large=("width", "num_first"),
    ),
)
