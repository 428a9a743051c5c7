"""BERT (Devlin et al. 2019) and RoBERTa (Liu et al. 2019): encoders, with post-norm."""

from attn.config import Embedding, ModelConfig, Norm
from attn.pretrained.families.base import (
    Family,
    Keys,
    Stack,
    Tensor,
    Values,
    layer_norm,
    linear,
)
from attn.pretrained.families.values import activation

LAYER = "encoder.layer.{i}."


def embeddings(skipped: int) -> tuple[Tensor, ...]:
    """The tables that are added up, and their norm; the first positions are skipped."""
    at = "embeddings.position_embeddings.weight"
    return (
        Tensor("embeddings.word_embeddings.weight", "embedding", "V D -> V D"),
        Tensor(at, "position_embedding", "L D -> L D", skip=skipped),
        Tensor(
            "embeddings.token_type_embeddings.weight", "type_embedding", "S D -> S D"
        ),
        *layer_norm("embeddings.LayerNorm", "embedding_norm"),
    )


def model(values: Values) -> ModelConfig:
    """The model of a BERT config."""
    return ModelConfig(
        vocab_size=values["vocab_size"],
        max_len=values["max_position_embeddings"],
        d_model=values["hidden_size"],
        repeats=values["num_hidden_layers"],
        num_heads=values["num_attention_heads"],
        d_ff=values["intermediate_size"],
        act=activation("hidden_act", values["hidden_act"]),
        positions="learned",
        bias="all",
        norm=Norm("layer", at="post", eps=values["layer_norm_eps"]),
        embedding=Embedding(scale=1.0, norm=True, num_types=values["type_vocab_size"]),
    )


def roberta(values: Values) -> ModelConfig:
    """The model of a RoBERTa config, whose table has 2 rows before that of position 0."""
    rows = values["max_position_embeddings"]
    return model(values | {"max_position_embeddings": rows - 2})


KEYS = Keys(
    read={
        "vocab_size": 30522,
        "hidden_size": 768,
        "num_hidden_layers": 12,
        "num_attention_heads": 12,
        "intermediate_size": 3072,
        "hidden_act": "gelu",
        "max_position_embeddings": 512,
        "type_vocab_size": 2,
        "layer_norm_eps": 1e-12,
    },
    only={
        "position_embedding_type": ("absolute",),
        "is_encoder_decoder": (False,),
    },
    unread="tie_word_embeddings",
)
STACK = Stack(
    ("attention", "mlp"),
    (
        *linear(LAYER + "attention.self.query", "{attention}/layer/q", "N H", "D"),
        *linear(LAYER + "attention.self.key", "{attention}/layer/k", "K H", "D"),
        *linear(LAYER + "attention.self.value", "{attention}/layer/v", "K H", "D"),
        *linear(LAYER + "attention.output.dense", "{attention}/layer/o", "D", "N H"),
        *layer_norm(LAYER + "attention.output.LayerNorm", "{attention}/post_norm"),
        *linear(LAYER + "intermediate.dense", "{mlp}/layer/up", "F", "D"),
        *linear(LAYER + "output.dense", "{mlp}/layer/down", "D", "F"),
        *layer_norm(LAYER + "output.LayerNorm", "{mlp}/post_norm"),
    ),
)
UNUSED = (r"pooler\..*", r"cls\..*", r"lm_head\..*", r"embeddings\.position_ids")
"""The heads of pretraining, and a list of numbers."""
OLDER = {"LayerNorm.gamma": "LayerNorm.weight", "LayerNorm.beta": "LayerNorm.bias"}
"""Names that checkpoints made from TensorFlow's have."""
BERT = Family(
    "encoder",
    KEYS,
    model,
    embeddings(0),
    (STACK,),
    prefix="bert.",
    unused=UNUSED,
    older=OLDER,
)
ROBERTA = Family(
    "encoder",
    Keys(
        KEYS.read | {"vocab_size": 50265},
        KEYS.only | {"pad_token_id": (1,)},
        KEYS.unread,
    ),
    roberta,
    embeddings(2),
    (STACK,),
    prefix="roberta.",
    unused=UNUSED,
    older=OLDER,
)
