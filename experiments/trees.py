"""A study of whether ListOps measures attention, or reading the first symbol.

    python launch.py run trees

Long Range Arena's rules on short expressions, padding masked for every mechanism. The
baselines name the root operator alone, and the root with its own digits.
"""

from attn.config import Experiment, ModelConfig, TrainConfig
from attn.registry import Study, register
from attn.tasks import ListOps
from experiments.lineup import line_up, under

listops = Experiment(
    name="listops",
    claim="Small models end between the root operator and the root with its digits, whatever their attention.",
    task=ListOps(),
    model=ModelConfig(d_model=64, repeats=2, num_heads=4, positions="learned"),
    train=TrainConfig(steps=1000, batch_size=32, peak_lr=1e-3, eval_every=200),
)

register(
    Study(
        name="trees",
        claim=listops.claim,
        experiments=under(
            listops, line_up(width=17, num_global=4, num_features=64, rank=16)
        ),
        minutes=20,
    )
)
