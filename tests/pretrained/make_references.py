"""Makes `references/`: what transformers computes of small random checkpoints.

    python tests/pretrained/make_references.py

It needs torch and transformers (made with 2.13 on CPU and 5.24.0); the tests do not.
"""

import json
from pathlib import Path
from tempfile import TemporaryDirectory

import numpy as np
import torch
import transformers
from tiny_checkpoints import REFERENCES, weights, write_case
from transformers import AutoConfig

GROUPED = {"num_attention_heads": 6, "num_key_value_heads": 2, "num_hidden_layers": 2}
SIZES = {"vocab_size": 61, "hidden_size": 30, "intermediate_size": 44}
LLAMA = {
    **SIZES,
    **GROUPED,
    "hidden_act": "silu",
    "max_position_embeddings": 40,
    "rms_norm_eps": 1e-5,
    "rope_theta": 10000.0,
    "tie_word_embeddings": False,
}
BERT = {
    "vocab_size": 61,
    "hidden_size": 36,
    "intermediate_size": 52,
    "num_hidden_layers": 3,
    "num_attention_heads": 4,
    "hidden_act": "gelu",
    "max_position_embeddings": 40,
    "layer_norm_eps": 1e-12,
    "type_vocab_size": 2,
}
T5 = {
    "model_type": "t5",
    "vocab_size": 31,
    "d_model": 26,
    "d_kv": 7,
    "d_ff": 40,
    "num_layers": 2,
    "num_decoder_layers": 3,
    "num_heads": 5,
    "layer_norm_epsilon": 1e-6,
    "is_encoder_decoder": True,
}
LLAMA_3 = {
    "rope_type": "llama3",
    "factor": 8.0,
    "low_freq_factor": 1.0,
    "high_freq_factor": 4.0,
    "original_max_position_embeddings": 20,
}
CASES = {
    "bert": ("BertModel", {"model_type": "bert", **BERT, "pad_token_id": 0}),
    "roberta": (
        "RobertaModel",
        {
            "model_type": "roberta",
            **BERT,
            "max_position_embeddings": 42,
            "layer_norm_eps": 1e-5,
            "type_vocab_size": 1,
            "pad_token_id": 1,
        },
    ),
    "gpt2": (
        "GPT2LMHeadModel",
        {
            "model_type": "gpt2",
            "vocab_size": 61,
            "n_embd": 30,
            "n_head": 3,
            "n_layer": 2,
            "n_positions": 40,
            "n_inner": 50,
            "activation_function": "gelu_new",
            "layer_norm_epsilon": 1e-5,
        },
    ),
    "t5": ("T5ForConditionalGeneration", {**T5, "feed_forward_proj": "relu"}),
    "t5-1.1": (
        "T5ForConditionalGeneration",
        {**T5, "feed_forward_proj": "gated-gelu", "tie_word_embeddings": False},
    ),
    "llama-2": ("LlamaForCausalLM", {"model_type": "llama", **LLAMA, "head_dim": 10}),
    "llama-3": (
        "LlamaForCausalLM",
        {
            "model_type": "llama",
            **LLAMA,
            "head_dim": 12,
            "rope_theta": 500.0,
            "rope_scaling": LLAMA_3,
            "tie_word_embeddings": True,
        },
    ),
    "llama-linear": (
        "LlamaForCausalLM",
        {
            "model_type": "llama",
            **LLAMA,
            "hidden_size": 24,
            "rope_scaling": {"type": "linear", "factor": 2.5},
        },
    ),
    "mistral": (
        "MistralForCausalLM",
        {"model_type": "mistral", **LLAMA, "head_dim": 8, "sliding_window": 7},
    ),
    "gemma-2": (
        "Gemma2ForCausalLM",
        {
            "model_type": "gemma2",
            **SIZES,
            **GROUPED,
            "num_hidden_layers": 3,
            "head_dim": 10,
            "hidden_activation": "gelu_pytorch_tanh",
            "max_position_embeddings": 40,
            "rms_norm_eps": 1e-6,
            "rope_theta": 10000.0,
            "query_pre_attn_scalar": 17,
            "sliding_window": 5,
            "attn_logit_softcapping": 3.0,
            "final_logit_softcapping": 5.0,
        },
    ),
    "qwen-2": (
        "Qwen2ForCausalLM",
        {
            "model_type": "qwen2",
            **LLAMA,
            "hidden_size": 36,
            "tie_word_embeddings": True,
            "use_sliding_window": False,
            "sliding_window": 8,
            "max_window_layers": 1,
        },
    ),
    "qwen-3": (
        "Qwen3ForCausalLM",
        {
            "model_type": "qwen3",
            **{k: v for k, v in LLAMA.items() if k != "rope_theta"},
            "head_dim": 14,
            "rope_parameters": {"rope_type": "default", "rope_theta": 700.0},
        },
    ),
}
"""The class of each case in transformers, and its config as published folders have it."""


