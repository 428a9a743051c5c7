"""Memory and FLOPs of published comparisons, of our models in the published sizes.

Memory is what XLA plans for a compiled step: nothing runs. It depends on the compiler, so
that only the order of rows and their ratios stand beside the published ones. Rows that
hold their scores where they were published are computed by definition (`dense`).
"""

from collections.abc import Mapping
from dataclasses import replace
from functools import partial

from attn.config import Experiment, ModelConfig, TrainConfig
from attn.config.compiled import CompiledStep
from attn.kernels import (
    BigBirdAttention,
    Kernel,
    Linear,
    Linformer,
    LocalAttention,
    Longformer,
    Nystrom,
    Performer,
    Reformer,
    SinkhornAttention,
    Softmax,
    Synthesizer,
)
from attn.registry import Reproduction, register
from attn.tasks import ListOps

LRA_TEXT = ModelConfig(
    vocab_size=256,
    d_model=256,
    repeats=4,
    num_heads=4,
    d_ff=1024,
    positions="learned",
)
"""Sizes of `base_tc_config.py` of google-research/long-range-arena at cd31e5c."""
BERT_BASE_ATTENTION = ModelConfig(
    pattern=("attention",), repeats=1, d_model=768, num_heads=12, positions="none"
)
XFORMERS = ModelConfig(
    d_model=64, repeats=2, num_heads=2, d_ff=128, positions="learned"
)
"""Sizes of `config.json` of facebookresearch/xformers at v0.0.22, for ListOps."""
XFORMERS_ROWS: Mapping[str, Kernel] = {
    "Standard": Softmax(),
    "Nystromformer-128": Nystrom(num_landmarks=128),
    "Favor-256 (redraw)": Performer(num_features=256),
    "Linformer-seq/4 (no redraw)": Linformer(rank=512),
}
PLANNED = "bytes that XLA plans for a compiled {step} in float32, without dropout"
TILES = "visits the tiles of its mask and keeps no scores"
LRA_DEFAULTS = (
    "blocks of 50 (local, Sinkhorn) and 64 (BigBird), 10 chunks of 1 hash (Reformer), ranks "
    "of 16 (Linformer) and 32 (a random Synthesizer), 256 features (Performer)"
)
"""What the code of the same commit does where its configurations set nothing, or set a
field that nothing reads."""


def measured(
    name: str, model: ModelConfig, kernel: Kernel, tokens: int, *, rows: int
) -> Experiment:
    """An encoder of rows of so many tokens, of which the shapes alone matter.

    What looks at every pair is computed by definition.
    """
    dense = type(kernel) in (Softmax, Synthesizer)
    return Experiment(
        f"{name} {kernel.name} {tokens}",
        "None: its steps are compiled and never run.",
        ListOps(seq_len=tokens),
        replace(model, kernel=kernel, attention_impl="dense" if dense else "auto"),
        TrainConfig(batch_size=rows),
        seeds=1,
    )


def lra_rows(tokens: int) -> dict[str, CompiledStep]:
    """The training steps of Long Range Arena's text models on two rows, a device's own."""
    mechanisms: Mapping[str, Kernel] = {
        "Transformer": Softmax(),
        "Local Attention": LocalAttention(block=50),
        "Linformer": Linformer(rank=16),
        "Reformer": Reformer(num_buckets=10, num_rounds=1, chunk=tokens // 10),
        "Sinkhorn Trans.": SinkhornAttention(block=50),
        "Synthesizer": Synthesizer(kind="random", rank=32),
        "BigBird": BigBirdAttention(block=64),
        "Linear Trans.": Linear(),
        "Performer": Performer(num_features=256),
    }
    model = partial(measured, "LRA text,", LRA_TEXT, tokens=tokens, rows=2)
    return {row: CompiledStep(model(kernel)) for row, kernel in mechanisms.items()}


def nystromformer_rows(tokens: int) -> dict[str, CompiledStep]:
    """The forward steps of one attention layer on one row."""
    mechanisms: Mapping[str, Kernel] = {
        "Transformer": Softmax(),
        "Linformer-256": Linformer(rank=256),
        "Longformer-257": Longformer(width=257, num_global=1),
        "Nyströmformer-64": Nystrom(num_landmarks=64),
        "Nyströmformer-32": Nystrom(num_landmarks=32),
    }
    model = partial(measured, "one layer,", BERT_BASE_ATTENTION, tokens=tokens, rows=1)
    return {
        row: CompiledStep(model(kernel), backward=False)
        for row, kernel in mechanisms.items()
    }


def xformers(kernel: Kernel) -> Experiment:
    """One of xformers' models for ListOps, on the rows of a device at a time."""
    return measured("xformers ListOps,", XFORMERS, kernel, 2048, rows=4)


def gigaflops(kernel: Kernel) -> float:
    """Billions of multiplications, each with its addition, of the layers on one row."""
    model = xformers(kernel).resolved_model
    D, T = model.d_model, 2048
    return sum(layer.flops(D, T, model.mask) for layer in model.layers) / 2e9


register(
    *(
        Reproduction(
            "lra",
            "memory",
            f"{thousands}K",
            lra_rows(1024 * thousands),
            scale=1e-9,
            minutes=2,
            higher_is_better=False,
            relative_to="Transformer",
            differs=f"{PLANNED.format(step='training step')}; local and BigBird attention "
            f"{TILES}; the repository's sizes (4 layers, width 256, 4 heads, d_ff 1024) and "
            f"defaults: {LRA_DEFAULTS}; 1K is 1,024 tokens, and a step has the 2 of 32 rows "
            "that one of 16 devices has",
            note="Reformer: here every bucket is split into chunks of its own, the last of "
            "them filled up, and a query sees three; published, two of one sorted order",
        )
        for thousands in (1, 2, 3, 4)
    ),
    *(
        Reproduction(
            "nystromformer",
            "memory",
            str(tokens),
            nystromformer_rows(tokens),
            scale=2.0**-20,
            minutes=0.5,
            higher_is_better=False,
            relative_to="Transformer",
            differs=f"{PLANNED.format(step='forward step')}, embedding and class head "
            f"included; Longformer {TILES}; the sizes are not said, and here those of "
            "BERT-base (width 768, 12 heads)",
        )
        for tokens in (512, 1024, 2048, 4096, 8192)
    ),
    Reproduction(
        "xformers",
        "lra",
        "Est. Gflops",
        {row: partial(gigaflops, kernel) for row, kernel in XFORMERS_ROWS.items()},
        note="FLOPs: a multiplication and its addition count once, as fits the published "
        "Standard; 2,048 tokens",
    ),
    Reproduction(
        "xformers",
        "lra",
        "Peak mem (mb)",
        {row: CompiledStep(xformers(kernel)) for row, kernel in XFORMERS_ROWS.items()},
        scale=2.0**-20,
        minutes=1,
        higher_is_better=False,
        relative_to="Standard",
        differs=f"{PLANNED.format(step='training step')}; 4 rows, as each of 4 devices has "
        "of 32 in two parts",
    ),
)
