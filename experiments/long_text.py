"""A study of real text at 1,024 bytes, on which a model of two cores may get below xz.

    python launch.py fetch state-of-the-union
    python launch.py run long_text
    python launch.py run long_text --kernel window --model.kernel.width 64 --workdir runs/long_window

On windows of 128 bytes in six minutes (`families`) no model does. Here is more of
everything: addresses of US presidents, 10.8 MB, windows of 1,024 bytes, Muon.
"""

from attn.config import Experiment, ModelConfig, TrainConfig
from attn.config.claims import Claim
from attn.config.optimizers import Muon
from attn.registry import Study, register
from attn.tasks import Addresses
from experiments.lineup import better

base = Experiment(
    name="long_text_softmax",
    claim="On 1,024 bytes of real text a dense model of 0.9 M parameters is below xz and n-grams.",
    task=Addresses(seq_len=1_024),
    model=ModelConfig(
        d_model=128,
        pattern=("short_conv", "attention", "mlp"),
        repeats=4,
        num_heads=2,
    ),
    train=TrainConfig(
        steps=1_200,
        batch_size=4,
        peak_lr=5e-3,
        warmup_steps=50,
        eval_every=250,
        save_every=250,
        optimizer=Muon(),
    ),
)
register(
    Study(
        name="long_text",
        claim=base.claim,
        experiments=(base,),
        minutes=40,
        claims=(Claim(base.claim, better(base.name, "xz_after_train", "ngram")),),
    )
)