def names_and_shapes(model: torch.nn.Module) -> dict[str, str]:
    """The tensors that `save_pretrained` would keep: of tied ones, the first alone."""
    shared = {"lm_head.weight", "encoder.embed_tokens.weight"}
    shared |= {"decoder.embed_tokens.weight"}
    state = model.state_dict()
    if "lm_head.weight" in state and not tied(model):
        shared.remove("lm_head.weight")
    return {
        name: " ".join(map(str, value.shape))
        for name, value in state.items()
        if name not in shared
    }


def tied(model: torch.nn.Module) -> bool:
    """Whether the logits are made with the embedding."""
    config = model.config
    return getattr(config, "scale_decoder_outputs", config.tie_word_embeddings)


def padded(rows: int, T: int, V: int, left: int, right: int) -> dict[str, np.ndarray]:
    """Tokens and masks: a row without padding, rows padded on the right and the left."""
    tokens = np.random.default_rng(T).integers(3, V, (rows, T))
    mask = np.ones((rows, T), bool)
    mask[1, T - right :] = False
    mask[2, :left] = False
    return {"tokens": np.where(mask, tokens, 0), "mask": mask}


def run(model: torch.nn.Module, arrays: dict[str, np.ndarray]) -> dict[str, np.ndarray]:
    """What the model computes: float32 logits, or the hidden states of an encoder."""
    kind = model.config.model_type
    tokens, mask = arrays["tokens"], arrays["mask"]
    if kind == "roberta":
        tokens = np.where(mask, tokens, model.config.pad_token_id)
    given = {"input_ids": tokens, "attention_mask": mask.astype(int)}
    if kind in ("bert", "gpt2"):  # real tokens are counted, as `generate` counts them
        given["position_ids"] = np.maximum(mask.cumsum(axis=1) - 1, 0)
    if kind == "t5":
        given["decoder_input_ids"] = arrays["target_tokens"]
    with torch.no_grad():
        out = model(**{k: torch.from_numpy(v) for k, v in given.items()})
    states = out.logits if "logits" in out else out.last_hidden_state
    made = states.numpy()
    if "at" in arrays:
        made = made[:, arrays["at"]]
    return {"tokens": tokens, "mask": mask, "expected": made}


def inputs(config: dict) -> dict[str, np.ndarray]:
    """The inputs of a case; those of T5 are longer than its largest distance."""
    if config["model_type"] != "t5":
        return padded(3, 24, config["vocab_size"], left=9, right=7)
    arrays = padded(3, 200, config["vocab_size"], left=21, right=150)
    targets = np.random.default_rng(1).integers(0, config["vocab_size"], (3, 150))
    at = np.r_[0:8, 142:150]
    return {**arrays, "target_tokens": targets, "at": at}


def make(name: str) -> None:
    """Writes the two files of a case."""
    kind, config = CASES[name]
    parsed = AutoConfig.for_model(**config)
    model = getattr(transformers, kind)(parsed)
    facts = {"config": config, "shapes": names_and_shapes(model)}
    REFERENCES.mkdir(exist_ok=True)
    (REFERENCES / f"{name}.json").write_text(json.dumps(facts, indent=1) + "\n")
    with TemporaryDirectory() as folder:
        write_case(Path(folder), name)
        model, told = getattr(transformers, kind).from_pretrained(
            folder,
            attn_implementation="eager",
            dtype=torch.float32,
            output_loading_info=True,
        )
    print(name, told)
    for key, value in weights(name).items():
        assert np.array_equal(model.state_dict()[key].numpy(), value), key
    arrays = inputs(config)
    arrays |= run(model.eval(), arrays)
    whole = {k: v.astype(np.int32) for k, v in arrays.items() if v.dtype == np.int64}
    np.savez_compressed(REFERENCES / f"{name}.npz", **arrays | whole)


if __name__ == "__main__":
    for name in CASES:
        make(name)
