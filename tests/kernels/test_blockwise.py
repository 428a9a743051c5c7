"""Tile by tile equals the definition, values and all gradients, whatever is asked."""

from dataclasses import replace

import jax
import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st
from tiled import (
    Call,
    assert_equal_to_the_definition,
    tiles,
)
from tiny import full_compiles

from attn.kernels.blockwise.plan import choose_heads
from attn.kernels.blockwise.schedule import choose_block_sizes
from attn.masks import (
    FULL,
    BigBird,
    Blocks,
    Causal,
    Chunk,
    Dilated,
    Fixed,
    Global,
    Prefix,
    Strided,
    Window,
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
    max_examples=5,
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


def test_groups_of_heads_and_sequences_are_scanned_or_taken_whole(monkeypatch):
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


def test_tiles_off_the_grid_equal_the_definition(monkeypatch):
    monkeypatch.setattr("attn.kernels.blockwise.schedule.BLOCKS", (4, 2))
    monkeypatch.setattr("attn.kernels.blockwise.schedule.SPANS", (5, 3))
    mask = Causal() & Window(3, 0)
    assert not choose_block_sizes(mask, 14, 14, True).on_grid
    assert not choose_block_sizes(mask, 14, 14, False).on_grid
    assert_equal_to_the_definition(Call(T=14, S=14, mask=mask, blocks=None))
