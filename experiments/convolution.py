"""A study of what decides recall: the mechanism, or the short convolution before it.

    python launch.py run convolution

Associative recall (MQAR) joins each key with the value after it. A convolution over three
tokens does that for any mechanism; without one a first layer of attention has to learn it
(Arora et al. 2024, Zoology). The models differ in that layer alone: where one has the
convolution, the other has a second layer of its mechanism, and so more parameters.
"""

from dataclasses import replace

from attn.config import Experiment, ModelConfig, TrainConfig
from attn.config.claims import Claim, Prediction
from attn.kernels import Linear, Softmax, WindowAttention
from attn.registry import Study, register
from attn.tasks import MQAR
from experiments.lineup import better, under

conv = Experiment(
    name="conv",
    claim="With a short convolution, softmax and linear attention recall 4 pairs.",
    task=MQAR(),
    model=ModelConfig(pattern=("short_conv", "attention"), repeats=1, num_heads=2),
    train=TrainConfig(steps=1200, peak_lr=3e-3, eval_every=200),
    seeds=5,
)
plain = replace(
    conv,
    name="no_conv",
    claim="A second layer of attention does not do in 1,200 steps what a short convolution does.",
    model=replace(conv.model, pattern=("attention",), repeats=2),
)
MECHANISMS = (Softmax(), WindowAttention(width=16), Linear())

register(
    Study(
        name="convolution",
        claim="The short convolution decides associative recall more than the mechanism does.",
        experiments=under(conv, MECHANISMS) + under(plain, MECHANISMS),
        minutes=15,
        claims=(
            Claim(
                conv.claim, better("conv_softmax", 0.95) + better("conv_linear", 0.9)
            ),
            Claim(
                plain.claim,
                tuple(
                    Prediction(f"conv_{m.name}", f"no_conv_{m.name}")
                    for m in MECHANISMS
                ),
            ),
            Claim(
                "Linear attention with the convolution recalls more than softmax without it.",
                better("conv_linear", "no_conv_softmax"),
            ),
        ),
    )
)
