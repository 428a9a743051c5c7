"""Tile by tile equals the definition, values and all gradients, whatever is asked."""

from dataclasses import dataclass, field, replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiny import full_compiles

from attn.kernels.blockwise import blockwise_attention
from attn.kernels.blockwise.plan import choose_heads
from attn.kernels.blockwise.schedule import choose_block_sizes
from attn.kernels.dense import dense_attention
from attn.kernels.scoring import Scoring
from attn.kernels.tokens import NO_KEY, TokenInfo
from attn.masks import (
    FULL,
    BigBird,
    Blocks,
    Causal,
    Chunk,
    Dilated,
    Fixed,
    Global,
    Mask,
    Prefix,
    Strided,
    Window,
)
from attn.positions import Alibi, RelativeBias, T5Bias


@dataclass(frozen=True)
class Call:
    """The sizes and options of one call, small enough to compile in a blink."""

    T: int = 11
    S: int = 11
    mask: Mask = FULL
    asked: tuple[str, ...] = ()
    B: int = 2
    K: int = 2
    G: int = 2
    Hv: int = 3
    blocks: tuple[int, int] | None = (4, 4)
    whole: bool = False
    size: float = 1.0
    dtype: str = "float64"
    seed: int = field(default=0)

    def inputs(self):
        """q, k, v, bias, sinks; and what is known of the tokens at run time."""
        random = np.random.default_rng(self.seed)
        B, T, S, K, G, H = self.B, self.T, self.S, self.K, self.G, 4

        def normal(*shape):
            return jnp.asarray(random.normal(size=shape).astype(self.dtype))

        biases = {
            "bias": lambda: normal(B, K * G, T, S),
            "shared bias": lambda: normal(1, 1, T, S),
            "alibi": lambda: Alibi(normal(K * G)),
            "t5": lambda: T5Bias(normal(K * G, 8), max_distance=6),
            "causal t5": lambda: T5Bias(normal(K * G, 6), bidirectional=False),
        }
        bias = next(
            (make() for name, make in biases.items() if name in self.asked), None
        )
        sinks = normal(K * G) if "sinks" in self.asked else None
        q = jnp.asarray((self.size * random.normal(size=(B, T, K * G, H))).astype(self.dtype))  # fmt: skip
        k, v = normal(B, S, K, H), normal(B, S, K, self.Hv)
        q_info, kv_info = TokenInfo(), TokenInfo()
        if "segments" in self.asked:
            q_info = TokenInfo(jnp.asarray(random.integers(0, 3, (B, T))))
            kv_info = TokenInfo(jnp.asarray(random.integers(NO_KEY, 3, (B, S))))
        if "padding" in self.asked:
            kv_info = TokenInfo(lengths=jnp.asarray(random.integers(0, S + 1, B)))
        if "positions" in self.asked:
            q_at, kv_at = (random.integers(0, T + S, (B, L)) for L in (T, S))
            q_info = TokenInfo(positions=jnp.asarray(q_at))
            kv_info = TokenInfo(positions=jnp.asarray(kv_at))
        return (q, k, v, bias, sinks), (q_info, kv_info)

    @property
    def softcap(self):
        return 1.5 if "softcap" in self.asked else None


