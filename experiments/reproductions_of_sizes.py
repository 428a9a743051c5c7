"""Reproductions that follow from sizes alone, computed from our layer specs and solver."""

from dataclasses import replace
from functools import partial

from attn.config import Experiment, ModelConfig
from attn.config.cost import decode_state
from attn.config.match import match
from attn.registry import Reproduction
from attn.tasks import PyDoc

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


def cache_factor(heads: int, groups: int) -> float:
    """Returns how many times smaller groups of heads make the decoding state of a T5."""
    model = ModelConfig(d_model=64 * heads, num_heads=heads, head_dim=64, repeats=24)
    each, shared = (
        decode_state(sized(replace(model, num_kv_heads=count))) or 0
        for count in (heads, groups)
    )
    return each / shared


BERT_FITTED = (
    "parameters: the hidden width, 4,096 as in BERT-large, and the heads of pretraining are "
    "fitted to the row of 8 heads of 128; the differences between rows hardly depend on them"
)

COMPUTED = (
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
        "shazeer2019",
        "wmt",
        "d_ff",
        {
            "multi-query local": partial(shazeer, *WMT, num_kv_heads=1),
            **fewer_heads(*WMT),
        },
    ),
    Reproduction("shazeer2019", "lm1b", "d_ff", fewer_heads(*LM1B)),
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
        "ainslie2023",
        "cache",
        "factor",
        {
            "GQA-8-XXL": partial(cache_factor, 64, 8),
            "MQA-XXL": partial(cache_factor, 64, 1),
            "MQA-Large": partial(cache_factor, 16, 1),
        },
        note="cache: of the decoder's self-attention; that of cross-attention shrinks alike",
    ),
)
"""What stands beside columns of sizes, to be registered."""
