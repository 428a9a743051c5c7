"""Our TPU kernel, run as plain jax operations, equals attention by its definition."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from tiny import exhaustive

from attn.attention import attend_with_lse
from attn.attention.backends.splash import foreign_operations
from attn.errors import UserError
from attn.kernels import Softmax
from attn.kernels.pallas import pallas_attention
from attn.kernels.pallas.tile_list import (
    FIRST,
    KIND,
    LAST,
    PLACE,
    SHIFT,
    choose_blocks,
    tile_list,
    why_too_large,
)
from attn.kernels.scoring import Scoring
from attn.kernels.tokens import TokenInfo
from attn.masks import (
    FULL,
    BigBird,
    Blocks,
    Causal,
    Chunk,
    Dilated,
    Earlier,
    Fixed,
    Global,
    Prefix,
    Strided,
    Tile,
    Window,
)

L = 300
"""Tokens: three blocks of 128, the last of them not whole."""
BIGBIRD = BigBird(L, block=32, num_random=1)
LAYOUT = Blocks(np.random.default_rng(5).random((30, 30)) < 0.3, 10)
MASKS = {
    "causal": Causal(),
    "window": Window(40, 9),
    "causal window": Causal() & Window(100, 0),
    "global or window": Causal() & (Global(4) | Window(40, 0)),
    "bigbird": BIGBIRD,
    "layout": Causal() & LAYOUT,
    "dilated": Dilated(8, 8, 5),
    "strided": Causal() & (Window(7, 0) | Strided(7)),
    "fixed": Causal() & Fixed(50, 3),
    "prefix": Causal() | Prefix(30),
    "chunks": Chunk(100) | ~Window(200, 200),
    "earlier": Earlier(64, 64),
    "full": FULL,
    "late": Causal(offset=-130),
}


def shown(mask, T, S, blocks, of_rows, tabled):
    """The map that a list of tiles shows, and how often each tile is visited."""
    tiles = tile_list(mask, T, S, blocks, of_rows, tabled)
    rows, columns = -(-T // blocks[0]), -(-S // blocks[1])
    seen = np.zeros((rows * blocks[0], columns * blocks[1]), bool)
    visits = np.zeros((rows, columns), int)
    for place, note in zip(tiles.places, tiles.notes, strict=True):
        row, column = (place >> PLACE, place % 2**PLACE)[:: 1 if of_rows else -1]
        q, k = (n * size + np.arange(size) for n, size in zip((row, column), blocks))
        kind = note & KIND
        visits[row, column] += kind != Tile.EMPTY
        tile = np.full(blocks, kind == Tile.FULL)
        if kind == Tile.PARTIAL and tabled:
            words = tiles.tables[note >> SHIFT].view(np.uint32)
            bits = words[:, None, :] >> np.arange(32, dtype=np.uint32)[:, None] & 1
            tile = bits.reshape(blocks[1], blocks[0]).T == 1
        elif kind == Tile.PARTIAL:
            inside = (q[:, None] < T) & (k[None] < S)
            tile = mask.predicate(q[:, None], k[None]) & inside
        seen[np.ix_(q, k)] |= tile
    assert not seen[T:].any()
    assert not seen[:, S:].any()
    return seen[:T, :S], visits


@pytest.mark.parametrize("of_rows", [True, False], ids=["rows", "columns"])
@pytest.mark.parametrize("mask", MASKS.values(), ids=MASKS)
def test_a_list_shows_its_mask_and_visits_no_tile_twice(mask, of_rows):
    tabled = bool(foreign_operations(mask))
    for blocks in ((128, 128), (256, 128)):
        seen, visits = shown(mask, L, L, blocks, of_rows, tabled)
        assert (seen == mask.dense(L)).all()
        assert visits.max() == 1


def test_a_table_shows_what_a_predicate_does():
    for tabled in (True, False):
        seen, _ = shown(Causal() & Chunk(70), L, 200, (128, 128), True, tabled)
        assert (seen == (Causal() & Chunk(70)).dense(L, 200)).all()


@pytest.mark.parametrize("of_rows", [True, False], ids=["rows", "columns"])
def test_every_line_is_begun_and_ended_once_also_an_empty_one(of_rows):
    tiles = tile_list(Causal(offset=-260), L, L, (128, 128), of_rows, False)
    lines = tiles.places >> PLACE
    assert (np.diff(lines) >= 0).all()
    for flag in (FIRST, LAST):
        assert lines[(tiles.notes & flag) != 0].tolist() == [0, 1, 2]


def test_equal_tiles_share_a_table():
    tables = tile_list(BigBird(4096), 4096, 4096, (128, 128), True, True).tables
    partial_tiles = (
        tile_list(BigBird(4096), 4096, 4096, (128, 128), True, False).notes & KIND
        == Tile.PARTIAL
    ).sum()
    assert len(tables) <= 2**4 < partial_tiles


def test_blocks_are_small_where_the_mask_is_scattered():
    assert choose_blocks(Causal(), 4096, 4096) == (512, 512)
    assert choose_blocks(Causal() & Window(63, 0), 4096, 4096) == (256, 256)


def test_a_list_beyond_the_limits_is_told():
    said = why_too_large(FULL, 2**18, 2**18, (512, 512), False)
    assert "visits 262,144 tiles of 262144 x 262144; it takes up to 65,536" in said
    said = why_too_large(~BigBird(2**16), 2**16, 2**16, (512, 512), True)
    assert "pairs in partly visible tiles" in said


def test_a_block_that_is_no_multiple_of_the_lanes_is_refused():
    q = jnp.zeros((1, 8, 1, 8))
    with pytest.raises(UserError, match=r"blocks = \(100, 128\); they must be"):
        pallas_attention(q, q, q, mask=FULL, blocks=(100, 128), interpret=True)


def compare(
    mask,
    T=L,
    S=L,
    softcap=None,
    sinks=False,
    given=None,
    tolerance=1e-5,
    dtype=jnp.float32,
    **sizes,
):
    """Holds outputs, log-sum-exps and all their gradients against the definition."""
    shape = {"B": 1, "N": 2, "K": 1, "H": 16, "Hv": 8} | sizes
    q, k, v = oracle.arrays(T=T, S=S, dtype=dtype, **shape)
    sink = jnp.linspace(-1.0, 1.0, shape["N"]) if sinks else None
    given = given or {}
    q_info, kv_info = (
        TokenInfo(
            *(given.get(f"{side}_{x}") for x in ("segment_ids", "positions", "lengths"))
        )
        for side in ("q", "kv")
    )

    def kernel(q, k, v, sink):
        return pallas_attention(
            q,
            k,
            v,
            mask=mask,
            scoring=Scoring(None, softcap, None, sink),
            q_info=q_info,
            kv_info=kv_info,
            tabled=bool(foreign_operations(mask)),
            blocks=(128, 128),
            interpret=True,
        )

    def definition(q, k, v, sink):
        weights = {"sink": sink} if sinks else None
        spec = Softmax(softcap=softcap, sinks=sinks)
        return attend_with_lse(
            spec, q, k, v, mask=mask, weights=weights, impl="dense", **given
        )

    random = np.random.default_rng(4)
    weighting = [
        jnp.asarray(random.normal(size=size), jnp.float32)
        for size in ((*q.shape[:3], v.shape[-1]), q.shape[:3])
    ]

    def loss(attend, *arrays):
        out, lse = attend(*arrays)
        lse = jnp.where(lse == -jnp.inf, 0.0, lse)
        of_out = (out.astype(jnp.float32) * weighting[0]).sum()
        return of_out + (lse * weighting[1]).sum(), (out, lse)

    def of(attend):
        moving = (0, 1, 2, 3) if sinks else (0, 1, 2)
        run = jax.value_and_grad(partial(loss, attend), moving, has_aux=True)
        (_, outs), grads = jax.jit(run)(q, k, v, sink)
        return outs, grads

    actual = of(kernel)
    oracle.assert_agrees(actual, of(definition), tolerance)
    return actual[0]


IDS = {
    "q_segment_ids": oracle.packed(1, L),
    "kv_segment_ids": oracle.packed(1, L, 0, 2),
}
LENGTHS = {"q_lengths": jnp.array([250]), "kv_lengths": jnp.array([77])}


def test_the_kernel_equals_the_definition_with_all_that_it_can():
    compare(
        MASKS["global or window"],
        softcap=1.5,
        sinks=True,
        given=IDS | LENGTHS,
        N=4,
        K=2,
    )


def test_a_mask_that_looks_a_table_up_is_read_by_bits():
    compare(MASKS["bigbird"])


@pytest.mark.parametrize(
    "mask", [exhaustive(mask, id=name) for name, mask in MASKS.items()]
)
def test_every_mask_equals_the_definition(mask):
    compare(mask)
    compare(mask, given=IDS, softcap=1.5)


def test_positions_known_at_run_time_are_what_the_mask_is_asked_about():
    order = np.random.default_rng(2).permutation(200)[None]
    given = {"q_positions": jnp.asarray(order), "kv_positions": jnp.asarray(order // 2)}
    compare(Causal() & Window(60, 0), T=200, S=200, given=given)
