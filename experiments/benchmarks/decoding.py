"""A suite of every mechanism that decodes: the time of a step against sequence length."""

from attn.bench.suite import Decoding, Suite, Target
from experiments.benchmarks.mechanisms import KNOBS, LINEAR

STEPS = Suite(
    races=(),
    targets=(
        Target(
            "a step at 16,384 tokens over one at 1,024: window, streaming, linear, "
            "recurrent family",
            *("step growth", 1.3, 1.1),
            who=(*LINEAR, "streaming"),
        ),
        Target(
            "bytes by which a cache differs from its formula",
            *("cache difference", 0.0, 0.0),
        ),
    ),
    decoding=Decoding((1024, 4096, 16384), knobs=KNOBS),
)
