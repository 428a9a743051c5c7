"""States that fade: three forms of one thing, and what their papers promise of them."""

from functools import partial

import jax
import jax.numpy as jnp
import naive
import numpy as np
import pytest
from tiny import exhaustive

from attn.kernels import GatedDelta, Retention
from attn.kernels.recurrent import base
from attn.kernels.recurrent.gated_delta import unit
from attn.kernels.recurrent.triangular import inverse_unit_lower, solve_unit_lower
from attn.kernels.tokens import TokenInfo
from attn.masks import Causal

KERNELS = {"retention": Retention(), "gated_delta": GatedDelta()}
FORMS = Retention.implementations
H, HV, C = 4, 3, 8
NEVER = -100.0
"""Of a softplus or a sigmoid: 0 to every digit; and its negative: all of it."""


@pytest.fixture(autouse=True)
def _short_chunks(monkeypatch):
    monkeypatch.setattr(base, "CHUNK", C)


def sequence(T, H=H, HV=HV, dtype=np.float32):
    random = np.random.default_rng(5)
    return [random.normal(size=(T, w)).astype(dtype) for w in (H, H, HV)]


def call(spec, arrays, weights, form, kv_ids=None):
    return spec(
        *arrays, mask=Causal(), weights=weights, kv_info=TokenInfo(kv_ids), form=form
    )


@partial(jax.jit, static_argnames=("spec", "form"))
def run(spec, arrays, weights, form, kv_ids=None):
    return call(spec, arrays, weights, form, kv_ids)


def written(alpha, beta, H=H):
    """Weights with which a gated delta head forgets and writes alike at every token."""
    zeros = np.zeros(H, np.float32)
    return {"w_alpha": zeros, "b_alpha": np.float32(alpha)} | {
        "w_beta": zeros,
        "b_beta": np.float32(beta),
    }


def close(a, b, tolerance=2e-5):
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@partial(jax.jit, static_argnames=("spec", "forms"))
def gradients(spec, arrays, weights, forms, real):
    """Of each form the output, and the gradients of all that it is made of."""
    kv_ids = jnp.where(real, 0, -1)

    def loss(arrays, weights, form):
        out = call(spec, arrays, weights, form, kv_ids)
        return jnp.sin(out).sum(), out

    def graded(form):
        both = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
        (_, out), grads = both(arrays, weights, form)
        return out, grads

    return [graded(form) for form in forms]


@pytest.mark.parametrize("T", [1, exhaustive(2 * C), 2 * C + 3])
@pytest.mark.parametrize("name", KERNELS)
def test_forms_are_equal_in_value_and_gradient(name, T):
    spec, arrays = KERNELS[name], sequence(T)
    weights = naive.own_weights(naive.SPECS[name], H, T)
    # Padding in the middle too: it writes nothing wherever it stands.
    real = np.arange(T) % 5 != 3
    found = gradients(spec, arrays, weights, FORMS, real)
    for other in found[1:]:
        for a, b in zip(*map(jax.tree.leaves, (found[0], other)), strict=True):
            close(b, a, 5e-5)
    seen = naive.visible(spec, T, T, True, real)
    exact = [np.asarray(x, np.float64) for x in (*arrays, *weights.values())]
    own = dict(zip(weights, exact[3:], strict=True))
    close(found[2][0], naive.define(spec, *exact[:3], seen, own))


@pytest.mark.exhaustive
@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", KERNELS)
def test_float64_stays_float64(name, form):
    T, spec = 2 * C + 3, KERNELS[name]
    drawn = naive.own_weights(naive.SPECS[name], H, T)
    with jax.enable_x64(True):
        arrays = sequence(T, dtype=np.float64)
        weights = {n: np.asarray(w, np.float64) for n, w in drawn.items()}
        out = np.asarray(run(spec, arrays, weights, form))
    assert out.dtype == np.float64
    seen = naive.visible(spec, T, T, True)
    close(out, naive.define(spec, *arrays, seen, weights), 1e-12)


@pytest.mark.parametrize("name", KERNELS)
def test_decoding_goes_on_where_the_whole_sequence_ends(name):
    spec, T = KERNELS[name], 2 * C + 3
    arrays, weights = sequence(T), naive.own_weights(naive.SPECS[name], H, T)

    @jax.jit
    def both(arrays, weights):
        def step(state, x):
            return spec.step(state, *x, weights=weights)

        whole = call(spec, arrays, weights, "chunked")
        return whole, jax.lax.scan(step, spec.begin(H, HV), tuple(arrays))

    whole, (state, out) = both(arrays, weights)
    assert state.shape == (H, HV)
    close(out, whole)


@pytest.mark.parametrize("form", FORMS)
@pytest.mark.parametrize("name", KERNELS)
def test_long_sequences_stay_finite_however_fast_they_are_forgotten(name, form):
    T, spec = 300 if form == "parallel" else 2000, KERNELS[name]
    for pace in (-30.0, 30.0):
        fast = written(pace, 2.0)
        weights = {"decay": np.float32(pace)} if name == "retention" else fast
        real = np.full(T, True)
        ((out, grads),) = gradients(spec, sequence(T), weights, (form,), real)
        assert all(np.isfinite(x).all() for x in jax.tree.leaves((out, grads)))
        assert np.abs(out[-1]).max() > 1e-3


