"""Reproductions: our numbers beside published ones, for `launch.py reproduce`.

Numbers that follow from sizes alone are in `reproductions_of_sizes`. These are trained,
many by the experiments of a study, on other data and smaller: then the order of rows is
what is compared.
"""

from dataclasses import replace
from pathlib import Path

from attn.config import Experiment, ModelConfig, TrainConfig
from attn.kernels import Linear
from attn.registry import Reproduction, get, register, register_papers
from attn.tasks import MQAR, AssociativeRecall, Induction, Task
from experiments.reproductions_of_sizes import COMPUTED

register_papers(Path(__file__).parent / "papers")


def heads(count: int) -> Experiment:
    """The experiment of the study of heads with so many."""
    return get(f"heads-num_heads={count}")  # pyright: ignore[reportReturnType]


def h3(task: Task, steps: int) -> Experiment:
    """Attention on a synthetic language, in the sizes of H3's own configuration."""
    return Experiment(
        f"h3_{task.name}",
        "Two layers of attention solve the synthetic languages of H3.",
        task,
        ModelConfig(repeats=2, d_model=32, num_heads=1, positions="learned"),
        TrainConfig(steps=steps, batch_size=32, peak_lr=2e-3, eval_every=steps // 4),
    )


zoology = Experiment(
    "zoology_mqar_64",
    "Attention of width 64 recalls all pairs of 64 tokens.",
    MQAR(vocab_size=8192, num_train=100_000, num_test=3_000),
    ModelConfig(
        pattern=("short_conv", "attention"), repeats=1, num_heads=1, positions="none"
    ),
    TrainConfig(steps=1000, batch_size=128, peak_lr=3e-3, eval_every=250),
)


def arena(task: str) -> dict[str, Experiment]:
    """The arena's experiment on one task, with dense and with linear attention."""
    dense: Experiment = get(f"arena_{task}")  # pyright: ignore[reportAssignmentType]
    model = replace(dense.model, kernel=Linear())
    linear = replace(dense, name=f"{dense.name}_linear", model=model)
    return {"Transformer": dense, "Linear Trans.": linear}


ARENA = {
    "ListOps": ("listops", "ListOps by the same rules, 128 to 512 tokens", 14),
    "Text": ("mails", "spam mails in place of IMDb, 1,024 bytes", 27),
    "Retrieval": ("speeches", "State of the Union addresses in place of AAN", 48),
    "Image": ("pixels", "Fashion-MNIST in place of CIFAR-10, 784 pixels", 22),
    "Pathfinder": ("pathfinder", "images by the same rules, generated here", 38),
}
"""By column of Long Range Arena's table: our task, what differs in it, and minutes."""

ROWS_A = {
    "(A) h 1, d_k 512": heads(1),
    "(A) h 4, d_k 128": heads(4),
    "base": heads(8),
    "(A) h 16, d_k 32": heads(16),
}
LM_FOR_TRANSLATION = (
    "a decoder of 2 layers, width 64, on Python's documentation as bytes, 1,500 steps; "
    "bits per byte"
)

register(
    *COMPUTED,
    Reproduction(
        "vaswani2017",
        "variations",
        "PPL (dev)",
        ROWS_A,
        differs=LM_FOR_TRANSLATION,
        order_only=True,
        higher_is_better=False,
        minutes=14,
    ),
    Reproduction(
        "vaswani2017",
        "variations",
        "BLEU (dev)",
        ROWS_A,
        differs=LM_FOR_TRANSLATION,
        order_only=True,
        minutes=14,
    ),
    *(
        Reproduction(
            "lra",
            "accuracy",
            column,
            arena(task),
            scale=100.0,
            minutes=minutes,
            order_only=True,
            differs=f"{differs}; 2 layers of width 64, 2 heads, 300 to 500 steps",
            note="Linear Trans.: here its attention masks padding",
        )
        for column, (task, differs, minutes) in ARENA.items()
    ),
    Reproduction(
        "h3",
        "synthetic",
        "Attention",
        {
            "Induction Head": h3(Induction(), 6000),
            "Associative Recall": h3(AssociativeRecall(), 6000),
        },
        scale=100.0,
        minutes=3,
        differs="trained for fewer steps, at a higher rate, and without dropout",
    ),
    Reproduction(
        "zoology",
        "mqar_64",
        "d_model 64",
        {"Attention": zoology},
        minutes=4,
        order_only=True,
        differs="a short convolution and an attention layer in place of two attention "
        "layers; trained for fewer steps",
    ),
)
