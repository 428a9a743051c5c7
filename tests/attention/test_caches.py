"""Caches of keys and of states: what they hold, what a step changes, what is refused."""

import jax
import jax.numpy as jnp
import naive
import numpy as np
import pytest
import tiny
from decoded import B, H, K, N, P, T, numbers, prompts_of, sequences

from attn import kernels
from attn.attention.decode import begin, fill, step
from attn.errors import UserError
from attn.kernels import KERNELS, Kernel, TokenInfo
from attn.masks import FULL, Causal, Prefix, Window
from attn.positions import Alibi, alibi_slopes

STATES = [
    name
    for name, spec in KERNELS.items()
    if "decoding" in spec.can and spec.keeps == "state"
]


@pytest.mark.parametrize("name", STATES)
def test_a_prompt_leaves_the_state_that_its_real_tokens_leave_one_by_one(name):
    spec, L = naive.SPECS[name], 131
    random, weights = (
        np.random.default_rng(5),
        naive.own_weights(naive.SPECS[name], H, T),
    )
    arrays = [random.normal(size=(L, H)).astype(np.float32) for _ in range(3)]
    # Padding in front, inside, and over a whole chunk; what it holds is no number.
    real = (np.arange(L) % 7 != 2) & (np.arange(L) > 66)
    arrays = [np.where(real[:, None], x, np.nan) for x in arrays]

    @jax.jit
    def both(arrays, real, weights):
        return [
            form(spec, *arrays, real, weights=weights)
            for form in (type(spec).absorb, Kernel.absorb)
        ]

    at_once, by_steps = jax.device_get(both(arrays, real, weights))
    for a, b in zip(*map(jax.tree.leaves, (at_once, by_steps)), strict=True):
        np.testing.assert_allclose(a, b, rtol=2e-5, atol=2e-5)


@pytest.mark.parametrize(
    "spec", [kernels.WindowAttention(width=3), kernels.Linear()], ids=str
)
def test_a_row_that_is_done_keeps_its_cache_and_others_do_not(spec):
    arrays, _ = sequences(spec)
    widths = H, arrays[2].shape[-1]
    empty = begin(spec, Causal(), B, T, heads=(N, K), widths=widths, dtype="bfloat16")

    @jax.jit
    def run(arrays, cache):
        for at in range(5):
            token = [x[:, at : at + 1] for x in arrays]
            positions, active = jnp.full((B, 1), at), jnp.array([True, at < 4, True])
            before = cache
            _, cache = step(
                spec, *token, cache, mask=Causal(), positions=positions, active=active
            )
        return before, cache

    before, after = run(arrays, empty)
    leaves = [jax.tree.leaves(cache) for cache in (empty, before, after)]
    for start, old, new in zip(*leaves, strict=True):
        assert new.dtype == start.dtype
        changed = np.asarray(old != new).reshape(B, -1).any(axis=1)
        assert changed.tolist() == [True, False, True]


def test_a_choice_that_breaks_ties_by_order_keeps_its_keys_in_order():
    mask = Causal() & Window(3, 0)
    cache = begin(kernels.TopK(num_keys=2), mask, B, T, heads=(N, K), widths=(H, 3))
    assert cache.k.shape == (B, K, T, H)
    softmax = begin(kernels.Softmax(), mask, B, T, heads=(N, K), widths=(H, 3))
    assert softmax.k.shape == (B, K, 4, H)


def test_values_that_are_part_of_the_keys_are_kept_once():
    random, spec, Hv = np.random.default_rng(6), kernels.Softmax(), 3
    q, k = (random.normal(size=(B, T, n, H)).astype(np.float32) for n in (N, 1))
    info = TokenInfo(lengths=jnp.full(B, T - 1))

    @jax.jit
    def run(q, k):
        new = {"mask": Causal(), "positions": jnp.full((B, 1), T - 1)}
        outs, caches = [], []
        for v, latent in ((None, True), (k[..., :Hv], False)):
            cache = begin(
                spec, Causal(), B, T, heads=(N, 1), widths=(H, Hv), latent=latent
            )
            cache = fill(spec, q, k, v, cache, mask=Causal(), info=info)
            last = None if v is None else v[:, -1:]
            out, cache = step(spec, q[:, -1:], k[:, -1:], last, cache, **new)
            outs.append(out)
            caches.append(cache)
        return outs, caches

    (out, expected), (cache, _) = run(q, k)
    np.testing.assert_array_equal(out, expected)
    assert numbers(cache) == spec.state_size(T, H, 0, Causal())


