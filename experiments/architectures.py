"""A study of three architectures on one task: who reads the source, and how.

    python launch.py run architectures

An encoder-decoder (Vaswani et al. 2017) reads a source with an encoder that looks both
ways, and a decoder attends to its states. A decoder alone reads the source as a prompt,
looking back (Radford et al. 2018, section 3.3). Both write dates as ISO 8601, of equal
parameters; an encoder alone writes nothing.
"""

from attn.config import Experiment, ModelConfig, TrainConfig
from attn.tasks import Dates

encoder_decoder = Experiment(
    name="dates_encoder_decoder",
    claim="A small encoder-decoder writes 95 of 100 dates that it has not seen.",
    task=Dates(),
    model=ModelConfig(
        d_model=64,
        pattern=("attention", "cross_attention", "mlp"),
        encoder_pattern=("attention", "mlp"),
        repeats=2,
        num_heads=4,
        d_ff=256,
    ),
    train=TrainConfig(steps=1500, batch_size=64, peak_lr=2e-3, eval_every=250),
)
