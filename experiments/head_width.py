"""A study of the width of heads: split from the model's, or kept whatever their number.

    python launch.py run head_width

A head of width H has scores of rank H at most. Over n tokens it can show any positive
pattern of attention where H >= n, and not where H < n (Bhojanapalli et al. 2020, arXiv
2002.07028, theorem 1; its witness is `tests/kernels/test_low_rank_bottleneck.py`). So
they keep H while heads become more, where others split d_model among them. Their models
grow by that; here the hidden layer pays, so that parameters stay equal, or FLOPs.

Text of 128 bytes, 8 pairs to recall in 64 tokens, and the token after a trigger in 31;
models of width 64. One head of 64 can show any pattern over 64 tokens, two of 32 over 31,
and none of these over 128. What they learn is another question, which this one asks.
"""

from dataclasses import replace

from attn.config import Experiment, ModelConfig, TrainConfig
from attn.config.claims import Claim, Prediction
from attn.config.match import Match, match
from attn.registry import Study, register
from attn.tasks import MQAR, Induction, PyDoc
from experiments.lineup import better

text = Experiment(
    name="width_text",
    claim="On text many narrow heads lose, and so does one that is as wide as the model.",
    task=PyDoc(seq_len=128),
    model=ModelConfig(d_model=64, repeats=2, num_heads=4, head_dim=16),
    train=TrainConfig(steps=1600, batch_size=16, eval_every=200, save_every=800),
    seeds=5,
)
recall = replace(
    text,
    name="width_recall",
    claim="Recall needs keys told apart: narrow heads lose, one wide head is enough.",
    task=MQAR(num_pairs=8),
    model=replace(
        text.model,
        pattern=("short_conv", "attention", "mlp"),
        repeats=1,
        positions="none",
    ),
    train=TrainConfig(steps=600, eval_every=100),
)
induction = replace(
    text,
    name="width_induction",
    claim="An induction head needs the token before each: narrow heads lose, one is enough.",
    task=Induction(),
    model=replace(text.model, positions="learned"),
    train=TrainConfig(steps=1000, batch_size=32, peak_lr=2e-3, eval_every=200),
)

SPLIT = {1: 64, 2: 32, 4: 16, 8: 8, 16: 4}
"""By number of heads, the width of those that split d_model; all cost the same."""
KEPT = 16
"""The width that heads keep, whatever their number: that of four which split d_model."""
BESIDE_FOUR = (1, 2, 8)
"""Numbers of heads that keep it. Sixteen would cost more than any hidden layer can pay."""
MARGIN = 0.02
"""By how much what does not lose may be worse: bits per byte, or a share of answers."""


def name_of(base: Experiment, count: int, width: int, by: Match = "none") -> str:
    """The name of so many heads of a width, as in `width_text_8x16_params`."""
    matched = "none" if SPLIT.get(count) == width else by
    return f"{base.name}_{count}x{width}" + ("" if matched == "none" else f"_{matched}")


def with_heads(base: Experiment, count: int, width: int, by: Match) -> Experiment:
    """Makes `base` with so many heads of a width, at its own cost."""
    model = replace(base.model, num_heads=count, head_dim=width)
    return match(
        replace(base, name=name_of(base, count, width, by), model=model), base, by
    )


def on(base: Experiment) -> tuple[Experiment, ...]:
    """Heads that split the model's width, and heads that keep theirs at either cost."""
    split = (with_heads(base, *pair, "none") for pair in SPLIT.items())
    kept = (
        with_heads(base, count, KEPT, by)
        for by in ("params", "flops")
        for count in BESIDE_FOUR
    )
    return (*split, *kept)


def claims_on(base: Experiment, where: str) -> tuple[Claim, ...]:
    """Predicts the same of each task."""
    split = {count: name_of(base, count, width) for count, width in SPLIT.items()}

    def no_worse(by: Match) -> tuple[Prediction, ...]:
        one, two, four, eight = (name_of(base, n, KEPT, by) for n in (1, 2, 4, 8))
        pairs = ((two, one), (four, two), (eight, four))
        return tuple(Prediction(more, fewer, -MARGIN) for more, fewer in pairs)

    return (
        Claim(
            f"On {where} sixteen heads of a split width are worse than two or four.",
            better(split[2], split[16]) + better(split[4], split[16]),
        ),
        Claim(
            f"On {where} heads that keep a width of 16 lose nothing by being more, at equal parameters.",
            no_worse("params"),
        ),
        Claim(
            f"On {where} heads that keep a width of 16 lose nothing by being more, at equal FLOPs.",
            no_worse("flops"),
        ),
        Claim(
            f"On {where} eight heads of 16 are better than eight of 8, though the hidden layer pays.",
            better(name_of(base, 8, KEPT, "params"), split[8])
            + better(name_of(base, 8, KEPT, "flops"), split[8]),
        ),
    )


def one_against_four(base: Experiment) -> tuple[str, str]:
    """One head of the model's width, and four that split it."""
    return name_of(base, 1, SPLIT[1]), name_of(base, 4, SPLIT[4])


register(
    Study(
        name="head_width",
        claim="Heads are too many where they are too narrow: kept wide, more of them do not lose.",
        experiments=on(text) + on(recall) + on(induction),
        minutes=88,
        claims=(
            *claims_on(text, "text"),
            *claims_on(recall, "recall"),
            *claims_on(induction, "induction"),
            Claim(
                "On text one head as wide as the model is worse than four that split it.",
                better(*reversed(one_against_four(text))),
            ),
            Claim(
                "One head that can show any pattern recalls, and induces, no worse than four.",
                tuple(
                    Prediction(*one_against_four(base), -MARGIN)
                    for base in (recall, induction)
                ),
            ),
        ),
    )
)
