"""GPT-2 (Radford et al. 2019): a decoder with learned positions and fused projections."""

from attn.config import Embedding, ModelConfig, Norm
from attn.pretrained.families.base import (
    Family,
    Keys,
    Nullable,
    Stack,
    Tensor,
    Values,
    layer_norm,
)
from attn.pretrained.families.values import activation


def fused() -> tuple[Tensor, ...]:
    """Queries, keys and values, which are thirds of one tensor's columns."""
    name, rows = "h.{i}.attn.c_attn", []
    for part, (letter, heads) in enumerate(zip("qkv", "NKK")):
        ours = f"{{attention}}/layer/{letter}"
        dims = f"(3 {heads} H) -> {heads} H"
        rows += [
            Tensor(
                f"{name}.weight", ours, f"D {dims.replace('->', '-> D')}", part=part
            ),
            Tensor(f"{name}.bias", f"{ours}_bias", dims, part=part),
        ]
    return tuple(rows)


def model(values: Values) -> ModelConfig:
    """The model of a GPT-2 config."""
    return ModelConfig(
        vocab_size=values["vocab_size"],
        max_len=values["n_positions"],
        d_model=values["n_embd"],
        repeats=values["n_layer"],
        num_heads=values["n_head"],
        d_ff=values["n_inner"],
        act=activation("activation_function", values["activation_function"]),
        positions="learned",
        causal=True,
        bias="all",
        norm=Norm("layer", eps=values["layer_norm_epsilon"]),
        embedding=Embedding(scale=1.0),
    )


GPT2 = Family(
    "decoder",
    Keys(
        read={
            "vocab_size": 50257,
            "n_positions": 1024,
            "n_embd": 768,
            "n_layer": 12,
            "n_head": 12,
            "n_inner": Nullable(int),
            "activation_function": "gelu_new",
            "layer_norm_epsilon": 1e-5,
        },
        only={
            "scale_attn_weights": (True,),
            "scale_attn_by_inverse_layer_idx": (False,),
            "tie_word_embeddings": (True,),
            "is_encoder_decoder": (False,),
        },
        unread="attn_pdrop embd_pdrop resid_pdrop n_ctx reorder_and_upcast_attn "
        "summary_activation summary_first_dropout summary_proj_to_labels summary_type "
        "summary_use_proj",
    ),
    model,
    (
        Tensor("wte.weight", "embedding", "V D -> V D"),
        Tensor("wpe.weight", "position_embedding", "L D -> L D"),
        *layer_norm("ln_f", "norm"),
    ),
    (
        Stack(
            ("attention", "mlp"),
            (
                *layer_norm("h.{i}.ln_1", "{attention}/norm"),
                *fused(),
                Tensor(
                    "h.{i}.attn.c_proj.weight",
                    "{attention}/layer/o",
                    "(N H) D -> N H D",
                ),
                Tensor("h.{i}.attn.c_proj.bias", "{attention}/layer/o_bias", "D -> D"),
                *layer_norm("h.{i}.ln_2", "{mlp}/norm"),
                Tensor("h.{i}.mlp.c_fc.weight", "{mlp}/layer/up", "D F -> D F"),
                Tensor("h.{i}.mlp.c_fc.bias", "{mlp}/layer/up_bias", "F -> F"),
                Tensor("h.{i}.mlp.c_proj.weight", "{mlp}/layer/down", "F D -> F D"),
                Tensor("h.{i}.mlp.c_proj.bias", "{mlp}/layer/down_bias", "D -> D"),
            ),
        ),
    ),
    prefix="transformer.",
    copies={"lm_head.weight": "wte.weight"},
    unused=(r"h\.\d+\.attn\.(masked_)?bias",),
)
"""GPT-2's tables; the tensors that are not used are its causal masks."""
