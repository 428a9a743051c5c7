"""A study of dense, sparse and low-rank attention at equal size.

    python launch.py compare

Two tasks. Associative recall (MQAR) asks for exact look-ups; the other is real text,
byte by byte. A short convolution before each attention layer decides whether a model of
this size learns either in minutes (Arora et al. 2024, Zoology), and every model has it.
Models of a task have the same parameters, data, steps and seeds; only `model.kernel` and
the learning rate differ, which is the best of a grid for each (`tune families --trials 2`).
"""

from attn.config import Experiment, ModelConfig, TrainConfig
from attn.config.claims import Claim
from attn.registry import Study, register
from attn.tasks import MQAR, PyDoc
from experiments.lineup import at_own_rates, better, line_up, under

recall = Experiment(
    name="recall",
    claim="Softmax attention recalls 4 pairs exactly; cheaper attention at equal size recalls less.",
    task=MQAR(),
    model=ModelConfig(
        pattern=("short_conv", "attention"),
        repeats=1,
        num_heads=2,
        positions="none",
    ),
    train=TrainConfig(steps=400, peak_lr=3e-3),
)

text = Experiment(
    name="text",
    claim="On real text at equal size, cheaper attention costs bits per byte.",
    task=PyDoc(seq_len=128),
    model=ModelConfig(pattern=("short_conv", "attention", "mlp")),
    train=TrainConfig(
        steps=300, batch_size=16, peak_lr=5e-3, eval_every=75, save_every=150
    ),
)


MECHANISMS = line_up(width=16, num_global=4, num_features=64)

SOFTMAX, *OTHERS = (mechanism.name for mechanism in MECHANISMS)

register(
    at_own_rates(
        Study(
            name="families",
            claim="At equal parameters, data and steps, dense attention recalls what sparse and low-rank attention cannot, and costs more.",
            experiments=under(recall, MECHANISMS) + under(text, MECHANISMS),
            minutes=8,
            claims=(
                Claim(
                    recall.claim,
                    better(f"recall_{SOFTMAX}", 0.99)
                    + better(f"recall_{SOFTMAX}", *(f"recall_{o}" for o in OTHERS)),
                ),
                Claim(
                    text.claim,
                    better(f"text_{SOFTMAX}", *(f"text_{o}" for o in OTHERS)),
                ),
            ),
        )
    )
)