def definition(call, q, k, v, bias, sinks, infos):
    """Softmax attention written out over the whole map, [B, N, T, S]."""
    q_info, kv_info = infos
    q_at, k_at = (
        jnp.arange(L)[None] if info.positions is None else info.positions
        for info, L in ((q_info, call.T), (kv_info, call.S))
    )
    k, v = (jnp.repeat(x, call.G, axis=2) for x in (k, v))
    scores = jnp.einsum("btnh,bsnh->bnts", q, k) * q.shape[-1] ** -0.5
    if isinstance(bias, RelativeBias):
        bias = jax.vmap(bias.at)(k_at[:, None, :] - q_at[:, :, None])
    if bias is not None:
        scores = scores + bias
    if call.softcap:
        scores = call.softcap * jnp.tanh(scores / call.softcap)
    seen = call.mask.predicate(q_at[:, :, None], k_at[:, None, :])
    if kv_info.segment_ids is not None:
        seen = seen & (q_info.segment_ids[:, :, None] == kv_info.segment_ids[:, None])
    if kv_info.lengths is not None:
        seen = seen & (jnp.arange(call.S)[None, None] < kv_info.lengths[:, None, None])
    seen = jnp.broadcast_to(seen, (call.B, call.T, call.S))[:, None]
    scores = jnp.where(seen, scores, -jnp.inf)
    if sinks is not None:
        extra = jnp.broadcast_to(sinks[None, :, None, None], (*scores.shape[:-1], 1))
        scores = jnp.concatenate([scores, extra], axis=-1)
    blind = (scores == -jnp.inf).all(axis=-1, keepdims=True)
    scores = jnp.where(blind, 0.0, scores)
    lse = jax.nn.logsumexp(scores, axis=-1, keepdims=True)
    weights = jnp.where(blind, 0.0, jnp.exp(scores - lse))[..., : call.S]
    lse = jnp.where(blind, -jnp.inf, lse)[..., 0]
    return jnp.einsum("bnts,bsnv->btnv", weights, v), jnp.moveaxis(lse, -1, 1)


def tiles(call, q, k, v, bias, sinks, infos):
    return blockwise_attention(
        q,
        k,
        v,
        mask=call.mask,
        scoring=Scoring(softcap=call.softcap, bias=bias, sinks=sinks),
        q_info=infos[0],
        kv_info=infos[1],
        blocks=call.blocks,
        whole=call.whole,
    )


def everything(call, *runs):
    """Output, log-sum-exp, and the gradients of both by all that is differentiable.

    Of each run, by one program.
    """
    inputs, infos = call.inputs()
    shape = (call.B, call.T, call.K * call.G)
    random = np.random.default_rng(9)
    weights = random.normal(size=(*shape, call.Hv)), random.normal(size=shape)

    def graded(run, inputs, infos, weights):
        def loss(*inputs):
            out, lse = run(call, *inputs, infos)
            # As a merge of parts does: a row that sees nothing takes no part.
            own = jnp.where(lse == -jnp.inf, 0.0, lse)
            total = (out.astype(lse.dtype) * weights[0]).sum()
            return total + (own * weights[1]).sum(), (out, lse)

        grad = jax.value_and_grad(loss, argnums=tuple(range(5)), has_aux=True)
        (_, values), grads = grad(*inputs)
        return *values, *grads

    program = jax.jit(lambda *args: [graded(run, *args) for run in runs])
    names = ("out", "lse", "d_q", "d_k", "d_v", "d_bias", "d_sinks")
    return [
        {
            name: np.asarray(jax.tree.leaves(x)[0], np.float64)
            for name, x in zip(names, found)
            if x is not None
        }
        for found in program(inputs, infos, weights)
    ]


def exactly(call):
    """Output and log-sum-exp by the definition in float64, of the inputs as they are."""
    inputs, infos = call.inputs()
    with jax.enable_x64(True):
        exact = jax.tree.map(lambda x: np.asarray(x, np.float64), inputs)
        run = jax.jit(lambda inputs: definition(call, *inputs, infos))
        return jax.device_get(run(exact))


def assert_equal_to_the_definition(call, tolerance=1e-9):
    with jax.enable_x64(True):
        got, expected = everything(call, tiles, definition)
    assert got.keys() == expected.keys()
    for name in got:
        np.testing.assert_allclose(
            got[name], expected[name], tolerance, tolerance, err_msg=f"{name} of {call}"
        )


