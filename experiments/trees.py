"""A study of whether ListOps measures attention, or reading the first symbol.

    python launch.py run trees

Long Range Arena's rules on short expressions. The baselines name the root operator
alone, and the root with its own digits. Padding is masked for every mechanism; where the
name says `padded`, layers take it for tokens, as the Linear Transformer, Linformer and
Performer of Long Range Arena did (`lra_benchmarks/models`), while its dense and sparse
attention masked it.
"""

from dataclasses import replace

from attn.config import Experiment, ModelConfig, TrainConfig
from attn.config.claims import Claim, Prediction
from attn.kernels import Linear, Linformer, Performer, Softmax
from attn.registry import Study, register
from attn.tasks import ListOps
from experiments.lineup import better, line_up, under

listops = Experiment(
    name="listops",
    claim="Small models end between the root operator and the root with its digits, whatever their attention.",
    task=ListOps(),
    model=ModelConfig(d_model=64, repeats=2, num_heads=4, positions="learned"),
    train=TrainConfig(steps=1000, batch_size=32, peak_lr=1e-3, eval_every=200),
)
padded = replace(
    listops,
    name="listops_padded",
    claim="Attention that takes padding for tokens does worse on ListOps than the same with a mask.",
    model=replace(listops.model, attend_padding=True),
)
MASKED = under(listops, line_up(width=17, num_global=4, num_features=64, rank=16))
PADDED = under(
    padded, (Softmax(), Linear(), Performer(num_features=64), Linformer(rank=16))
)

register(
    Study(
        name="trees",
        claim=listops.claim,
        experiments=MASKED + PADDED,
        minutes=44,
        claims=(
            Claim(
                listops.claim,
                tuple(Prediction(e.name, "root", at_least=-0.01) for e in MASKED)
                + tuple(
                    Prediction(e.name, "root_and_leaves", -1.0, 0.01) for e in MASKED
                ),
            ),
            *(
                Claim(f"{padded.claim} ({name})", better(f"listops_{name}", e.name))
                for name, e in ((e.model.kernel.name, e) for e in PADDED)
            ),
        ),
    )
)
