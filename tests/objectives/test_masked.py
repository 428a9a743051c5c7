"""Masked language modelling reads both sides and is scored where tokens were hidden."""

import jax.numpy as jnp
import numpy as np
import pytest

from attn.objectives import BITS_PER_BYTE, Masked, TokenHead


def test_hidden_tokens_are_scored_at_their_positions_and_padding_is_told():
    batch = {
        "tokens": jnp.array([[7, 0, 5, 9], [1, 2, 9, 9]]),
        "positions": jnp.array([[0, 2], [1, 0]]),
        "targets": jnp.array([[1, 0], [0, 1]]),
        "lengths": jnp.array([3, 2]),
    }
    asked = {}

    def model(tokens, info, *, at, key):
        asked.update(tokens=tokens, info=info, at=at, key=key)
        return jnp.log(jnp.full((2, 2, 2), 0.5).at[0, 0].set(jnp.array([0.2, 0.8])))

    objective = Masked(BITS_PER_BYTE)
    loss = objective.loss(model, batch)
    assert float(loss) == pytest.approx(-np.log(0.8 * 0.5**3) / 4, rel=1e-5)
    np.testing.assert_array_equal(asked["at"], batch["positions"])
    np.testing.assert_array_equal(asked["tokens"], batch["tokens"])
    np.testing.assert_array_equal(asked["info"].lengths, [3, 2])
    found = objective.metrics(objective.sums(model, batch))
    assert found["accuracy"] == 0.75
    assert found["bits_per_byte"] == pytest.approx(float(loss) / np.log(2), rel=1e-5)


def test_it_is_an_encoder_s_with_the_embedding_as_its_head():
    assert not Masked.causal
    assert Masked().head(257) == TokenHead()
    assert Masked().num_scored(64) == 64