@pytest.mark.parametrize(
    "call",
    [
        Call(S=6),
        Call(T=5, S=14, mask=Causal(9), G=1),
        Call(T=12, S=12, mask=Causal(-5), Hv=5),
        Call(mask=Causal() & (Window(2, 0) | Global(2)), asked=("softcap",)),
        Call(mask=~Chunk(5), asked=("bias",), blocks=(4, 3)),
        Call(mask=Causal(), asked=("shared bias", "segments"), whole=True),
        Call(mask=Causal() | Prefix(3), asked=("sinks", "padding")),
        Call(mask=Dilated(2, 2, 2), asked=("alibi", "softcap", "sinks")),
        Call(mask=Strided(3) & Causal(), asked=("t5",), blocks=(3, 4)),
        Call(mask=Causal(), asked=("positions", "causal t5")),
        Call(T=12, S=12, mask=BigBird(12, 2, 3, 1, 1), asked=("segments",)),
        Call(T=7, S=10, mask=Blocks(np.eye(4, 5, dtype=bool), 2)),
        Call(mask=Fixed(4, 1) & Causal(), K=1, G=3),
        Call(mask=~FULL, asked=("sinks",)),
        Call(T=1, S=9, mask=Causal(8), asked=("padding",)),
    ],
    ids=lambda call: f"{call.T}x{call.S}-{call.mask}-{'-'.join(call.asked)}",
)
def test_tiles_equal_the_definition_values_and_gradients(call):
    assert_equal_to_the_definition(call)


patterns = st.one_of(
    st.builds(Causal, st.integers(-4, 6)),
    st.builds(Window, st.integers(0, 6), st.integers(0, 6)),
    st.builds(Chunk, st.integers(1, 7)),
    st.builds(Global, st.integers(1, 4)),
    st.builds(Prefix, st.integers(1, 6)),
    st.builds(Strided, st.integers(1, 5)),
)


@st.composite
def compositions(draw):
    """Three patterns under & | ~."""
    first, second, third = (draw(patterns) for _ in range(3))
    inner = second & third if draw(st.booleans()) else second | ~third
    return first & inner if draw(st.booleans()) else first | inner


@settings(
    max_examples=8,
    deadline=None,
    derandomize=True,
    suppress_health_check=[HealthCheck.too_slow],
)
@given(
    call=st.builds(
        Call,
        T=st.integers(1, 13),
        S=st.integers(1, 13),
        mask=compositions(),
        asked=st.lists(
            st.sampled_from(["softcap", "bias", "alibi", "t5", "sinks", "segments"]),
            max_size=2,
        ).map(tuple),
        K=st.sampled_from([1, 2]),
        G=st.sampled_from([1, 3]),
        blocks=st.tuples(st.integers(1, 5), st.integers(1, 5)),
        seed=st.integers(0, 99),
    )
)
def test_compositions_of_three_masks_equal_the_definition(call):
    assert_equal_to_the_definition(call)


def test_groups_of_heads_and_sequences_are_walked_through_or_taken_whole(monkeypatch):
    call = Call(B=4, K=6, G=1, mask=Causal(), asked=("alibi", "bias"))
    monkeypatch.setattr("attn.kernels.blockwise.plan.SCORES_AT_ONCE", 48)
    assert choose_heads(4, 6, 16) == (1, 3)
    assert_equal_to_the_definition(call)
    monkeypatch.setattr("attn.kernels.blockwise.plan.SCORES_AT_ONCE", 12 * 16)
    assert choose_heads(4, 6, 16) == (2, 6)
    assert_equal_to_the_definition(replace(call, asked=("shared bias", "sinks")))


def test_the_bias_has_a_gradient_only_where_it_is_asked_for():
    call = Call(T=64, S=64, asked=("bias",), dtype="float32", blocks=(16, 16))
    inputs, infos = call.inputs()

    def loss(q, bias):
        return tiles(call, q, *inputs[1:3], bias, None, infos)[0].sum()

    q, bias = inputs[0], inputs[3]
    with full_compiles():
        asked = jax.jit(jax.grad(loss, argnums=(0, 1))).lower(q, bias).compile()
        spared = jax.jit(jax.grad(loss)).lower(q, bias).compile()
    # Reading and writing what is as large as the bias, the largest array there is.
    moved = [c.cost_analysis()["bytes accessed"] for c in (spared, asked)]
    assert moved[1] - moved[0] > bias.nbytes


