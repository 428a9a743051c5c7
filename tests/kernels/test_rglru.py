"""RG-LRU: its two forms agree, and gates that are wide open or shut hurt nothing."""

from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn.attention import attend
from attn.errors import UserError
from attn.kernels import RGLRU
from attn.kernels.recurrent.rglru import POWER
from attn.kernels.tokens import TokenInfo
from attn.masks import Causal

T, H = 37, 4
SPEC = RGLRU()


@cache
def inputs():
    random = np.random.default_rng(2)
    arrays = [jnp.asarray(random.normal(size=(T, H)), jnp.float32) for _ in "qkv"]
    weights = SPEC.init(jax.random.key(0), head_dim=H, kv_len=T)
    ids = jnp.where(random.random(T) < 0.7, 0, -1)
    return (*arrays, weights["Lambda"], ids)


@cache
def graded(form):
    """Output and gradients by q, k, v and Lambda."""

    def loss(q, k, v, Lambda, kv_ids):
        out = SPEC(
            q,
            k,
            v,
            mask=Causal(),
            weights={"Lambda": Lambda},
            kv_info=TokenInfo(kv_ids),
            form=form,
        )
        return jnp.sin(out).sum(), out

    return jax.jit(jax.value_and_grad(loss, argnums=(0, 1, 2, 3), has_aux=True))


def test_both_forms_agree_in_value_and_gradient_with_padding_between_tokens():
    (_, a), a_grads = graded("parallel")(*inputs())
    (_, b), b_grads = graded("recurrent")(*inputs())
    for x, y in zip((a, *a_grads), (b, *b_grads), strict=True):
        np.testing.assert_allclose(x, y, rtol=1e-5, atol=1e-6)
    padded = np.asarray(inputs()[-1]) < 0
    np.testing.assert_allclose(b[1:][padded[1:]], b[:-1][padded[1:]], atol=1e-6)


@pytest.mark.parametrize("form", SPEC.implementations)
@pytest.mark.parametrize("gate", [-200.0, 200.0])
@pytest.mark.parametrize("Lambda", [-300.0, 0.0, 300.0])
def test_shut_and_open_gates_have_finite_gradients(form, gate, Lambda):
    q, k, v, own, ids = inputs()
    args = (jnp.full_like(q, gate), k, v, jnp.full_like(own, Lambda), ids)
    (_, out), grads = graded(form)(*args)
    assert all(np.isfinite(x).all() for x in (out, *grads))
    if gate < 0 or Lambda > 0:
        # Nothing is forgotten, so nothing is let in: the state stays 0.
        assert np.abs(out).max() < 1e-3


@pytest.mark.parametrize("form", SPEC.implementations)
def test_a_slow_channel_keeps_its_digits(form):
    """1 - a^2 of an a that float32 cannot tell from 1."""
    q, k = jnp.full((1, 1), -20.0), jnp.full((1, 1), 40.0)
    weights = {"Lambda": jnp.zeros(1)}
    out = SPEC(q, k, jnp.ones((1, 1)), mask=Causal(), weights=weights, form=form)
    log_a = -8 * np.log(2) / (1 + np.exp(20.0))
    np.testing.assert_allclose(out[0, 0], np.sqrt(-np.expm1(2 * log_a)), rtol=1e-5)


def test_a_channel_starts_between_fast_and_slow():
    weights = SPEC.init_heads(jax.random.key(3), 8, head_dim=512, kv_len=1)["Lambda"]
    kept = np.sort((1 / (1 + np.exp(-np.float64(weights)))).ravel() ** POWER)
    np.testing.assert_allclose(
        kept, np.linspace(0.9, 0.999, kept.size), atol=3e-3, rtol=0
    )


def test_values_of_another_width_are_refused():
    x = jnp.ones((1, 5, 1, H))
    with pytest.raises(UserError, match=f"these are {H} wide"):
        attend(SPEC, x, x, x[..., :2], mask=Causal(), weights={"Lambda": jnp.ones(H)})
