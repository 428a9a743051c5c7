"""T5 1.0 (Raffel et al. 2020) and 1.1 (Shazeer 2020): encoder-decoders.

One bias by distance is shared by all layers of a stack there; here each has a copy.
"""

from attn.config import MLP, Attention, Embedding, ModelConfig, Norm
from attn.config.layers import Act
from attn.errors import unknown
from attn.pretrained.families.base import (
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

FEED_FORWARD: dict[str, tuple[Act, bool]] = {
    "relu": ("relu", False),
    "gated-gelu": ("gelu_tanh", True),
    "gated-silu": ("silu", True),
}
"""The activation of each `feed_forward_proj`, and whether it is gated."""


def model(values: Values) -> ModelConfig:
    """The model of a T5 config."""
    name, tied = values["feed_forward_proj"], values["scale_decoder_outputs"]
    if tied is None:
        tied = values["tie_word_embeddings"]
    if name not in FEED_FORWARD:
        raise unknown("config.json: feed_forward_proj", name, FEED_FORWARD)
    act, gated = FEED_FORWARD[name]
    own = Attention(scale=1.0)
    return ModelConfig(
        vocab_size=values["vocab_size"],
        max_len=values["n_positions"],
        d_model=values["d_model"],
        block=(own, Attention(source="memory", scale=1.0), MLP()),
        repeats=values["num_decoder_layers"] or values["num_layers"],
        encoder_block=(own, MLP()),
        encoder_repeats=values["num_layers"],
        num_heads=values["num_heads"],
        head_dim=values["d_kv"],
        d_ff=values["d_ff"],
        act=act,
        gated=gated,
        positions="t5",
        causal=True,
        norm=Norm(eps=values["layer_norm_epsilon"]),
        embedding=Embedding(
            tied=tied, scale=1.0, logit_scale=values["d_model"] ** -0.5 if tied else 1.0
        ),
    )


def heads(theirs: str, ours: str) -> tuple[Tensor, ...]:
    """The four projections of an attention layer."""
    return (
        *matrix(f"{theirs}.q", f"{ours}/q", "N H", "D"),
        *matrix(f"{theirs}.k", f"{ours}/k", "K H", "D"),
        *matrix(f"{theirs}.v", f"{ours}/v", "K H", "D"),
        *matrix(f"{theirs}.o", f"{ours}/o", "D", "N H"),
    )


def stack(name: str, ours: str, kinds: tuple[str, ...]) -> Stack:
    """The tensors of the encoder or the decoder, whose last sublayer is the MLP."""
    block, last = f"{name}.block.{{i}}.layer", len(kinds) - 1
    mlp = f"{block}.{last}.DenseReluDense"
    shared = f"{name}.block.0.layer.0.SelfAttention.relative_attention_bias.weight"
    up, gate = f"{ours}{{mlp}}/layer/up", f"{ours}{{mlp}}/layer/gate"
    dims = "F D -> D F"
    tensors = [
        Tensor(shared, f"{ours}{{attention}}/layer/buckets", "R N -> N R"),
        *heads(f"{block}.0.SelfAttention", f"{ours}{{attention}}/layer"),
        Tensor(f"{mlp}.wi.weight", up, dims, when=lambda model: not model.gated),
        Tensor(f"{mlp}.wi_0.weight", gate, dims, when=lambda model: model.gated),
        Tensor(f"{mlp}.wi_1.weight", up, dims, when=lambda model: model.gated),
        *matrix(f"{mlp}.wo", f"{ours}{{mlp}}/layer/down", "D", "F"),
    ]
    if "memory" in kinds:
        tensors += heads(f"{block}.1.EncDecAttention", f"{ours}{{memory}}/layer")
    for i, kind in enumerate(kinds):
        tensors += rms_norm(f"{block}.{i}.layer_norm", f"{ours}{{{kind}}}/norm")
    return Stack(kinds, tuple(tensors), encoder=name == "encoder")


T5 = Family(
    "encoder-decoder",
    Keys(
        read={
            "vocab_size": 32128,
            "n_positions": 512,
            "d_model": 512,
            "d_kv": 64,
            "d_ff": 2048,
            "num_layers": 6,
            "num_decoder_layers": Nullable(int),
            "num_heads": 8,
            "feed_forward_proj": "relu",
            "layer_norm_epsilon": 1e-6,
            "tie_word_embeddings": True,
            "scale_decoder_outputs": Nullable(bool),
        },
        only={
            "relative_attention_num_buckets": (32,),
            "relative_attention_max_distance": (128,),
            "is_encoder_decoder": (True,),
        },
        unread="dropout_rate dense_act_fn is_gated_act",
    ),
    model,
    (
        Tensor("shared.weight", "embedding", "V D -> V D"),
        Tensor("lm_head.weight", "out", "V D -> V D", when=untied),
        *rms_norm("encoder.final_layer_norm", "encoder/norm"),
        *rms_norm("decoder.final_layer_norm", "norm"),
    ),
    (
        stack("encoder", "encoder/", ("attention", "mlp")),
        stack("decoder", "", ("attention", "memory", "mlp")),
    ),
    copies={
        "encoder.embed_tokens.weight": "shared.weight",
        "decoder.embed_tokens.weight": "shared.weight",
        "lm_head.weight": "shared.weight",
    },
    unused=(
        r"decoder\.block\.0\.layer\.1\.EncDecAttention\.relative_attention_bias\.weight",
    ),
)
"""T5's tables; the first checkpoints have a bias that cross-attention never had. `dense_act_fn` and `is_gated_act` follow from `feed_forward_proj`.

Transformers 5 saves that T5 1.1 is tied, and tells by `scale_decoder_outputs` that it
is not.
"""
