"""The arena: one mechanism on five tasks of the shape of Long Range Arena.

    python launch.py fetch fashion-mnist spam-assassin state-of-the-union
    python launch.py run arena
    python launch.py run arena --kernel linear --workdir runs/arena_linear
    python launch.py report runs/arena runs/arena_linear --out runs/arena_all

ListOps, Pathfinder, images as pixels, mails as bytes, and two documents that match or do
not (Tay et al. 2021), one config a task. The models are those that the small tables of this
literature use (Nystromformer's code, `LRA/code/lra_config.py`): two layers, width 64, two
heads. Long Range Arena's own sizes are `lra`, for accelerators: they are registered, and
have not been run.
"""

from dataclasses import replace

from attn.config import Experiment, ModelConfig, TrainConfig
from attn.config.claims import Claim, Prediction
from attn.registry import Study, register
from attn.tasks import ListOps, Mails, Pathfinder, Pixels, Speeches, Task

CLAIM = "Two layers of width 64 do better than every trivial baseline of the task."
SMALL = ModelConfig(repeats=2, num_heads=2, d_ff=128, positions="learned")


def small(task: Task, steps: int, batch_size: int = 32) -> Experiment:
    """One task of the arena, at a size and in steps that two cores can train."""
    return Experiment(
        f"arena_{task.name}",
        CLAIM,
        task,
        SMALL,
        TrainConfig(
            steps=steps, batch_size=batch_size, peak_lr=1e-3, eval_every=steps // 4
        ),
    )


ARENA = (
    small(ListOps(seq_len=512, min_len=128), 500),
    small(Pathfinder(), 500),
    small(Pixels(), 500),
    small(Mails(), 300),
    small(Speeches(), 300),
)
BEST_BASELINE = {
    "listops": "root_and_leaves",
    "pathfinder": "linear",
    "pixels": "logistic_regression",
    "mails": "bag_of_tokens",
    "speeches": "ngrams_in_common",
}


def beats_baselines(experiments: tuple[Experiment, ...]) -> Claim:
    """The claim that each is better than what does best without a model."""
    return Claim(
        experiments[0].claim,
        tuple(Prediction(e.name, than=BEST_BASELINE[e.task.name]) for e in experiments),
    )


register(
    Study(
        name="arena",
        claim=CLAIM,
        experiments=ARENA,
        minutes=90,
        claims=(beats_baselines(ARENA),),
    )
)


def published(
    task: Task, model: ModelConfig, steps: int, batch_size: int = 32
) -> Experiment:
    """One task at the sizes of Long Range Arena's paper (appendix A) or code."""
    return Experiment(
        f"lra_{task.name}",
        "At Long Range Arena's sizes dense attention beats every trivial baseline.",
        task,
        model,
        TrainConfig(steps=steps, batch_size=batch_size, peak_lr=1e-3),
    )


BIG = replace(SMALL, d_model=512, repeats=6, num_heads=8, d_ff=2048)
MEDIUM = replace(SMALL, d_model=128, repeats=4, num_heads=4, d_ff=512)
FLAT = replace(SMALL, d_model=128, repeats=1, num_heads=8, head_dim=8)
NARROW = replace(SMALL, d_model=32, repeats=4, num_heads=4, head_dim=4, d_ff=32)
PAPER = {"num_train": 96_000, "num_valid": 2_000, "num_test": 2_000}
IMAGES = {"num_train": 160_000, "num_valid": 20_000, "num_test": 20_000}
LRA = (
    published(ListOps(seq_len=2_000, min_len=500, **PAPER), BIG, 5_000),
    published(Pathfinder(**IMAGES), NARROW, 62_400, batch_size=512),
    published(Pixels(), FLAT, 35_000, batch_size=256),
    published(Mails(seq_len=4_000), BIG, 20_000),
    published(Speeches(seq_len=8_000), MEDIUM, 5_000),
)

register(
    Study(
        name="lra",
        claim=LRA[0].claim,
        experiments=LRA,
        minutes=100_000,
        claims=(beats_baselines(LRA),),
    )
)
