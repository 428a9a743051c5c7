"""LLaMA 2 and 3, Mistral, Qwen 2 and 3, Gemma 2: decoders with rotary positions.

Touvron et al. 2023, Grattafiori et al. 2024, Jiang et al. 2023, Yang et al. 2024 and
2025, Gemma Team 2024. They differ in windows, biases, norms and soft-caps.
"""

from collections.abc import Callable
from dataclasses import replace

from attn.config import MLP, Attention, Embedding, Layer, ModelConfig, Norm
from attn.errors import UserError
from attn.kernels import Softmax
from attn.pretrained.families.base import (
    REQUIRED,
    Family,
    Keys,
    Nullable,
    Stack,
    Tensor,
    Values,
    matrix,
    rms_norm,
    untied,
)
from attn.pretrained.families.rope import ROPE_KEYS, rope
from attn.pretrained.families.values import activation, require

LAYER = "layers.{i}."
READ: Values = {
    "vocab_size": REQUIRED,
    "hidden_size": REQUIRED,
    "intermediate_size": REQUIRED,
    "num_hidden_layers": REQUIRED,
    "num_attention_heads": REQUIRED,
    "num_key_value_heads": Nullable(int),
    "head_dim": Nullable(int),
    "hidden_act": "silu",
    "max_position_embeddings": REQUIRED,
    "rms_norm_eps": 1e-6,
    "tie_word_embeddings": False,
    **ROPE_KEYS,
}
"""Keys of all of them, with LLaMA's defaults."""
ONLY: dict[str, tuple] = {
    "attention_bias": (False, None),
    "mlp_bias": (False, None),
    "rope_interleaved": (False,),
    "is_encoder_decoder": (False,),
}
SLIDING, FULL = "sliding_attention", "full_attention"


def decoder(values: Values, types: list[str] | None = None) -> ModelConfig:
    """The model of a LLaMA config; `types` tells its layers that have a window."""
    base, scaling = rope(values)
    layers, repeats = _layers(values, types or [])
    return ModelConfig(
        vocab_size=values["vocab_size"],
        max_len=values["max_position_embeddings"],
        d_model=values["hidden_size"],
        block=layers,
        repeats=repeats,
        num_heads=values["num_attention_heads"],
        num_kv_heads=values["num_key_value_heads"],
        head_dim=values["head_dim"],
        d_ff=values["intermediate_size"],
        act=activation("hidden_act", values["hidden_act"]),
        gated=True,
        rope_base=base,
        rope_scaling=scaling,
        causal=True,
        norm=Norm(eps=values["rms_norm_eps"]),
        embedding=Embedding(tied=values["tie_word_embeddings"], scale=1.0),
    )


def _layers(values: Values, types: list[str]) -> tuple[tuple[Layer, ...], int]:
    """A block of layers, and how many times it is repeated."""
    count, width = values["num_hidden_layers"], values.get("sliding_window")
    types = values.get("layer_types") or types or [FULL] * count
    for kind in types:
        require("layer_types", kind, (SLIDING, FULL))
    if len(types) != count:
        raise UserError(
            f"config.json: layer_types are {len(types)}, and num_hidden_layers = {count}"
        )
    windows = [width if kind == SLIDING else None for kind in types]
    block = [(Attention(window=window), MLP()) for window in windows]
    if len(set(windows)) == 1:
        return block[0], count
    return tuple(layer for layers in block for layer in layers), 1


def mistral(values: Values) -> ModelConfig:
    """The model of a Mistral config: every layer has the window."""
    return decoder(values, [SLIDING] * values["num_hidden_layers"])


def qwen_2(values: Values) -> ModelConfig:
    """The model of a Qwen 2 config: late layers may have a window, and q, k, v a bias."""
    first = values["max_window_layers"]
    if not values["use_sliding_window"]:
        values = values | {"sliding_window": None}
    count = values["num_hidden_layers"]
    types = [SLIDING if i >= first else FULL for i in range(count)]
    return replace(decoder(values, types), bias="qkv")


def qwen_3(values: Values) -> ModelConfig:
    """The model of a Qwen 3 config: queries and keys have a norm, and no bias."""
    return replace(qwen_2(values), bias="none", qk_norm=True)


def gemma_2(values: Values) -> ModelConfig:
    """The model of a Gemma 2 config: every other layer has a window, from the first on.

    Its norms multiply by 1 + a weight; here 1 is in the weight.
    """
    count, D = values["num_hidden_layers"], values["hidden_size"]
    model = decoder(values, [FULL if i % 2 else SLIDING for i in range(count)])
    scale = values["query_pre_attn_scalar"] ** -0.5
    cap = values["final_logit_softcapping"]
    return replace(
        model,
        act=activation("hidden_activation", values["hidden_activation"]),
        block=tuple(
            replace(layer, scale=scale) if isinstance(layer, Attention) else layer
            for layer in model.block
        ),
        kernel=Softmax(softcap=values["attn_logit_softcapping"]),
        norm=replace(model.norm, at="both"),
        embedding=replace(model.embedding, scale=D**0.5, logit_cap=cap),
    )


