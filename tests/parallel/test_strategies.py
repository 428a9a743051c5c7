"""Strategies for a divided sequence: which one is chosen, and how a ring goes round."""

import re

import jax.numpy as jnp
import pytest

from attn.attention import attend
from attn.errors import UserError
from attn.kernels import KERNELS, Softmax
from attn.masks import FULL, Causal, Chunk, Window
from attn.parallel.ring import ring_schedule
from attn.parallel.strategies import Division, choose_strategy
from attn.parallel.support import HEADS, MASKS


def division(kernel=Softmax(), mask=Causal(), N=HEADS, K=HEADS, seq=2, **facts):
    return Division(kernel, mask, 16, 16, N, K, seq, **facts)


@pytest.mark.parametrize(
    ("call", "chosen"),
    [
        (division(), "all_to_all"),
        (division(KERNELS["linear"]()), "scan"),
        (division(K=1), "ring"),
        (division(mask=Window(3, 0), seq=4), "ring"),
        (division(mask=MASKS["per_head"]), "all_gather"),
        (division(KERNELS["moba"](), K=1), "all_to_all"),
        (division(KERNELS["topk"](), K=1), "all_gather"),
    ],
)
def test_auto_takes_what_sends_least(call, chosen):
    assert choose_strategy(call)[0] == chosen


@pytest.mark.parametrize(
    ("call", "words"),
    [
        (division(seq=3), "seq = 3 does not divide T = 16"),
        (division(KERNELS["moba"](), N=2, K=2, seq=4), "4 parts do not divide 2 heads"),
    ],
)
def test_what_no_strategy_serves_is_refused(call, words):
    with pytest.raises(UserError, match=re.escape(words)):
        choose_strategy(call)


def test_a_strategy_needs_a_mesh_that_divides_the_sequence():
    x = jnp.ones((1, 4, 1, 4))
    with pytest.raises(UserError, match="'ring', and no mesh divides the sequence"):
        attend(Softmax(), x, x, x, strategy="ring")


def test_a_ring_of_a_causal_mask_is_balanced_by_zigzag_order():
    schedule = ring_schedule(Causal(), 32, 32, 4)
    assert schedule.zigzag
    each = schedule.seen.sum(axis=(2, 3))
    assert (each == each[:1]).all()
    for mask in (FULL, Window(3, 0), Window(7, 0), Chunk(8)):  # balanced as they are
        assert not ring_schedule(mask, 32, 32, 4).zigzag


def test_a_ring_goes_no_farther_than_the_mask():
    def arc(mask):
        schedule = ring_schedule(mask, 32, 32, 8)
        return schedule.start, schedule.steps

    assert arc(Window(3, 0)) == (0, 2)
    assert arc(Window(4, 4)) == (7, 3)
    assert arc(Window(5, 0)) == (0, 3)
    assert arc(FULL) == (0, 8)
