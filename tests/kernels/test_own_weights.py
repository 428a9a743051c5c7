"""Weights that kernels own: as many as declared, drawn apart, each head its own."""

from itertools import combinations

import jax
import naive
import numpy as np
import pytest
from promised import H, T, base_mask, compiled, inputs, stacked

from attn.attention import attend
from attn.errors import UserError
from attn.kernels import KERNELS


@pytest.mark.parametrize("name", KERNELS)
def test_weights_are_as_many_as_declared_and_are_drawn_apart(name):
    spec = naive.SPECS[name]
    sizes = {"head_dim": H, "kv_len": T}

    def drawn():
        keys = [jax.random.key(seed) for seed in (0, 1)]
        return *(spec.init(key, **sizes) for key in keys), spec.init_heads(
            keys[0], 2, **sizes
        )

    a, b, heads = compiled(drawn)
    trained = a if spec.owns == "weights" else {}
    assert sum(w.size for w in trained.values()) == spec.num_weights(H, T)
    assert bool(a) == (spec.owns != "nothing")
    if a:
        differ = any(not np.array_equal(a[leaf], b[leaf]) for leaf in a)
        assert differ == naive.ORACLES[name].drawn
        assert any(not np.array_equal(*w) for w in heads.values())
    random = [np.ravel(w) for w in a.values() if w.std() > 0]
    for x, y in combinations(random, 2):
        # What is drawn by one key begins alike, whatever its shape and its size.
        n = min(x.size, y.size)
        assert n < 3 or np.corrcoef(x[:n], y[:n])[0, 1] < 0.999


@pytest.mark.parametrize(
    "name", [n for n in KERNELS if naive.SPECS[n].owns != "nothing"]
)
def test_every_head_computes_with_its_own_weights(name):
    spec = naive.SPECS[name]
    (q, k, v), weights = inputs(spec)
    same = [np.repeat(x[:, :, :1], 2, axis=2) for x in (q, k, v)]
    run = jax.jit(lambda a, w: attend(spec, *a, weights=w, **base_mask(spec)))
    weights = jax.device_get(weights)
    out, flipped = (
        jax.device_get(run(same, {n: w[::step] for n, w in weights.items()}))
        for step in (1, -1)
    )
    assert np.abs(out[:, :, 0] - out[:, :, 1]).max() > 1e-3
    np.testing.assert_allclose(flipped, out[:, :, ::-1], rtol=1e-6, atol=1e-6)


@pytest.mark.parametrize(
    "name", [n for n in KERNELS if naive.SPECS[n].owns != "nothing"]
)
def test_weights_are_asked_for_and_refused_where_none_are_owned(name):
    spec = naive.SPECS[name]
    arrays, weights = inputs(spec)
    with pytest.raises(UserError, match="weights were not given"):
        jax.eval_shape(lambda *a: attend(spec, *a, **base_mask(spec)), *arrays)
    with pytest.raises(UserError, match="owns nothing, and weights were given"):
        jax.eval_shape(
            lambda *a: attend(naive.SPECS["softmax"], *a, weights=weights), *arrays
        )


def test_linformer_refuses_a_sequence_longer_than_it_was_made_for():
    spec = naive.SPECS["linformer"]
    arrays, _ = inputs(spec, S=T + 1)
    with pytest.raises(UserError, match=f"kv_len = {T + 1}"):
        jax.eval_shape(lambda *a: attend(spec, *a, weights=stacked(spec, T)), *arrays)
