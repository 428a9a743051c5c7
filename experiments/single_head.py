"""A study of one head against many, on a look-up that takes two steps of attention.

    python launch.py run single_head

What followed two letters in a string: the first step puts the letters before each place
together, the second finds the place. Two layers with several heads, or three with one
each, were the known ways to do it; two with one head can too (Ekbote et al. 2025, arXiv
2508.07208), so the question is what is learned. Liu et al. 2021 (arXiv 2106.09650) train
as many heads one after another as others have side by side, with as many parameters, and
find that depth makes up for them. Most heads of a trained layer can go (Michel et al.
2019, arXiv 1905.10650), which does not say that one would have been enough to train.
"""

from dataclasses import replace

from attn.config import Experiment, ModelConfig, TrainConfig
from attn.config.claims import Claim, Prediction
from attn.config.match import match
from attn.config.sweep import sweep
from attn.registry import Study, register
from attn.tasks import NgramLookup
from experiments.lineup import better

base = Experiment(
    name="lookup",
    claim="In two layers one head looks letters up worse than several; more layers make up for heads.",
    task=NgramLookup(seq_len=40, vocab_size=18, n=2, num_answers=4, key="suffix"),
    model=ModelConfig(d_model=64, repeats=2, num_heads=4),
    train=TrainConfig(steps=1500, batch_size=32, peak_lr=2e-3, eval_every=250),
)


def in_a_row(layers: int) -> Experiment:
    """Single heads in more layers: as many and as wide as two layers have side by side."""
    width = 2 * base.model.d_model // layers
    model = replace(base.model, repeats=layers, num_heads=1, head_dim=width)
    name = f"{base.name}-layers={layers}"
    return match(replace(base, name=name, model=model), base, "params")


ABREAST = sweep(base, {"model.num_heads": (1, 2, 4, 8)}, by="params")
IN_A_ROW = tuple(map(in_a_row, (4, 8)))
ONE, TWO, FOUR, EIGHT = (experiment.name for experiment in ABREAST)
DEEP, DEEPER = (experiment.name for experiment in IN_A_ROW)

register(
    Study(
        name="single_head",
        claim=base.claim,
        experiments=ABREAST + IN_A_ROW,
        minutes=14,
        claims=(
            Claim(
                "In two layers, one head as wide as the model is worse than two, four or eight.",
                tuple(Prediction(some, than=ONE) for some in (TWO, FOUR, EIGHT)),
            ),
            Claim(
                "One head in each of four layers is better than one of twice its width in two.",
                better(DEEP, ONE),
            ),
            Claim(
                "Heads of a width are no worse one after another than side by side.",
                (
                    Prediction(DEEP, than=TWO, at_least=-0.02),
                    Prediction(DEEPER, than=FOUR, at_least=-0.02),
                ),
            ),
        ),
    )
)