def test_a_step_in_a_loop_copies_no_cache():
    spec, shape = kernels.Softmax(), (2, 2, 256, 8)
    cache = begin(spec, Causal(), 2, 256, heads=(4, 2), widths=(8, 8))
    assert cache.k.shape == shape

    def loop(cache, q):
        def body(n, carry):
            q, cache = carry
            k, v = q[:, :, :2], q[:, :, 2:]
            positions = jnp.full((2, 1), n)
            return step(spec, q, k, v, cache, mask=Causal(), positions=positions)

        return jax.lax.fori_loop(0, 256, body, (q, cache))

    q = jax.ShapeDtypeStruct((2, 1, 4, 8), jnp.float32)
    with tiny.full_compiles():
        compiled = jax.jit(loop, donate_argnums=0).lower(cache, q).compile()
    cached = f"f32[{','.join(map(str, shape))}]"
    lines = [line for line in compiled.as_text().splitlines() if cached in line]
    assert any("scatter" in line or "dynamic-update-slice" in line for line in lines)
    assert not [line for line in lines if " copy(" in line]


@pytest.mark.parametrize(
    ("spec", "mask", "more", "message"),
    [
        (kernels.Softmax(), FULL, {}, "later keys"),
        (kernels.Linear(), FULL, {}, "later keys"),
        (kernels.WindowAttention(width=3), Causal() | Prefix(4), {}, "later keys"),
        (kernels.Linear(), Causal() & Window(3, 0), {}, "cannot do 'any_mask'"),
        (kernels.MoBA(), Causal(), {}, "cannot do 'decoding'"),
        (kernels.Linear(), Causal(), {"latent": True}, "keeps a state and no keys"),
    ],
    ids=str,
)
def test_what_cannot_be_decoded_is_refused_as_the_cache_is_made(
    spec, mask, more, message
):
    with pytest.raises(UserError, match=message):
        begin(spec, mask, B, T, heads=(N, K), widths=(H, H), **more)


@pytest.mark.parametrize(
    ("name", "L", "info", "message"),
    [
        (
            "window",
            P - 1,
            {},
            f"T = {P} tokens and the cache was begun for L = {P - 1}",
        ),
        ("linear", T, {"segment_ids": jnp.zeros}, "one sequence a row"),
        ("softmax", T, {"segment_ids": jnp.zeros}, "one sequence a row"),
    ],
)
def test_a_prompt_that_does_not_fit_is_refused(name, L, info, message):
    spec = naive.SPECS[name]
    arrays, _ = sequences(spec)
    cache = begin(spec, Causal(), B, L, heads=(N, K), widths=(H, 3))
    info = TokenInfo(**{key: make((B, P), jnp.int32) for key, make in info.items()})
    with pytest.raises(UserError, match=message):
        fill(spec, *map(prompts_of, arrays), cache, mask=Causal(), info=info)


@pytest.mark.parametrize(("option", "value"), [("scale", 2.0), ("bias", "alibi")])
def test_a_state_is_not_decoded_with_what_its_kernel_does_not_take(option, value):
    spec = kernels.Linear()
    arrays, _ = sequences(spec)
    cache = begin(spec, Causal(), B, T, heads=(N, K), widths=(H, 3))
    given = {option: Alibi(alibi_slopes(N)) if value == "alibi" else value}
    token = [jnp.asarray(x[:, :1]) for x in arrays]
    at = jnp.zeros((B, 1), jnp.int32)
    with pytest.raises(UserError, match=f"'linear' cannot do '{option}'"):
        step(spec, *token, cache, mask=Causal(), positions=at, **given)
