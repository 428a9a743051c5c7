"""A study of positions: what a model does beyond the lengths that it was trained on.

    python launch.py run positions
    python launch.py evaluate runs/positions --task.seq-len 256

Real text in windows of 64 bytes, dense attention. Each experiment knows positions in
another way: in the token vectors, by a rotation, by a bias of the scores, or not at all
but by the mask (Haviv et al. 2022). `evaluate` reads longer windows of the test split
with the same weights, as Press et al. 2022 (ALiBi, figure 1) did.
"""

from dataclasses import replace

from attn.config import Experiment, ModelConfig, TrainConfig
from attn.config.claims import Claim
from attn.config.match import match
from attn.registry import Study, register
from attn.tasks import PyDoc
from experiments.lineup import alike, better

base = Experiment(
    name="positions",
    claim="At the trained length it matters little how positions are known, if they are.",
    task=PyDoc(seq_len=64),
    model=ModelConfig(d_model=64, repeats=2, num_heads=4),
    train=TrainConfig(steps=1500, batch_size=32, peak_lr=3e-3, eval_every=300),
)
POSITIONS = tuple(
    match(
        replace(
            base,
            name=f"positions_{positions}",
            model=replace(base.model, positions=positions),
        ),
        base,
        "params",
    )
    for positions in ("rotary", "alibi", "t5", "sinusoidal", "learned", "none")
)
*KNOWN, NONE = POSITIONS

register(
    Study(
        name="positions",
        claim=base.claim,
        experiments=POSITIONS,
        minutes=22,
        claims=(
            Claim(
                "At the trained length every way is within 0.05 bits per byte of rotation.",
                alike(tuple(KNOWN), within=0.05),
            ),
            Claim(
                "A decoder that is told no positions does worse than one that is.",
                tuple(better(e.name, NONE.name)[0] for e in KNOWN),
            ),
        ),
    )
)
