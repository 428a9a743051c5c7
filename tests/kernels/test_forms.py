"""The forms of one mechanism compute the same thing, in values and in gradients.

Each of them rounds in its own order, so in float64 a true difference is told apart.
"""

import jax
import naive
import numpy as np
import pytest
from tiny import exhaustive

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
SHAPES = {n: [s for s in MASKS if s in KERNELS[n].can] for n in FORMED}


def always(name, shape, lengths, dtype):
    """Each shape in float64; more keys under the first one, more queries under the last."""
    of = {LENGTHS[1]: SHAPES[name][0], LENGTHS[2]: SHAPES[name][-1]}
    return dtype == "float64" and of.get(lengths, shape) == shape


CASES = [
    case if always(*case) else exhaustive(*case)
    for name in FORMED
    for shape in SHAPES[name]
    for lengths in LENGTHS
    for dtype in TOLERANCE
    if (lengths[0] == lengths[1] or "cross" in KERNELS[name].can)
    and (lengths[0] == lengths[1] or dtype == "float64")
    for case in [(name, shape, lengths, dtype)]
]


def values_and_gradients(spec, mask, weights, lengths, dtype):
    """Of each form, the output and the gradients for q, k, v and for what is trained.

    With padding.
    """
    (T, S), random = lengths, np.random.default_rng(5)
    Hv = naive.value_width(spec, H, HV)
    shapes = {"q": (T, H), "k": (S, H), "v": (S, Hv)}
    arrays = {n: random.normal(size=s).astype(dtype) for n, s in shapes.items()}
    cotangent = random.normal(size=(T, Hv)).astype(dtype)
    weights = {n: np.asarray(w).astype(dtype) for n, w in weights.items()}
    trained = weights if spec.owns == "weights" else {}
    # The first key too: under Causal() the first query then sees nothing.
    real = ~np.isin(np.arange(S), [0, 40, 41, S - 1])

    def loss(everything, weights, cotangent, real, form):
        q, k, v = (everything[n] for n in shapes)
        own = {n: everything.get(n, w) for n, w in weights.items()}
        options = {"weights": own} if own else {}
        if "key_padding" in spec.can:
            options["kv_info"] = TokenInfo(mask=real)
        out = spec(q, k, v, mask=mask, form=form, **options)
        return (out * cotangent).sum(), out

    def of_all_forms(*args):
        found = {}
        for form in spec.implementations:
            (_, out), grads = jax.value_and_grad(loss, has_aux=True)(*args, form)
            found[form] = {"out": out} | grads
        return found

    run = jax.jit(of_all_forms)
    return jax.device_get(run(arrays | trained, weights, cotangent, real))


@pytest.mark.parametrize(("name", "shape", "lengths", "dtype"), CASES, ids=str)
def test_every_form_is_the_first_one(name, shape, lengths, dtype):
    spec = naive.SPECS[name]
    weights = naive.own_weights(spec, H, lengths[1])
    with jax.enable_x64(dtype == "float64"):
        found = values_and_gradients(spec, MASKS[shape], weights, lengths, dtype)
    first, *others = (found[form] for form in spec.implementations)
    assert first["out"].dtype == dtype
    for other in others:
        for leaf, expected in first.items():
            bound = TOLERANCE[dtype] * np.abs(expected).max()
            np.testing.assert_allclose(
                other[leaf], expected, rtol=0, atol=bound, err_msg=leaf
            )


@pytest.mark.parametrize("name", [n for n in FORMED if "causal" in KERNELS[n].can])
def test_large_later_tokens_do_not_round_an_earlier_output(name):
    spec, random = naive.SPECS[name], np.random.default_rng(6)
    T, t = 130, 70
    widths = H, H, naive.value_width(spec, H, HV)
    arrays = [random.normal(size=(T, U)).astype(np.float32) for U in widths]
    weights = naive.own_weights(spec, H, T)

    @jax.jit
    def run(arrays, weights):
        own = {"weights": weights} if weights else {}
        return {
            form: spec(*arrays, mask=Causal(), form=form, **own)
            for form in spec.implementations
        }

    before = jax.device_get(run(arrays, weights))
    later = np.arange(T)[:, None] >= t
    changed = [
        np.where(later, np.float32(big) * x, x)
        for big, x in zip((1, -1, 1e8), arrays, strict=True)
    ]
    for form, after in jax.device_get(run(changed, weights)).items():
        np.testing.assert_allclose(
            after[:t], before[form][:t], rtol=1e-5, atol=1e-6, err_msg=form
        )
