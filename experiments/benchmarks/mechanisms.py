"""A suite of every mechanism: time and scratch memory against sequence length."""

import math
from collections.abc import Mapping

from attn.bench.suite import Knob, Scaling, Suite, Target

LINEAR = ("window", "linear", "recurrent")
DEFINITION = ("softmax by definition",)

TARGETS = (
    Target(
        "time exponent, softmax by definition",
        *("time exponent", 2.3, 2.1),
        who=DEFINITION,
    ),
    Target(
        "scratch exponent, softmax by definition",
        *("scratch exponent", 2.1, 2.05),
        who=DEFINITION,
    ),
    Target(
        "time exponent, window, linear, recurrent family",
        *("time exponent", 1.3, 1.1),
        who=LINEAR,
    ),
    Target(
        "scratch exponent, window, linear, recurrent family",
        *("scratch exponent", 1.2, 1.05),
        who=LINEAR,
    ),
    Target(
        "forward + backward, 4,096 tokens, window, linear, recurrent family: time over theirs",
        *("time ratio", 1.0, 0.5, "softmax"),
        who=LINEAR,
    ),
    Target(
        "compile time of every mechanism, 4,096 tokens, s", "compile each", 5.0, 2.0
    ),
)


def root(T: int) -> int:
    """The stride of Child et al. 2019 for T tokens, at which time is O(T sqrt(T))."""
    return round(math.sqrt(T))


KNOBS: Mapping[str, Mapping[str, Knob]] = {
    "window": {"width": 256},
    "dilated": {"width": 128},
    "local": {"block": 256},
    "strided": {"stride": root},
    "fixed": {"stride": root},
    "longformer": {"width": 256, "num_global": 16},
    "bigbird": {"block": 64},
    "streaming": {"width": 256},
    "topk": {"num_keys": 64},
    "reformer": {"num_buckets": 64, "chunk": 64},
    "sinkhorn": {"block": 64},
    "nsa": {"width": 256},
    "performer": {"num_features": 256},
    "linformer": {"rank": 256},
    "nystrom": {"num_landmarks": 64},
}
"""Knobs that differ from their defaults, which are made for short sequences. They are
the same at every length, or a function of it where the paper says so, so that exponents
are those of the mechanism."""

SCALING = Suite(
    races=(),
    targets=TARGETS,
    scaling=Scaling(
        (1024, 2048, 4096, 8192, 16384),
        fit_from=2048,
        mark=4096,
        knobs=KNOBS,
        patience=8.0,
        budget=3.0,
    ),
)