def outside(plus: float = 0.0) -> tuple[Tensor, ...]:
    """The tables of tokens and logits, and the last norm."""
    return (
        Tensor("embed_tokens.weight", "embedding", "V D -> V D"),
        Tensor("lm_head.weight", "out", "V D -> V D", when=untied),
        *rms_norm("norm", "norm", plus),
    )


QKV = (("q", "N H"), ("k", "K H"), ("v", "K H"))
"""The projections to heads, and what they give."""
HEADS = tuple(
    row
    for name, dims in QKV
    for row in matrix(
        f"{LAYER}self_attn.{name}_proj", f"{{attention}}/layer/{name}", dims, "D"
    )
)
BIASES = tuple(
    Tensor(
        f"{LAYER}self_attn.{name}_proj.bias",
        f"{{attention}}/layer/{name}_bias",
        f"({dims}) -> {dims}",
    )
    for name, dims in QKV
)
QK_NORMS = tuple(
    Tensor(
        f"{LAYER}self_attn.{name}_norm.weight",
        f"{{attention}}/layer/{name}_norm/scale",
        "H -> H",
    )
    for name in "qk"
)
PRODUCTS = (
    *HEADS,
    *matrix(f"{LAYER}self_attn.o_proj", "{attention}/layer/o", "D", "N H"),
    *matrix(f"{LAYER}mlp.gate_proj", "{mlp}/layer/gate", "F", "D"),
    *matrix(f"{LAYER}mlp.up_proj", "{mlp}/layer/up", "F", "D"),
    *matrix(f"{LAYER}mlp.down_proj", "{mlp}/layer/down", "D", "F"),
)
NORMS = (
    *rms_norm(f"{LAYER}input_layernorm", "{attention}/norm"),
    *rms_norm(f"{LAYER}post_attention_layernorm", "{mlp}/norm"),
)
GEMMA_NORMS = (
    *rms_norm(f"{LAYER}input_layernorm", "{attention}/norm", 1.0),
    *rms_norm(f"{LAYER}post_attention_layernorm", "{attention}/post_norm", 1.0),
    *rms_norm(f"{LAYER}pre_feedforward_layernorm", "{mlp}/norm", 1.0),
    *rms_norm(f"{LAYER}post_feedforward_layernorm", "{mlp}/post_norm", 1.0),
)


def family(
    make: Callable[[Values], ModelConfig],
    layer: tuple[Tensor, ...],
    read: Values = READ,
    only: dict[str, tuple] = ONLY,
    unread: str = "",
    plus: float = 0.0,
) -> Family:
    """A family of decoders: what differs from LLaMA."""
    return Family(
        "decoder",
        Keys(read, only, unread),
        make,
        outside(plus),
        (Stack(("attention", "mlp"), layer),),
        prefix="model.",
        copies={"lm_head.weight": "embed_tokens.weight"},
        unused=(r"layers\.\d+\.self_attn\.rotary_emb\.inv_freq",),
    )


QWEN = {
    "use_sliding_window": False,
    "sliding_window": Nullable(int, 4096),
    "max_window_layers": 28,
    "layer_types": Nullable(list),
}
LLAMA = family(decoder, PRODUCTS + NORMS)
MISTRAL = family(
    mistral,
    PRODUCTS + NORMS,
    READ
    | {"num_key_value_heads": Nullable(int, 8), "sliding_window": Nullable(int, 4096)},
)
QWEN_2 = family(
    qwen_2,
    PRODUCTS + BIASES + NORMS,
    READ | QWEN | {"num_key_value_heads": Nullable(int, 32)},
)
QWEN_3 = family(
    qwen_3,
    PRODUCTS + QK_NORMS + NORMS,
    READ
    | QWEN
    | {"num_key_value_heads": Nullable(int, 32), "head_dim": Nullable(int, 128)},
)
GEMMA_2 = family(
    gemma_2,
    PRODUCTS + GEMMA_NORMS,
    READ
    | {
        "num_key_value_heads": Nullable(int, 4),
        "head_dim": Nullable(int, 256),
        "hidden_activation": "gelu_pytorch_tanh",
        "query_pre_attn_scalar": 256,
        "sliding_window": Nullable(int, 4096),
        "layer_types": Nullable(list),
        "attn_logit_softcapping": Nullable(float, 50.0),
        "final_logit_softcapping": Nullable(float, 30.0),
        "tie_word_embeddings": True,
    },
    ONLY | {"use_bidirectional_attention": (False, None)},
    unread="hidden_act",
    plus=1.0,
)
