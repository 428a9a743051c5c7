"""A study of every causal mechanism at 1,024 and 4,096 bytes of real text.

    python launch.py fetch state-of-the-union
    python launch.py run length

A window four times as long, in batches of as many bytes: a mechanism that uses what lies
far back gains by it. All see the 4.9 MB that `long_text` sees. Models have the same parameters, data, steps and seeds, and differ in
`model.kernel` and in the learning rate, which is the best of a grid for each. It is for an
accelerator, and has not been run; on two cores dense attention at 1,024 bytes is `long_text`.
"""

from dataclasses import replace

from attn.config import Experiment
from attn.config.claims import Claim, Prediction
from attn.kernels import (
    RGLRU,
    Based,
    GatedDelta,
    Kernel,
    Linear,
    Longformer,
    Performer,
    Retention,
    Softmax,
    StreamingAttention,
    WindowAttention,
)
from attn.registry import Study, register
from attn.tasks import Addresses
from experiments.lineup import better, under
from experiments.long_text import base as dense

SHORT = replace(
    dense,
    name="text_1024",
    claim="Cheaper attention loses to dense attention on 1,024 and 4,096 bytes of real text.",
    train=replace(dense.train, steps=600, batch_size=8, eval_every=150, save_every=600),
)
LONG = replace(
    SHORT,
    name="text_4096",
    task=Addresses(seq_len=4_096),
    train=replace(SHORT.train, batch_size=2),
)
MECHANISMS: tuple[Kernel, ...] = (
    Softmax(),
    WindowAttention(width=64),
    StreamingAttention(width=64),
    Longformer(width=64, num_global=16),
    Linear(),
    Performer(num_features=64),
    Based(),
    Retention(),
    GatedDelta(),
    RGLRU(),
)
NAMES = tuple(kernel.name for kernel in MECHANISMS)


def loses(base: Experiment) -> tuple[Prediction, ...]:
    """Predicts that every mechanism but dense attention is worse than it."""
    first, *others = (f"{base.name}_{name}" for name in NAMES)
    return better(first, *others)


register(
    Study(
        name="length",
        claim=SHORT.claim,
        experiments=under(SHORT, MECHANISMS) + under(LONG, MECHANISMS),
        minutes=800,
        claims=(
            Claim(
                "On 1,024 bytes dense attention is better than each cheaper mechanism.",
                loses(SHORT),
            ),
            Claim(
                "On 4,096 bytes dense attention is better than each cheaper mechanism.",
                loses(LONG),
            ),
        ),
    )
)
