"""The forms of one mechanism compute the same thing, in values and in gradients.

Each of them rounds in its own order, so in float64 a true difference is told apart.
"""

import jax
import jax.numpy as jnp
import naive
import numpy as np
import pytest
from tiny import exhaustive, quick_compiles

from attn.kernels import KERNELS
from attn.kernels.tokens import TokenInfo
from attn.masks import FULL, Causal

H, HV = 4, 3
MASKS = {"bidirectional": FULL, "causal": Causal()}
TOLERANCE = {"float32": 1e-4, "float64": 1e-11}
"""Of the largest number of an output or of a gradient."""
LENGTHS = [(130, 130), (70, 100), (100, 70)]
"""Over several chunks, the last of which is not full; of two, more keys or queries."""

FORMED = [n for n in KERNELS if len(KERNELS[n].implementations) > 1]
FORMED = [n for n in FORMED if not KERNELS[n].over_all_heads]
CASES = [
    (name, shape, lengths, dtype)
    if dtype == "float64"
    else exhaustive(name, shape, lengths, dtype)
    for name in FORMED
    for shape in MASKS
    for lengths in LENGTHS
    for dtype in TOLERANCE
    if shape in KERNELS[name].can
    and (lengths[0] == lengths[1] or "cross" in KERNELS[name].can)
    and (lengths[0] == lengths[1] or dtype == "float64")
]


@pytest.fixture(scope="module", autouse=True)
def _quickly():
    with quick_compiles():
        yield


def values_and_gradients(spec, form, mask, weights, lengths, dtype):
    """Output and the gradients for q, k, v and for what is trained, with padding."""
    (T, S), random = lengths, np.random.default_rng(5)
    Hv = naive.value_width(spec, H, HV)
    shapes = {"q": (T, H), "k": (S, H), "v": (S, Hv)}
    arrays = {n: jnp.asarray(random.normal(size=s), dtype) for n, s in shapes.items()}
    cotangent = jnp.asarray(random.normal(size=(T, Hv)), dtype)
    weights = {n: jnp.asarray(w, dtype) for n, w in weights.items()}
    trained = weights if spec.owns == "weights" else {}
    options = {"mask": mask, "form": form}
    if "key_padding" in spec.can:
        # The first key too: under Causal() the first query then sees nothing.
        padding = np.isin(np.arange(S), [0, 40, 41, S - 1])
        options["kv_info"] = TokenInfo(mask=~jnp.asarray(padding))

    def loss(everything):
        q, k, v = (everything[n] for n in shapes)
        own = {n: everything.get(n, w) for n, w in weights.items()}
        out = spec(q, k, v, **options, **({"weights": own} if own else {}))
        return (out * cotangent).sum(), out

    (_, out), grads = jax.jit(jax.value_and_grad(loss, has_aux=True))(arrays | trained)
    return {"out": out} | grads


@pytest.mark.parametrize(("name", "shape", "lengths", "dtype"), CASES, ids=str)
def test_every_form_is_the_first_one(name, shape, lengths, dtype):
    spec = naive.SPECS[name]
    weights = naive.own_weights(spec, H, lengths[1])
    with jax.enable_x64(dtype == "float64"):
        first, *others = (
            values_and_gradients(spec, form, MASKS[shape], weights, lengths, dtype)
            for form in spec.implementations
        )
    assert first["out"].dtype == dtype
    for other in others:
        for leaf, expected in first.items():
            bound = TOLERANCE[dtype] * np.abs(expected).max()
            np.testing.assert_allclose(
                other[leaf], expected, rtol=0, atol=bound, err_msg=leaf
            )


@pytest.mark.parametrize(
    ("name", "form"),
    [
        (n, f)
        for n in FORMED
        if "causal" in KERNELS[n].can
        for f in naive.SPECS[n].implementations
    ],
)
def test_large_later_tokens_do_not_round_an_earlier_output(name, form):
    spec, random = naive.SPECS[name], np.random.default_rng(6)
    T, t = 130, 70
    widths = H, H, naive.value_width(spec, H, HV)
    q, k, v = (random.normal(size=(T, U)).astype(np.float32) for U in widths)
    weights = naive.own_weights(spec, H, T)
    own = {"weights": weights} if weights else {}
    run = jax.jit(lambda *x: spec(*x, mask=Causal(), form=form, **own))
    before = run(q, k, v)[:t]
    later = np.arange(T)[:, None] >= t
    after = run(
        *(np.where(later, big * x, x) for big, x in ((1, q), (-1, k), (1e8, v)))
    )
    np.testing.assert_allclose(after[:t], before, rtol=1e-5, atol=1e-6)
