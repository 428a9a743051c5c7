"""GGUF files, as llama.cpp writes them, read as the checkpoint that they were made from.

Weights are dequantised as they are read.
"""

import re
from pathlib import Path
from typing import Any

import numpy as np

from attn.errors import UserError
from attn.pretrained.checkpoint import Checkpoint
from attn.pretrained.families.values import require
from attn.pretrained.tokenizer import bpe_tokenizer, library

KEYS = {
    "block_count": "num_hidden_layers",
    "context_length": "max_position_embeddings",
    "embedding_length": "hidden_size",
    "feed_forward_length": "intermediate_size",
    "attention.head_count": "num_attention_heads",
    "attention.head_count_kv": "num_key_value_heads",
    "attention.layer_norm_rms_epsilon": "rms_norm_eps",
    "attention.key_length": "head_dim",
    "rope.freq_base": "rope_theta",
    "vocab_size": "vocab_size",
}
"""Keys of the architecture `llama`, by those of a config.json."""
CHECKED = ("attention.value_length", "rope.dimension_count")
"""Keys that must be the width of a head."""
ONLY = {"rope.scaling.type": ("none",), "expert_count": (0,), "expert_used_count": (0,)}
TOKENIZER = "tokenizer.ggml."
NAMES = {
    "token_embd": "model.embed_tokens",
    "output_norm": "model.norm",
    "output": "lm_head",
    "attn_norm": "input_layernorm",
    "attn_q": "self_attn.q_proj",
    "attn_k": "self_attn.k_proj",
    "attn_v": "self_attn.v_proj",
    "attn_output": "self_attn.o_proj",
    "ffn_norm": "post_attention_layernorm",
    "ffn_gate": "mlp.gate_proj",
    "ffn_up": "mlp.up_proj",
    "ffn_down": "mlp.down_proj",
}
"""Names of tensors there, by those of a LLaMA checkpoint."""


def open_gguf(path: Path) -> Checkpoint:
    """Opens a GGUF file of the architecture `llama`.

    Raises:
        UserError: the file is damaged, or of another architecture.
    """
    reader = read(path)
    fields = {
        key: field.contents()
        for key, field in reader.fields.items()
        if not key.startswith(TOKENIZER)
    }
    tensors = {_name(tensor.name): tensor for tensor in reader.tensors}
    config = _config(fields, tied="lm_head.weight" not in tensors)
    if (end := reader.fields.get(f"{TOKENIZER}eos_token_id")) is not None:
        config["eos_token_id"] = int(end.contents())
    heads = {
        "q_proj": config["num_attention_heads"],
        "k_proj": config["num_key_value_heads"],
    }

    def tokenizer() -> Any:
        library()
        own = [key for key in reader.fields if key.startswith(TOKENIZER)]
        return bpe_tokenizer(
            {key.removeprefix(TOKENIZER): reader.fields[key].contents() for key in own}
        )

    def tensor(name: str) -> np.ndarray:
        from gguf import dequantize

        found = tensors[name]
        x = dequantize(found.data, found.tensor_type)
        kind = name.split(".")[-2]
        return unpermuted(x, heads[kind]) if kind in heads else x

    shapes = {name: tuple(map(int, t.shape[::-1])) for name, t in tensors.items()}
    config.setdefault("vocab_size", shapes.get("model.embed_tokens.weight", (0,))[0])
    return Checkpoint(
        path, config, shapes, tensor, dtype=lambda name: "F32", tokenizer=tokenizer
    )


def read(path: Path) -> Any:
    """The reader of a GGUF file, which maps it into memory."""
    try:
        from gguf import GGUFReader
    except ImportError as error:
        raise UserError(
            f"{path} needs the package gguf, which is not here; pip install 'attn[gguf]'"
        ) from error
    try:
        return GGUFReader(path)
    except (ValueError, IndexError, OSError, KeyError) as error:
        raise UserError(f"{path} is damaged ({error}); get it again") from error


def _config(fields: dict[str, Any], tied: bool) -> dict[str, Any]:
    """The config.json of a LLaMA checkpoint with these fields."""
    architecture = fields.get("general.architecture")
    require("general.architecture", architecture, ("llama",))
    own = {
        key.removeprefix("llama."): value
        for key, value in fields.items()
        if key.startswith("llama.")
    }
    config = {"model_type": "llama", "tie_word_embeddings": tied}
    for key, value in own.items():
        if key in KEYS:
            config[KEYS[key]] = value
        elif key not in CHECKED:
            require(f"llama.{key}", value, ONLY.get(key, ()))
    N = config["num_attention_heads"]
    config.setdefault("num_key_value_heads", N)
    width = config.setdefault("head_dim", config["hidden_size"] // N)
    for key in CHECKED:
        require(f"llama.{key}", own.get(key, width), (width,))
    return config


def _name(name: str) -> str:
    """The name of a tensor in a LLaMA checkpoint; unknown ones keep their own."""
    found = re.fullmatch(r"(?:blk\.(\d+)\.)?(\w+)\.weight", name)
    if found is None or found[2] not in NAMES:
        return name
    layer = "" if found[1] is None else f"model.layers.{found[1]}."
    return f"{layer}{NAMES[found[2]]}.weight"


def unpermuted(x: np.ndarray, heads: int) -> np.ndarray:
    """Rows of q or k with the channels that rotate together H / 2 apart.

    llama.cpp has them side by side.
    """
    pairs = x.reshape(heads, -1, 2, *x.shape[1:])
    return pairs.swapaxes(1, 2).reshape(x.shape)
