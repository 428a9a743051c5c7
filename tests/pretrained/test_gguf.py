"""GGUF files: the checkpoint that they were made from, and the text that they read."""

import numpy as np
import pytest
from tiny_checkpoints import case, weights, write_case

from attn.errors import UserError
from attn.pretrained import load
from attn.pretrained.gguf_file import KEYS, NAMES

gguf = pytest.importorskip("gguf")
LETTERS = "abcdefghijklmnopqrstuvwxyzĠ0123456789"
BPE = {
    "tokens": ["<|end|>", *LETTERS, "Ġa", "Ġan"],
    "token_type": [3, *[1] * (len(LETTERS) + 2)],
    "merges": ["Ġ a", "Ġa n"],
}


def permuted(x, heads):
    """Rows as llama.cpp's converter lays them: channels that rotate together in turn."""
    halves = x.reshape(heads, 2, -1, *x.shape[1:])
    return halves.swapaxes(1, 2).reshape(x.shape)


def write_gguf(path, name, pre="smollm", architecture="llama"):
    """Writes a small checkpoint in float32, with a tokenizer."""
    config = case(name)["config"]
    writer = gguf.GGUFWriter(path, architecture)
    for key, theirs in KEYS.items():
        value = config[theirs]
        add = writer.add_float32 if isinstance(value, float) else writer.add_uint32
        add(f"llama.{key}", value)
    names = {theirs: ours for ours, theirs in NAMES.items()}
    for full, x in weights(name).items():
        *layer, kind = full.removesuffix(".weight").partition(".layers.")[::2]
        number, _, kind = kind.partition(".") if kind else ("", "", layer[0])
        heads = {"attn_q": 6, "attn_k": 2}.get(names[kind])
        x = x if heads is None else permuted(x, heads)
        block = f"blk.{number}." if number else ""
        writer.add_tensor(f"{block}{names[kind]}.weight", x)
    writer.add_tokenizer_model("gpt2")
    writer.add_tokenizer_pre(pre)
    writer.add_token_list(BPE["tokens"])
    writer.add_token_types(BPE["token_type"])
    writer.add_token_merges(BPE["merges"])
    writer.write_header_to_file()
    writer.write_kv_data_to_file()
    writer.write_tensors_to_file()
    writer.close()
    return path


def test_a_gguf_file_gives_the_weights_and_the_config_of_its_checkpoint(tmp_path):
    there = load(write_case(tmp_path / "folder", "llama-2"))
    here = load(write_gguf(tmp_path / "small.gguf", "llama-2"))
    ours, theirs = here.transformer, there.transformer
    assert ours.model.layers == theirs.model.layers
    assert np.isclose(ours.model.norm.eps, 1e-5)
    for block, expected in zip(ours.layers, theirs.layers):
        for name in "qkvo" if hasattr(block.layer, "q") else ("up", "gate", "down"):
            found = getattr(block.layer, name)[...]
            assert np.array_equal(found, getattr(expected.layer, name)[...]), name
    assert np.array_equal(ours.out[...], theirs.out[...])


def test_its_tokenizer_splits_digits_and_gives_the_text_back(tmp_path):
    model = load(write_gguf(tmp_path / "small.gguf", "llama-2"))
    tokens, mask = model.encode(["an ant<|end|>", "an 42"])
    text = [BPE["tokens"][i] for i in tokens[0]]
    assert text == ["a", "n", "Ġan", "t", "<|end|>"]
    assert [BPE["tokens"][i] for i in tokens[1][mask[1]]] == ["a", "n", "Ġ", "4", "2"]
    assert model.tokenizer.decode(tokens[1][mask[1]].tolist()) == "an 42"
    with pytest.raises(UserError, match="prompt '' has no token"):
        model.encode(["an", ""])


def test_what_is_not_known_in_a_gguf_file_is_refused(tmp_path):
    model = load(write_gguf(tmp_path / "small.gguf", "llama-2", pre="llama-bpe"))
    with pytest.raises(UserError, match=r"tokenizer.ggml.pre = 'llama-bpe'"):
        model.encode(["an"])
    other = write_gguf(tmp_path / "other.gguf", "llama-2", architecture="mamba")
    with pytest.raises(UserError, match=r"general.architecture = 'mamba'"):
        load(other)
    with pytest.raises(UserError, match=r"several .gguf files, other.gguf, small.gguf"):
        load(tmp_path)
    (tmp_path / "other.gguf").write_bytes(b"GGUF")
    with pytest.raises(UserError, match="is damaged"):
        load(tmp_path / "other.gguf")