def test_heads_forget_as_fast_as_in_the_paper():
    sizes = {"head_dim": H, "kv_len": 9}

    @jax.jit
    def made():
        drawn = Retention().init_heads(jax.random.key(0), 8, **sizes)
        first = Retention().init(jax.random.key(1), **sizes)
        decay = drawn["decay"]
        return drawn, first, jax.nn.sigmoid(decay), -jax.nn.log_sigmoid(decay)

    drawn, first, gamma, paces = jax.device_get(made())
    close(gamma, [31 / 32, 63 / 64, 127 / 128, *(1 - 2.0 ** -np.arange(8, 13))], 1e-7)
    np.testing.assert_allclose(paces[-1], 2.0**-12, rtol=1e-3)
    assert first["decay"] == drawn["decay"][0]


def test_gated_delta_begins_by_forgetting_slowly_and_heads_differ():
    init = partial(GatedDelta().init_heads, num_heads=64, head_dim=H, kv_len=9)
    drawn = jax.device_get(jax.jit(init)(jax.random.key(0)))
    alpha = np.exp(-np.logaddexp(0, drawn["b_alpha"]))
    assert alpha.min() >= np.exp(-0.1001)
    assert alpha.max() <= np.exp(-0.00099)
    assert alpha.std() > 0.01


@pytest.mark.parametrize("form", FORMS)
def test_retention_that_forgets_nothing_is_linear_attention_of_the_raw_keys(form):
    q, k, v = sequence(2 * C + 3)
    out = run(Retention(), (q, k, v), {"decay": np.float32(-NEVER)}, form)
    close(out, np.tril(q @ k.T) @ v * H**-0.5)


@pytest.mark.parametrize("form", FORMS)
def test_retention_forgets_by_distance_alone(form):
    T = 2 * C + 3
    q, k, v = (np.ones((T, w), np.float32) for w in (H, H, HV))
    k[1:] = 0.0
    out = run(Retention(), (q, k, v), {"decay": np.float32(0.0)}, form)
    close(np.asarray(out)[:, 0], H**0.5 * 0.5 ** np.arange(T), 1e-6)


@pytest.mark.parametrize("form", FORMS)
def test_gated_delta_stores_a_value_by_its_key_and_overwrites_it(form):
    W = 2 * C
    random = np.random.default_rng(1)
    keys = np.linalg.qr(random.normal(size=(W, W)))[0].astype(np.float32)
    first, second = random.normal(size=(2, W, HV)).astype(np.float32)
    # Every key once, then every other one again: longer, with another value.
    k = np.concatenate([keys, np.float32(3.0) * keys[::2]])
    v = np.concatenate([first, second[::2]])
    expected = first.copy()
    expected[::2] = second[::2]
    # Then padding, whose queries read each key.
    everything = np.concatenate([k, keys])
    blank = np.concatenate([v, np.zeros_like(first)])
    ids = np.where(np.arange(len(blank)) < len(v), 0, -1)
    arrays = everything, everything, blank
    out = np.asarray(run(GatedDelta(), arrays, written(NEVER, -NEVER, W), form, ids))
    close(out[:W], first)
    close(out[len(v) :], expected)


@pytest.mark.parametrize("form", FORMS)
def test_gated_delta_clears_all_where_alpha_is_nothing(form):
    q, k, v = sequence(2 * C + 3)
    out = run(GatedDelta(), (q, k, v), written(-NEVER, -NEVER), form)
    alone = jax.jit(lambda q, k: (unit(q) * unit(k)).sum(axis=1, keepdims=True))(q, k)
    close(out, np.asarray(alone) * v)


@pytest.mark.parametrize("beta", [0.0, 5.0, -NEVER])
@pytest.mark.parametrize("form", FORMS)
def test_one_key_repeated_two_hundred_times_stays_accurate(form, beta):
    T, spec = 200, GatedDelta()
    q, k, v = sequence(T)
    arrays = q, np.broadcast_to(k[:1], k.shape), v
    weights = written(-3.0, beta)
    ((out, grads),) = gradients(spec, arrays, weights, (form,), np.full(T, True))
    exact = [np.asarray(x, np.float64) for x in arrays]
    own = {n: np.asarray(w, np.float64) for n, w in weights.items()}
    close(out, naive.define(spec, *exact, naive.visible(spec, T, T, True), own), 1e-5)
    assert all(np.abs(g).max() < 1e3 for g in grads[0])


@pytest.mark.parametrize("form", FORMS)
def test_keys_and_queries_of_nothing_read_nothing_and_have_finite_gradients(form):
    q, k, v = sequence(C + 3)
    q[2] = k[4] = 0.0
    weights, real = naive.own_weights(GatedDelta(), H, C + 3), np.full(C + 3, True)
    found = gradients(GatedDelta(), [q, k, v], weights, (form,), real)
    ((out, grads),) = jax.device_get(found)
    assert (out[2] == 0).all()
    assert all(np.isfinite(g).all() for g in jax.tree.leaves(grads))
    assert (grads[0][0][2] == 0).all()


@pytest.mark.parametrize("size", [1, 2, 3, 8, 13])
def test_a_triangular_system_is_solved_with_its_gradients(size):
    random = np.random.default_rng(0)
    low = np.tril(random.normal(size=(3, size, size)), -1)
    b, cotangent = random.normal(size=(2, 3, size, 2))
    whole = np.eye(size) + low

    @jax.jit
    def solved(low, rhs, pulled):
        out, pull = jax.vjp(solve_unit_lower, low, rhs)
        return inverse_unit_lower(low), out, pull(pulled)

    inverse, out, pulled = solved(*map(np.float32, (low, b, cotangent)))
    close(inverse, np.linalg.inv(whole), 1e-4)
    x = np.linalg.solve(whole, b)
    of_b = np.linalg.solve(whole.mT, cotangent)
    close(out, x, 1e-4)
    for mine, wanted in zip(pulled, (-of_b @ x.mT, of_b), strict=True):
        np.testing.assert_allclose(mine, wanted, rtol=1e-3, atol=1e-3)
