"""Splash's kernel, run as plain jax operations, equals attention by its definition."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from jax.sharding import PartitionSpec as P
from meshes import BTNH, make
from tiny import exhaustive

from attn.attention.backends import Splash
from attn.attention.backends.splash import Predicate
from attn.attention.backends.splash_call import FUSED_BLOCKS, LazyMask, block_sizes
from attn.errors import UserError
from attn.masks import FULL, Causal, Chunk, Global, Prefix, Window


def splash(q, k, v, *, mask, **asked):
    return Splash(interpret=True)(q, k, v, mask=mask, **oracle.options(**asked))


COMPOSITE = Causal() & (Window(40, 0) | Global(4))
MASKS = {
    "full": FULL,
    "composite": COMPOSITE,
    "complement": ~Chunk(50) | Prefix(2),
    "first 130 queries see nothing": Causal(offset=-130),
    "half the queries see nothing": Causal() & Chunk(48) & ~Chunk(24),
}


def check(qkv, tolerance=2e-5, moving=None, **asked):
    moving = moving or {}
    actual = oracle.with_gradients(partial(splash, **asked), qkv, **moving)
    expected = oracle.with_gradients(partial(oracle.attention, **asked), qkv, **moving)
    oracle.assert_agrees(actual, expected, tolerance)
    return actual[0]


@pytest.mark.parametrize(
    "mask",
    [
        pytest.param(mask, id=name)
        if name in ("complement", "half the queries see nothing")
        else exhaustive(mask, id=name)
        for name, mask in MASKS.items()
    ],
)
def test_the_kernel_equals_the_definition(mask):
    check(oracle.arrays(), mask=mask)


def test_queries_and_keys_of_different_lengths_and_widths():
    check(oracle.arrays(T=128, S=384, Hv=32), mask=Causal(offset=256))


def test_a_bfloat16_call_keeps_its_dtype_and_is_near():
    out = check(oracle.arrays(dtype=jnp.bfloat16), mask=COMPOSITE, tolerance=2e-2)
    assert out.dtype == jnp.bfloat16


@pytest.mark.parametrize("length", [256, 1280])
def test_both_ways_to_the_gradient_of_q_are_right(length):
    fused = length // block_sizes(length, length).block_kv <= FUSED_BLOCKS
    assert fused == (length == 256)
    check(oracle.arrays(B=1, T=length, S=length, N=1, K=1), mask=COMPOSITE)


def test_scale_and_softcap_and_sinks():
    sinks = jnp.linspace(-1.0, 1.0, 4)
    check(
        oracle.arrays(),
        mask=Causal(offset=-3),
        scale=0.7,
        softcap=1.5,
        moving={"sinks": sinks},
    )


def test_segments_and_padding_hide_keys():
    asked = {"q_ids": oracle.packed(2, 256), "kv_ids": oracle.packed(2, 256, 40, 2)}
    check(oracle.arrays(), mask=COMPOSITE, **asked)


def test_a_query_whose_segment_has_no_key_gives_zero():
    ids = jnp.full((2, 256), 7, jnp.int32).at[:, 100:].set(8)
    keys = jnp.full((2, 256), 7, jnp.int32)
    out = check(oracle.arrays(), mask=FULL, q_ids=ids, kv_ids=keys)
    assert not np.asarray(out[:, 100:]).any()
    assert np.asarray(out[:, :100]).all()


def test_lengths_hide_queries_and_keys_also_all_of_them():
    lengths = {"q_lengths": jnp.array([200, 256]), "kv_lengths": jnp.array([0, 77])}
    out = check(oracle.arrays(), mask=Window(60, 0), **lengths)
    assert not np.asarray(out[0]).any()


def test_what_is_at_padding_changes_nothing():
    q, k, v = oracle.arrays()
    lengths = {"kv_lengths": jnp.array([100, 77]), "q_lengths": jnp.array([256, 50])}
    dirty = tuple(x.at[:, 120:].set(jnp.nan) for x in (k, v))
    attend = partial(splash, mask=Causal(), **lengths)
    actual = oracle.with_gradients(attend, (q, *dirty))
    oracle.assert_agrees(actual, oracle.with_gradients(attend, (q, k, v)), 0)


def test_a_mesh_changes_nothing():
    qkv = oracle.arrays(B=4)
    ids = oracle.packed(4, 256)
    asked = {"mask": COMPOSITE, "q_ids": ids, "kv_ids": ids}
    expected = oracle.with_gradients(partial(splash, **asked), qkv, sinks=jnp.ones(4))
    with jax.set_mesh(make((2, 2))):
        placed = tuple(jax.device_put(x, BTNH) for x in qkv)
        actual = oracle.with_gradients(
            partial(splash, **asked), placed, sinks=jnp.ones(4)
        )
    assert actual[0].sharding.spec == actual[1][0][1].sharding.spec == BTNH
    oracle.assert_agrees(actual, expected, 1e-6)


def test_one_key_head_may_be_shared_by_all_devices_and_two_may_not():
    q, k, v = oracle.arrays(B=2, N=4, K=1)
    two = oracle.arrays(B=2, N=4, K=2)
    with jax.set_mesh(make((1, 4))):
        q = jax.device_put(q, BTNH)
        k, v = (jax.device_put(x, P("data", None, None, None)) for x in (k, v))
        actual = oracle.with_gradients(partial(splash, mask=Causal()), (q, k, v))
        with pytest.raises(UserError, match=r"k \(2, 256, 2, 16\) is divided as"):
            splash(q, *(jax.device_put(x, P("data")) for x in two[1:]), mask=Causal())
    expected = oracle.with_gradients(
        partial(oracle.attention, mask=Causal()), oracle.arrays(B=2, N=4, K=1)
    )
    oracle.assert_agrees(actual, expected, 2e-5)


def test_a_block_answers_for_its_tile_without_being_built():
    T = 2**20
    lazy = LazyMask(Predicate(Causal()), T, T)
    for q, k, held in (
        (0, 0, (True, False)),
        (4, 1, (True, True)),
        (1, 4, (False, False)),
    ):
        block = lazy[slice(q * 1024, (q + 1) * 1024), slice(k * 1024, (k + 1) * 1024)]
        assert (block.any(), block.all()) == held
        assert block.size == 2
