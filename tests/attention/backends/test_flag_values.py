"""What a mask becomes for cuDNN and tokamax shows the same keys.

Their GPU kernels cannot run here; the same arguments, made by the same code, go to the
implementation in plain XLA that each library has beside them.
"""

from functools import partial

import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from packages import need

from attn.attention.backends import Cudnn, Tokamax
from attn.attention.backends.base import clean
from attn.attention.backends.cudnn import flags, lengths
from attn.attention.backends.tokamax import intervals
from attn.errors import UserError
from attn.kernels.tokens import TokenInfo
from attn.masks import FULL, Causal, Chunk, Global, Window

LENGTHS = {"q_lengths": jnp.array([32, 20]), "kv_lengths": jnp.array([0, 9])}


def attend(library, implementation, mask, scale=0.3):
    """The library's call, up to the implementation that it names."""

    named = "implementation" if library is Cudnn else "names"

    def call(q, k, v, **given):
        asked = oracle.options(scale=scale, **given)
        q, k, v = clean(q, k, v, asked["q_info"], asked["kv_info"])
        return library.attend(q, k, v, mask, **asked, **{named: implementation})

    return call


def check(library, implementation, mask, qkv, still=None, **moving):
    need(library.packages[0] if library is Tokamax else "jax")
    still = still or {}
    call = partial(attend(library, implementation, mask), **still)
    define = partial(oracle.attention, mask=mask, scale=0.3, **still)
    actual = oracle.with_gradients(call, qkv, **moving)
    oracle.assert_agrees(actual, oracle.with_gradients(define, qkv, **moving), 2e-5)


SMALL = {"T": 32, "S": 32, "H": 8, "Hv": 8}


@pytest.mark.parametrize(
    "mask", [FULL, Causal(), Causal() & Window(5, 3), Causal() & Window(40, 0)], ids=str
)
def test_cudnn_flags_show_the_mask(mask):
    check(Cudnn, "xla", mask, oracle.arrays(**SMALL))


@pytest.mark.parametrize("T", [20, 40])
def test_cudnn_is_causal_from_the_first_key(T):
    check(Cudnn, "xla", Causal(), oracle.arrays(**SMALL | {"T": T}))


@pytest.mark.parametrize("mask", [FULL, Causal()], ids=str)
def test_cudnn_takes_the_lengths_of_each_sequence(mask):
    check(Cudnn, "xla", mask, oracle.arrays(**SMALL), LENGTHS)


def test_cudnn_flags_are_causal_with_a_window():
    assert flags(Causal() & Window(5, 3), 32, 32) == {
        "is_causal": True,
        "local_window_size": (5, 0),
    }


INTERVALS = [
    FULL,
    Causal(),
    Causal(offset=7),
    Causal(offset=-7),
    Window(5, 3),
    Causal() & Chunk(8),
    Causal() & Window(4, 4),
]


@pytest.mark.parametrize("still", [{}, LENGTHS], ids=["all", "lengths"])
@pytest.mark.parametrize("mask", INTERVALS, ids=str)
def test_tokamax_intervals_show_the_mask(mask, still):
    check(Tokamax, ("xla",), mask, oracle.arrays(**SMALL), still)


@pytest.mark.parametrize("T", [20, 40])
@pytest.mark.parametrize("mask", [Causal(), Window(3, 1)], ids=str)
def test_tokamax_intervals_fit_other_lengths_than_the_keys(mask, T):
    check(Tokamax, ("xla",), mask, oracle.arrays(**SMALL | {"T": T, "Hv": 4}))


def test_tokamax_adds_a_bias():
    bias = jnp.asarray(np.random.default_rng(3).normal(size=(1, 4, 32, 32)), "float32")
    check(Tokamax, ("xla",), Causal(), oracle.arrays(**SMALL), bias=bias)


def test_an_interval_that_the_kernel_has_a_flag_for_costs_no_array():
    assert intervals(FULL, 8, 8, None) == ({"is_causal": False}, None)
    assert intervals(Causal(), 8, 8, None) == ({"is_causal": True}, None)
    ranges, sees = intervals(Causal() & Window(2, 0), 8, 8, None)
    assert set(ranges) == {"is_causal", "k_start"}
    assert sees is None


@pytest.mark.parametrize("kv_lengths", [None, jnp.array([0, 5, 8])], ids=str)
def test_no_kernel_is_given_a_row_without_a_key(kv_lengths):
    info = TokenInfo(lengths=kv_lengths)
    ranges, sees = intervals(Causal(offset=-3), 8, 8, kv_lengths)
    assert (ranges.get("k_start", 0) < ranges["k_end"]).all()
    assert not sees[:, :3].any()
    assert all((given > 0).all() for given in lengths(info, info).values())


def test_two_intervals_in_a_row_are_none():
    assert (Causal() & (Window(2, 0) | Global(1))).row_interval(8, 8) is None


@pytest.mark.parametrize("lower", [flags, partial(intervals, kv_lengths=None)])
def test_a_mask_without_the_form_raises_and_is_never_dropped(lower):
    with pytest.raises(UserError, match="has no form for this kernel"):
        lower(Causal() & (Window(2, 0) | Global(1)), T=8, S=8)
