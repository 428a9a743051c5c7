"""Targets that a run writes, row by row, and what they are scored by."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attn.config import ModelConfig
from attn.config.parts import Embedding
from attn.inspect import written
from attn.inspect.written import write_rows
from attn.model import Transformer
from attn.tasks import Dates
from attn.tasks.pairs import Pair

TASK = Dates(seq_len=12, source_len=24)
DATES = ["en_GB 1/2/2012", "ja_JP 2009", "de_DE 18. Okt. 1953", "b", "pt_BR 2 de 1994"]
SIZES = {"vocab_size": TASK.vocab_size, "max_len": 64, "d_model": 16, "num_heads": 2}


def model_of(encoder):
    """A model that writes something; with tied embeddings it would repeat the start."""
    pattern = ("attention", "cross_attention") if encoder else ("attention", "mlp")
    own = ("attention",) if encoder else ()
    config = ModelConfig(
        **SIZES,
        repeats=1,
        causal=True,
        pattern=pattern,
        encoder_pattern=own,
        embedding=Embedding(tied=False),
    )
    return jax.jit(lambda: Transformer(config, rngs=nnx.Rngs(3)))()


@pytest.mark.parametrize("encoder", [True, False])
def test_what_is_written_is_what_the_objective_finds_likeliest(encoder, monkeypatch):
    monkeypatch.setattr(written, "BATCH", 3)
    rows = TASK.columns([Pair(text.encode(), b"x", b"") for text in DATES])
    model, told = model_of(encoder), []
    said = write_rows(model, TASK, rows, lambda done, of: told.append((done, of)))
    assert said.shape == (5, TASK.seq_len)
    assert told == [(3, 5), (5, 5)]
    tokens = np.concatenate([np.full((5, 1), TASK.start), said[:, :-1]], axis=1)
    batch = {**rows, "tokens": np.maximum(tokens, 0), "lengths": np.full(5, 12)}
    batch = {key: jnp.asarray(x, jnp.int32) for key, x in batch.items()}
    graph, weights = nnx.split(model)
    logits = jax.jit(lambda w, b: TASK.objective.logits(nnx.merge(graph, w), b))(
        weights, batch
    )
    # After its end a row is -1, which nothing is compared with.
    np.testing.assert_array_equal(np.where(said < 0, -1, logits.argmax(-1)), said)
    assert len({tuple(row) for row in said.tolist()}) > 1
