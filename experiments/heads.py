"""A study of the number of heads: too few for some tasks, and when too many.

    python launch.py run heads

Real text, dense attention, fixed width: heads times head width is constant, so
parameters and FLOPs are equal along the sweep, as in row A of Vaswani et al. 2017,
table 3.
"""

from attn.config import Experiment, ModelConfig, TrainConfig
from attn.config.claims import Claim, Prediction
from attn.config.sweep import sweep
from attn.registry import Study, register
from attn.tasks import PyDoc
from experiments.lineup import better

base = Experiment(
    name="heads_base",
    claim="At equal parameters, one head is worst and very narrow heads lose again.",
    task=PyDoc(seq_len=128),
    model=ModelConfig(d_model=64, repeats=2, num_heads=4),
    train=TrainConfig(steps=1500, batch_size=16, eval_every=250, save_every=500),
)

HEADS = sweep(base, {"model.num_heads": (1, 2, 4, 8, 16)}, by="params", prefix="heads")
ONE, TWO, FOUR, EIGHT, SIXTEEN = (experiment.name for experiment in HEADS)

register(
    Study(
        name="heads",
        claim=base.claim,
        experiments=HEADS,
        minutes=17,
        claims=(
            Claim(
                "At equal parameters, one head is worst.",
                tuple(
                    Prediction(some, than=ONE) for some in (TWO, FOUR, EIGHT, SIXTEEN)
                ),
            ),
            Claim(
                "Very narrow heads lose again.",
                better(FOUR, SIXTEEN) + better(EIGHT, SIXTEEN),
            ),
        ),
    )
)
