"""Reproductions: our numbers beside published ones, for `launch.py reproduce`.

Numbers that follow from sizes alone are computed from our layer specs and solver.
Others are trained by the experiments of a study, on other data and smaller: then the
order of rows is what is compared.
"""

from dataclasses import replace
from functools import partial
from pathlib import Path

from attn.config import Experiment, ModelConfig, TrainConfig
from attn.config.match import match
from attn.kernels import Linear
from attn.registry import Reproduction, get, register, register_papers
from attn.tasks import MQAR, AssociativeRecall, Induction, PyDoc, Task

register_papers(Path(__file__).parent / "papers")

VOCABULARY = 41_000
"""Pieces of the embedding, fitted to the base row; the paper says about 37,000."""
ENCODER_DECODER = ("attention", "mlp", "attention", "attention", "mlp")
"""One layer of an encoder and one of a decoder, whose second attention is cross."""
WMT = ENCODER_DECODER, 4096
LM1B = ("attention", "mlp"), 8192
"""The layers of Shazeer's models, and the hidden width beside eight heads of 128."""


def sized(model: ModelConfig) -> Experiment:
    """An experiment for the sizes of its model alone."""
    return Experiment("sizes", "None.", PyDoc(seq_len=256), model)


def vaswani(
    d_ff: int = 2048,
    *,
    layers: int = 6,
    d_model: int = 512,
    heads: int = 8,
    head_dim: int | None = None,
) -> float:
    """Millions of parameters, with one embedding that all share."""
    model = ModelConfig(
        pattern=ENCODER_DECODER,
        d_ff=d_ff,
        d_model=d_model,
        num_heads=heads,
        head_dim=head_dim,
    )
    block = sized(model).resolved_model.one_block
    each = sum(layer.num_params(d_model, 0) for layer in block)
    return (layers * each + VOCABULARY * d_model) / 1e6


def vaswani_keys(d_k: int) -> float:
    """Millions of parameters where queries and keys have d_k channels, and values 64.

    Queries and keys are half of the weights of each attention layer.
    """
    return (vaswani(head_dim=d_k) + vaswani(head_dim=64)) / 2


def bert(heads: int = 8, head_dim: int = 128) -> float:
    """Millions of parameters of BERT of width 512, with all that it is pretrained with.

    Our layers have the matrices alone; biases and norms that shift are added up here.
    """
    D, F, V, layers = 512, 4096, 30_522, 24
    model = ModelConfig(d_model=D, d_ff=F, num_heads=heads, head_dim=head_dim)
    matrices = sum(
        one.num_params(D, 0) for one in sized(model).resolved_model.one_block
    )
    each = matrices + 3 * heads * head_dim + D + F + D + 2 * (2 * D)
    embeddings = (V + 512 + 2) * D + 2 * D
    pooler, masked_token, next_sentence = D * D + D, D * D + 3 * D + V, 2 * D + 2
    return (layers * each + embeddings + pooler + masked_token + next_sentence) / 1e6


def shazeer(
    pattern: tuple[str, ...],
    d_ff: int,
    *,
    num_heads: int = 8,
    head_dim: int = 128,
    num_kv_heads: int | None = None,
) -> float:
    """The hidden width at which other heads have as many parameters as eight of 128."""
    model = ModelConfig(
        pattern=pattern, d_ff=d_ff, d_model=1024, num_heads=8, head_dim=128
    )
    changed = replace(
        model,
        d_ff=1,
        num_heads=num_heads,
        head_dim=head_dim,
        num_kv_heads=num_kv_heads,
    )
    return float(match(sized(changed), sized(model), "params").model.d_ff or 0)


def fewer_heads(pattern: tuple[str, ...], d_ff: int):
    """The rows that change the heads: shared keys and values, or few and narrow ones."""
    solve = partial(shazeer, pattern, d_ff)
    return {
        "multi-query": partial(solve, num_kv_heads=1),
        "multi-head, h 1, d_k 128": partial(solve, num_heads=1),
        "multi-head, h 2, d_k 64": partial(solve, num_heads=2, head_dim=64),
        "multi-head, h 4, d_k 32": partial(solve, num_heads=4, head_dim=32),
        "multi-head, h 8, d_k 16": partial(solve, num_heads=8, head_dim=16),
    }


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

BERT_FITTED = (
    "parameters: the hidden width, 4,096 as in BERT-large, and the heads of pretraining are "
    "fitted to the row of 8 heads of 128; the differences between rows hardly depend on them"
)

register(
    Reproduction(
        "vaswani2017",
        "variations",
        "params (millions)",
        {
            "base": vaswani,
            "(B) d_k 16": partial(vaswani_keys, 16),
            "(B) d_k 32": partial(vaswani_keys, 32),
            "(C) N 2": partial(vaswani, layers=2),
            "(C) N 4": partial(vaswani, layers=4),
            "(C) N 8": partial(vaswani, layers=8),
            "(C) d_model 256, d_k 32": partial(vaswani, d_model=256),
            "(C) d_model 1024, d_k 128": partial(vaswani, d_model=1024),
            "(C) d_ff 1024": partial(vaswani, 1024),
            "(C) d_ff 4096": partial(vaswani, 4096),
            "big": partial(vaswani, 4096, d_model=1024, heads=16),
        },
        note=f"parameters: a vocabulary of {VOCABULARY:,} is fitted to the base row; "
        "the differences between rows of one width do not depend on it",
    ),
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
    Reproduction(
        "shazeer2019",
        "wmt",
        "d_ff",
        {
            "multi-query local": partial(shazeer, *WMT, num_kv_heads=1),
            **fewer_heads(*WMT),
        },
    ),
    Reproduction("shazeer2019", "lm1b", "d_ff", fewer_heads(*LM1B)),
    *(
        Reproduction(
            "lra",
            "accuracy",
            column,
            arena(task),
            scale=100.0,
            minutes=minutes,
            order_only=True,
            differs=f"{differs}; 2 layers of width 64, 2 heads, 300 to 500 steps; linear "
            "attention masks padding",
        )
        for column, (task, differs, minutes) in ARENA.items()
    ),
    Reproduction(
        "bhojanapalli2020",
        "fixed_head_size",
        "params (millions)",
        {f"{count} heads": partial(bert, count) for count in (8, 12, 16, 32)},
        note=BERT_FITTED,
    ),
    Reproduction(
        "bhojanapalli2020",
        "head_size",
        "params (millions)",
        {f"head size {H}": partial(bert, 8, H) for H in (32, 64, 128, 256)},
        note=BERT_FITTED,
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
        differs="a short convolution and an attention layer, trained for fewer steps",
    ),
)
