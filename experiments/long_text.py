"""A study of real text at 1,024 bytes, on which models of two cores may get below xz.

    python launch.py fetch state-of-the-union
    python launch.py run long_text

On windows of 128 bytes in six minutes (`families`) no model does, and no two mechanisms
are told apart. Here is more of everything: addresses of US presidents, 10.8 MB, windows
of 1,024 bytes, three seeds, and a dense, a sparse and a recurrent mechanism at equal
parameters and data.
"""

from attn.config import Experiment, ModelConfig, TrainConfig
from attn.config.claims import Claim
from attn.config.optimizers import Muon
from attn.kernels import GatedDelta, Softmax, WindowAttention
from attn.registry import Study, register
from attn.tasks import Addresses
from experiments.lineup import better, under

base = Experiment(
    name="long_text",
    claim="On 1,024 bytes of real text a dense model of 0.9 M parameters is below xz.",
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
MECHANISMS = (Softmax(), WindowAttention(width=64), GatedDelta())
SOFTMAX, *OTHERS = (f"{base.name}_{kernel.name}" for kernel in MECHANISMS)

register(
    Study(
        name="long_text",
        claim=base.claim,
        experiments=under(base, MECHANISMS),
        minutes=65,
        claims=(
            Claim(base.claim, better(SOFTMAX, "xz_after_train")),
            Claim(
                "Dense attention is better than a window of 64 bytes and than a recurrent state.",
                better(SOFTMAX, *OTHERS),
            ),
        ),
    )
)
