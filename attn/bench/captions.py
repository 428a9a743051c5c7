"""Captions that explain the tables of a record."""

from attn.bench.record import Record

CAPTION = (
    "Median (least to greatest) over the rounds of one run, everybody in turn. "
    "x ours: a rival's time over that of `attn`, paired within each round, so above 1 "
    "we are faster. Useful GFLOP/s count the products over visible pairs, backward as "
    "2.5 times forward (FlashAttention-2, section 4.1); share: of this machine's best "
    "matrix product in the same type. Error: the largest difference from the float32 "
    "definition over the definition's largest value. Scratch: what the compiled "
    "program needs beside inputs, outputs and gradients, where the library tells it. "
    "On a GPU the calls of a sample are queued and awaited at its end, and a call counts "
    "as right within what the products named above, TF32 or bfloat16, leave."
)
SCALING_CAPTION = (
    "`softmax` is ours as `auto` takes it, `attn` in the tables of cases; ratios are to "
    "it, so below 1 a mechanism is faster. Exponents: least squares of log cost over log "
    "tokens, plus or minus the standard error of the slope. `faster from`: where the "
    "logarithm of the ratio, between lengths, falls below 0 for good; `beyond`: it is "
    "above at the greatest length, and falling; `never seen`: not falling. Compile time "
    "is of forward + backward. A mechanism that cannot be causal runs over all keys, "
    "beside causal softmax. What mechanisms give is not compared with softmax, which most "
    "are not; the tests hold each against its own definition."
)

MODELS_CAPTION = (
    "Median (least to greatest) over the rounds of one run, everybody in turn, on the same "
    "cores in float32. x ours: a rival's time over that of `attn`, paired within each "
    "round, so above 1 we are faster. Tokens/s: those that are written, or trained on. "
    "First call: what compiles, or warms up. Error: the largest difference from what "
    "`attn` gives; of tokens it must be 0, of losses it is over the largest."
)

DECODING_CAPTION = (
    "Median (least to greatest) over the rounds of one run, everybody in turn: the time of "
    "one token of one sequence in one layer, without its projections, a call decoding the "
    "last tokens of each length in a loop. Growth: the time at the greatest length over that "
    "at the shortest, paired within each round; 1 is a step that does not know how long its "
    "sequence is. Cache: keys and values, or states, of all heads in float32, and whether "
    "they are what the layer's formula says, byte for byte; the position of each key, 4 "
    "bytes for all heads, comes on top."
)


def captions(record: Record) -> list[str]:
    """The captions of a record's tables."""
    if record.decoding:
        return [DECODING_CAPTION]
    if record.models:
        return [MODELS_CAPTION]
    return [SCALING_CAPTION, CAPTION] if record.growth else [CAPTION]
