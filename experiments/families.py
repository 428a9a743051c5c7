"""Dense, sparse and low-rank attention at equal size: what does each give up?

    python launch.py compare

Two tasks. Associative recall (MQAR) asks for exact look-ups, with the one short
convolution that decides whether any model of this size learns it: Arora et al. 2024
(Zoology). The other is real text, byte by byte. Every model of a task has the same
parameters, data, steps and seeds; only `model.kernel` differs.
"""

from dataclasses import replace

from attn.config import Experiment, ModelConfig, TrainConfig
from attn.cost import match
from attn.kernels import Kernel, Linear, Longformer, Performer, Softmax, WindowAttention
from attn.tasks import MQAR, PyDoc
from experiments.registry import Study, register

MECHANISMS: tuple[Kernel, ...] = (
    Softmax(),
    WindowAttention(width=16),
    Longformer(width=16, num_global=8),
    Linear(),
    Performer(num_features=64),
)

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
    model=ModelConfig(d_model=64, repeats=2, num_heads=4),
    train=TrainConfig(steps=300, batch_size=16, eval_every=75, save_every=150),
)


def with_kernel(base: Experiment, kernel: Kernel) -> Experiment:
    """`base` with another mechanism at equal parameters, named for both."""
    name = f"{base.name}_{kernel.name}"
    other = replace(base, name=name, model=replace(base.model, kernel=kernel))
    return match(other, base, "params" if "mlp" in base.model.pattern else "none")


register(
    Study(
        name="families",
        claim="At equal parameters, data and steps, dense attention recalls what sparse and low-rank attention cannot, and costs more.",
        experiments=tuple(
            with_kernel(base, kernel) for base in (recall, text) for kernel in MECHANISMS
        ),
        minutes=6,
    )
)