SEGMENTS, REAL = np.repeat(np.arange(3), 4), np.arange(12) < 8
HIDE = {
    "the mask": (Causal(), Causal().dense(12), None, None),
    "segments": (FULL, SEGMENTS[:, None] == SEGMENTS, SEGMENTS, SEGMENTS),
    "padding": (FULL, REAL[None] & np.full((12, 1), True), 0 * SEGMENTS, np.where(REAL, 0, NO_KEY)),
}  # fmt: skip
"""The mask, what is seen, and the segments of queries and keys."""
SPOILED = 9


@cache
def hidden(hidden_by):
    """q, k, v, and a program for outputs and gradients of each implementation."""
    mask, seen, *ids = HIDE[hidden_by]
    random = np.random.default_rng(1)
    arrays = [random.normal(size=(12, 4)).astype(np.float32) for _ in range(3)]
    counted = ~seen[:, SPOILED, None] & np.full((12, 4), True)

    def by_definition(q, k, v):
        own = [None if x is None else jnp.asarray(x) for x in ids]
        infos = dict(zip(("q_info", "kv_info"), map(TokenInfo, own)))
        return dense_attention(q, k, v, mask=mask, **infos)[0]

    def by_tiles(q, k, v):
        all_ids = [None if x is None else jnp.asarray(x)[None] for x in ids]
        infos = dict(zip(("q_info", "kv_info"), map(TokenInfo, all_ids)))
        arrays = (x[None, :, None] for x in (q, k, v))
        out, _ = blockwise_attention(*arrays, mask=mask, blocks=(4, 4), **infos)
        return out[0, :, 0]

    @jax.jit
    def graded(*arrays):
        found = {}
        for kind, run in (("tiles", by_tiles), ("definition", by_definition)):
            out, pull = jax.vjp(run, *arrays)
            # Only queries that do not see it count.
            found[kind] = out, pull(counted.astype(out.dtype))
        return found

    return arrays, lambda *arrays: jax.device_get(graded(*arrays))


@pytest.mark.parametrize("bad", [np.nan, np.inf, -np.inf])
@pytest.mark.parametrize("kind", ["tiles", "definition"])
@pytest.mark.parametrize("hidden_by", HIDE)
def test_a_hidden_value_that_is_not_finite_reaches_nobody(hidden_by, kind, bad):
    (q, k, v), graded = hidden(hidden_by)
    safe = ~HIDE[hidden_by][1][:, SPOILED]
    assert safe.any()
    changed = v.copy()
    changed[SPOILED] = bad
    clean, dirty = (graded(q, k, x)[kind] for x in (v, changed))
    np.testing.assert_array_equal(dirty[0][safe], clean[0][safe])
    if hidden_by != "padding":
        assert not np.isfinite(dirty[0][~safe]).any()
    for a, b in zip(dirty[1], clean[1]):
        np.testing.assert_array_equal(a, b)


@pytest.mark.parametrize("mask", [~FULL, Causal(-5)], ids=["none", "blind rows"])
def test_a_row_that_sees_nothing_is_zero_with_zero_gradient(mask):
    call = Call(T=12, S=12, mask=mask, dtype="float32")
    (got,) = everything(call, tiles)
    blind, unseen = ~mask.dense(12).any(axis=1), ~mask.dense(12).any(axis=0)
    assert (got["out"][:, blind] == 0).all()
    assert (got["lse"][:, blind] == -np.inf).all()
    assert np.isfinite(got["lse"][:, ~blind]).all()
    assert (got["d_q"][:, blind] == 0).all()
    assert (got["d_k"][:, unseen] == 0).all()
    assert (got["d_v"][:, unseen] == 0).all()
    assert not any(np.isnan(x).any() for x in got.values())


