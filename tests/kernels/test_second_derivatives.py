"""A gradient through tiles can be differentiated again, and equals the definition's."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn.attention import attend
from attn.kernels import Softmax
from attn.kernels.blockwise import blockwise_attention
from attn.kernels.scoring import Scoring
from attn.kernels.tokens import TokenInfo
from attn.masks import FULL, Causal
from attn.positions import RelativeBias, T5Bias

B, T, K, G, H, HV = 2, 9, 1, 2, 3, 2
SOFTCAP = 1.5
IDS = {
    "q_ids": jnp.asarray(np.arange(B * T).reshape(B, T) % 2),
    "kv_ids": jnp.asarray(np.arange(B * T).reshape(B, T) % 3 - 1),
}
POSITIONS = {
    "q_positions": jnp.asarray(np.arange(B * T).reshape(B, T) * 4 % 11),
    "kv_positions": jnp.asarray(np.arange(B * T).reshape(B, T) * 5 % 11),
}
CASES = {
    "t5, sinks and positions": (Causal(), POSITIONS),
    # The first gradient is by q, k and v alone: only the second is by the bias.
    "bias, segments and padding": (FULL, IDS),
}
"""Mask, and what is known of the tokens."""


@pytest.fixture(scope="module", autouse=True)
def _quickly():
    with jax.enable_x64(True):
        yield


@cache
def inputs(case):
    """q, k, v, bias and sinks; and a direction of each."""
    random = np.random.default_rng(4)

    def normal(*shape):
        return jnp.asarray(random.normal(size=shape))

    def draw():
        arrays = normal(B, T, K, G, H), normal(B, T, K, H), normal(B, T, K, HV)
        if "t5" in case:
            return *arrays, T5Bias(normal(K, G, 8)), normal(K, G)
        return *arrays, normal(1, K, G, T, T), None

    return draw(), draw()


def tiles(mask, known, q, k, v, bias, sinks):
    """The same call of N heads, laid out as `definition` has them."""

    def of_heads(x, axis):
        return x.reshape(*x.shape[:axis], -1, *x.shape[axis + 2 :])

    of_bias = 0 if isinstance(bias, RelativeBias) else 1
    out, lse = blockwise_attention(
        of_heads(q, 2),
        k,
        v,
        mask=mask,
        scoring=Scoring(
            softcap=SOFTCAP,
            bias=jax.tree.map(lambda x: of_heads(x, of_bias), bias),
            sinks=None if sinks is None else of_heads(sinks, 0),
        ),
        q_info=TokenInfo(known.get("q_ids"), known.get("q_positions")),
        kv_info=TokenInfo(known.get("kv_ids"), known.get("kv_positions")),
        blocks=(4, 4),
    )
    return out.reshape(B, T, K, G, -1), lse.reshape(B, T, K, G)


def definition(mask, known, q, k, v, bias, sinks):
    """Softmax attention over the whole map, [B, K, G, T, T]."""
    index = jnp.broadcast_to(jnp.arange(T)[None], (B, T))
    at_q, at_k = (known.get(f"{x}_positions", index) for x in ("q", "kv"))
    scores = jnp.einsum("btkgh,bskh->bkgts", q, k) * H**-0.5
    if isinstance(bias, RelativeBias):
        bias = jax.vmap(bias.at)(at_k[:, None, :] - at_q[:, :, None])
    scores = SOFTCAP * jnp.tanh((scores if bias is None else scores + bias) / SOFTCAP)
    seen = mask.predicate(at_q[:, :, None], at_k[:, None, :])
    if "q_ids" in known:
        seen = seen & (known["q_ids"][:, :, None] == known["kv_ids"][:, None, :])
    seen = jnp.broadcast_to(seen, (B, T, T))[:, None, None]
    weights = jnp.where(seen, jnp.exp(scores), 0.0)
    total = weights.sum(axis=-1)
    total = total if sinks is None else total + jnp.exp(sinks)[None, ..., None]
    blind = total == 0
    total = jnp.where(blind, 1.0, total)
    out = jnp.einsum("bkgts,bskv->btkgv", weights / total[..., None], v)
    return out, jnp.moveaxis(jnp.where(blind, -jnp.inf, jnp.log(total)), -1, 1)


def gradient(run, case):
    """(inputs) to the first gradient of a loss of both outputs."""
    mask, known = CASES[case]

    def loss(inputs):
        out, lse = run(mask, known, *inputs)
        lse = jnp.where(lse == -jnp.inf, 0.0, lse)
        return jnp.sin(2 * out).sum() + jnp.square(lse).sum()

    if "t5" in case:
        return jax.grad(loss)
    return lambda inputs: jax.grad(lambda x: loss((*x, *inputs[3:])))(inputs[:3])


def second(run, case):
    """The gradient, by all inputs, of the first gradient along a direction."""
    direction = jax.tree.leaves(inputs(case)[1])

    def along(inputs):
        leaves = jax.tree.leaves(gradient(run, case)(inputs))
        return sum((x * d).sum() for x, d in zip(leaves, direction))

    return jax.jit(jax.grad(along))(inputs(case)[0])


@cache
def expected(case):
    return second(definition, case)


def assert_equal(got, wanted):
    assert jax.tree.structure(got) == jax.tree.structure(wanted)
    for x, y in zip(jax.tree.leaves(got), jax.tree.leaves(wanted), strict=True):
        assert np.abs(y).max() > 1e-3
        np.testing.assert_allclose(x, y, rtol=1e-9, atol=1e-9)


@pytest.mark.parametrize("case", CASES)
def test_reverse_over_reverse_equals_the_definition(case):
    assert_equal(second(tiles, case), expected(case))


def test_forward_over_reverse_equals_the_definition():
    case = "t5, sinks and positions"
    point, direction = inputs(case)
    product = jax.jit(lambda x, d: jax.jvp(gradient(tiles, case), (x,), (d,))[1])
    assert_equal(product(point, direction), expected(case))


def test_forward_mode_of_a_call_needs_the_definition():
    shape = jax.ShapeDtypeStruct((1, 4096, 1, H), jnp.float32)

    def along(x, impl):
        run = partial(attend, Softmax(), mask=Causal(), impl=impl)
        return jax.jvp(lambda x: run(x, x, x), (x,), (jnp.cos(x),))[1]

    with pytest.raises(TypeError, match=r"forward-mode autodiff \(jvp\)"):
        jax.jit(partial(along, impl="auto")).lower(shape)
    lowered = jax.jit(partial(along, impl="dense")).lower(shape)
    assert lowered.out_info.shape == shape.shape
    assert 'needs impl="dense"' in " ".join(attend.__doc__.split())
    x = jnp.asarray(np.random.default_rng(0).normal(size=(1, T, 1, H)))
    ahead = jax.jacfwd(lambda x: attend(Softmax(), x, x, x, impl="dense"))(x)
    back = jax.jacrev(lambda x: attend(Softmax(), x, x, x, impl="blockwise"))(x)
    np.testing.assert_allclose(ahead, back, atol=1e-9)
