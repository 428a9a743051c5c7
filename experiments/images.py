"""Which mechanisms read an image from its pixels, one after the other?

    python launch.py run images

Real handwritten digits as sequences of 64 pixels, an encoder, no padding.
"""

from attn.config import Experiment, ModelConfig, TrainConfig
from attn.kernels import Linear, Linformer, Longformer, Performer, Softmax, WindowAttention
from attn.tasks import Digits
from experiments.families import with_kernel
from experiments.registry import Study, register

digits = Experiment(
    name="digits",
    claim="Handwritten digits need no sharp look-ups: every family reads them alike.",
    task=Digits(),
    model=ModelConfig(d_model=32, repeats=2, num_heads=2, positions="learned"),
    train=TrainConfig(steps=400, batch_size=32),
)

register(
    Study(
        name="images",
        claim=digits.claim,
        experiments=tuple(
            with_kernel(digits, kernel)
            for kernel in (
                Softmax(),
                WindowAttention(width=17),
                Longformer(width=17, num_global=4),
                Linear(),
                Performer(num_features=32),
                Linformer(rank=16),
            )
        ),
        minutes=4,
    )
)
