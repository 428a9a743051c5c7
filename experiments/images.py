"""A study of mechanisms on images, read pixel by pixel.

    python launch.py run images

Real handwritten digits as sequences of 64 pixels, an encoder, no padding.
"""

from attn.config import Experiment, ModelConfig, TrainConfig
from attn.config.claims import Claim
from attn.registry import Study, register
from attn.tasks import Digits
from experiments.lineup import alike, line_up, under

digits = Experiment(
    name="digits",
    claim="Handwritten digits need no sharp look-ups: every family reads them alike.",
    task=Digits(),
    model=ModelConfig(d_model=32, repeats=2, num_heads=2, positions="learned"),
    train=TrainConfig(steps=400, batch_size=32),
)

MEMBERS = under(digits, line_up(width=17, num_global=4, num_features=32, rank=16))

register(
    Study(
        name="images",
        claim=digits.claim,
        experiments=MEMBERS,
        minutes=4,
        claims=(Claim(digits.claim, alike(MEMBERS, within=0.02)),),
    )
)
