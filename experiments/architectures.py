"""A study of two architectures that write: an encoder with a decoder, or a decoder alone.

    python launch.py run architectures
    python launch.py generate runs/architectures/dates_encoder_decoder

An encoder-decoder (Vaswani et al. 2017) reads a source with an encoder that looks both
ways, and its decoder attends to the encoder's states. A decoder alone reads the source
as a prompt, looking back (Radford et al. 2018, section 3.3). Both learn to write the
dates of 16 locales as ISO 8601, with equal parameters, data and steps. An encoder alone
writes nothing.
"""

from dataclasses import replace

from attn.config import Experiment, ModelConfig, TrainConfig
from attn.config.claims import Claim, Prediction
from attn.config.match import match
from attn.registry import Study, register
from attn.tasks import Dates
from experiments.lineup import better

both = Experiment(
    name="dates_encoder_decoder",
    claim="A small encoder-decoder writes 95 of 100 dates that it has not seen.",
    task=Dates(),
    model=ModelConfig(
        pattern=("attention", "cross_attention", "mlp"),
        encoder_pattern=("attention", "mlp"),
        repeats=2,
    ),
    train=TrainConfig(steps=800, batch_size=64, peak_lr=2e-3, eval_every=100),
)
alone = match(
    replace(
        both,
        name="dates_decoder",
        claim="A decoder that reads the source as a prompt writes dates as well.",
        model=replace(
            both.model, pattern=("attention", "mlp"), encoder_pattern=(), repeats=4
        ),
    ),
    both,
    "params",
)
EXACT = 0.95
register(
    Study(
        name="architectures",
        claim=both.claim,
        experiments=(both, alone),
        minutes=18,
        claims=(
            Claim(both.claim, better(both.name, EXACT)),
            Claim(alone.claim, (Prediction(alone.name, both.name, at_least=-0.01),)),
        ),
    )
)