def test_extreme_scores_neither_overflow_nor_lose_the_largest():
    call = Call(mask=Causal(), size=1e4, dtype="float32")
    (got,) = everything(call, tiles)
    out, lse = exactly(call)
    assert np.abs(lse).max() > 1e4
    # float32 holds a score of 1e4 to 1e-3, so weights agree to about that.
    np.testing.assert_allclose(got["out"], out, rtol=1e-2, atol=1e-2)
    np.testing.assert_allclose(got["lse"], lse, rtol=1e-5, atol=1e-2)
    assert all(np.isfinite(x).all() for x in got.values())


def test_bfloat16_tiles_equal_the_definition_within_their_rounding():
    call = Call(mask=Causal(), dtype="bfloat16", asked=("alibi",))
    (got,), expected = everything(call, tiles), exactly(call)
    np.testing.assert_allclose(got["out"], expected[0], rtol=2e-2, atol=2e-2)
    # Scores, their maximum and their sum are float32 whatever the inputs are.
    np.testing.assert_allclose(got["lse"], expected[1], rtol=1e-5, atol=1e-5)


def test_the_transforms_of_jax_change_nothing():
    call = Call(mask=Causal() & Window(5, 0), dtype="float32", Hv=4)
    (q, k, v, *_), _ = call.inputs()
    run = partial(blockwise_attention, mask=call.mask, blocks=call.blocks)

    def summed(*arrays):
        return jnp.sin(run(*arrays)[0]).sum()

    twice = [np.stack([x, x + np.float32(1)]) for x in map(np.asarray, (q, k, v))]

    @jax.jit
    def all_at_once(q, k, v, twice):
        grad = jax.grad(summed, argnums=(0, 1, 2))
        again = jax.grad(jax.checkpoint(summed), argnums=(0, 1, 2))
        mapped = jax.vmap(grad)(*twice)
        _, scanned = jax.lax.scan(lambda c, x: (c, grad(*x)), 0, tuple(twice))
        return grad(q, k, v), again(q, k, v), mapped, scanned

    plain, again, mapped, scanned = jax.device_get(all_at_once(q, k, v, twice))
    for a, b, c, d in zip(plain, again, mapped, scanned):
        np.testing.assert_allclose(a, b, rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(a, c[0], rtol=1e-5, atol=1e-5)
        np.testing.assert_allclose(a, d[0], rtol=1e-6, atol=1e-6)
        np.testing.assert_allclose(c[1], d[1], rtol=1e-5, atol=1e-5)


def test_outputs_over_disjoint_keys_merge_by_their_log_sum_exps():
    (q, k, v, *_), _ = Call(dtype="float32").inputs()

    @jax.jit
    def both(q, k, v):
        run = partial(blockwise_attention, mask=FULL, blocks=(4, 4))
        parts = [run(q, k[:, s], v[:, s]) for s in (slice(0, 4), slice(4, 11))]
        shares = jax.nn.softmax(jnp.stack([lse for _, lse in parts]), axis=0)
        merged = sum(s[..., None] * out for s, (out, _) in zip(shares, parts))
        return run(q, k, v)[0], merged

    whole, merged = both(q, k, v)
    np.testing.assert_allclose(merged, whole, rtol=1e-5, atol=1e-5)


def test_tiles_off_the_grid_equal_the_definition(monkeypatch):
    monkeypatch.setattr("attn.kernels.blockwise.schedule.BLOCKS", (4, 2))
    monkeypatch.setattr("attn.kernels.blockwise.schedule.SPANS", (5, 3))
    mask = Causal() & Window(3, 0)
    assert not choose_block_sizes(mask, 14, 14, True).on_grid
    assert not choose_block_sizes(mask, 14, 14, False).on_grid
    assert_equal_to_the_definition(Call(T=14, S=14, mask=mask, blocks=None))
