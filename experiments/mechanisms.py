"""A study of every mechanism at equal size, on recall and on real images.

    python launch.py compare --all

Associative recall (MQAR) is asked of every mechanism that can be causal; handwritten
digits, pixel by pixel, of all. Recurrences read the pixels causally, the others both
ways. Models of a task have the same parameters, data, steps and seeds, and each its own
learning rate, the best of a grid (`tune mechanisms`).
"""

from dataclasses import replace

from attn.config import Experiment, ModelConfig, TrainConfig
from attn.config.claims import Claim, Prediction
from attn.kernels import KERNELS, Kernel
from attn.registry import Study, register
from attn.tasks import MQAR, Digits
from experiments.lineup import alike, at_own_rates, better, under

KNOBS: dict[str, dict[str, int]] = {
    "longformer": {"num_global": 4},
    "strided": {"stride": 8},
    "fixed": {"stride": 8},
    "bigbird": {"block": 8},
    "reformer": {"chunk": 16},
    "sinkhorn": {"block": 8},
    "topk": {"num_keys": 8},
    "moba": {"block": 8},
    "nsa": {"block": 8, "stride": 4, "num_blocks": 4, "width": 16},
    "linformer": {"rank": 16},
    "nystrom": {"num_landmarks": 16},
    "synthesizer": {"rank": 16},
}
"""Knobs of mechanisms whose defaults are made for sequences longer than 64 tokens."""

BLOCK = ("short_conv", "attention", "mlp")

recall = Experiment(
    name="all_recall",
    claim="What a mechanism recalls of 4 pairs follows from the keys it can compare exactly.",
    task=MQAR(),
    model=ModelConfig(pattern=BLOCK, repeats=1, num_heads=2, positions="none"),
    train=TrainConfig(steps=400, peak_lr=3e-3),
)

digits = Experiment(
    name="all_digits",
    claim="Handwritten digits need no sharp look-ups: every family reads them alike.",
    task=Digits(),
    model=ModelConfig(d_model=32, repeats=1, num_heads=2, positions="learned"),
    train=TrainConfig(steps=300, batch_size=32),
)


def every_mechanism() -> tuple[Kernel, ...]:
    """One of each mechanism, in the order of the registry."""
    return tuple(spec(**KNOBS.get(name, {})) for name, spec in KERNELS.items())


def able(*needs: str) -> tuple[Kernel, ...]:
    """The mechanisms that have all of these capabilities."""
    return tuple(kernel for kernel in every_mechanism() if kernel.can.issuperset(needs))


SHARP = ("softmax", "differential", "topk", "nsa")
"""Mechanisms that can pick any key of 64 by its content, as `KNOBS` sets them."""
FIXED = ("window", "dilated", "local", "strided", "fixed", "longformer", "streaming")
"""Mechanisms whose keys are chosen by position alone; BigBird sees nearly all of 64."""

RECURRENCES = tuple(k for k in every_mechanism() if "bidirectional" not in k.can)
causal_digits = replace(digits, model=replace(digits.model, causal=True))

READERS = under(digits, able("bidirectional"))

register(
    at_own_rates(
        Study(
            name="mechanisms",
            claim="At equal parameters every mechanism reads digits; recall tells them apart.",
            experiments=under(recall, able("causal"))
            + READERS
            + under(causal_digits, RECURRENCES),
            minutes=30,
            claims=(
                Claim(
                    "What can pick any key by its content recalls 4 pairs.",
                    tuple(
                        Prediction(f"all_recall_{name}", than=0.95) for name in SHARP
                    ),
                ),
                Claim(
                    "A fixed pattern recalls less than softmax.",
                    better(
                        "all_recall_softmax", *(f"all_recall_{name}" for name in FIXED)
                    ),
                ),
                Claim(digits.claim, alike(READERS, within=0.03)),
            ),
        )
    )
)
