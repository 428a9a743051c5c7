"""The grid of programs, a line of tiles each, and the views of arrays that they get."""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import triton as plgpu
from jaxtyping import Array

from attn.kernels.triton.lines import LINE, MIDDLE, START, STOP
from attn.kernels.triton.plan import Blocks, Inputs, Plan


class Tiles(NamedTuple):
    """The lines of a kernel, as references or arrays; None where there are no tables."""

    lines: Any
    others: Any
    own: Any
    tables: Any


class Rows(NamedTuple):
    """The numbers that the backward kernels read of each query."""

    lse: Any
    """[B, N, T], float32; to the base 2."""
    delta: Any
    """[B, N, T], float32: sum over channels of `d_out` * out, less the gradient of `lse`."""
    d_out: Any
    """[B, T, N, V]."""


def run(
    kernel: Callable[..., None],
    plan: Plan,
    blocks: Blocks,
    of_rows: bool,
    inputs: Inputs,
    rows: Rows | None,
    outputs: Sequence[jax.ShapeDtypeStruct],
) -> Any:
    """Runs a kernel once for every line of tiles, sequence and head.

    The heads of a line start together, and the longest lines first. A program of rows
    has one query head, one of columns one key head and the queries of its group.

    Args:
        kernel: takes plan, blocks, and references to tiles, inputs, rows and outputs.
        rows: what is read of each query beside `inputs`.
        outputs: arrays laid as queries or keys are, or [B, N, T].
    """
    tiles = Tiles(*plan.lines(blocks, of_rows))
    (B, _, N, _), K = inputs.q.shape, inputs.k.shape[2]
    heads = N if of_rows else K
    view = partial(_view, of_rows, N // K)
    return pl.pallas_call(
        partial(kernel, plan, blocks),
        out_shape=tuple(outputs),
        grid=(heads, len(tiles.lines), B),
        in_specs=(
            _views(lambda _, x: _whole(x), tiles),
            _views(view, inputs),
            None if rows is None else _views(view, rows),
        ),
        out_specs=tuple(view("d_q" if of_rows else "d_k", x) for x in outputs),
        compiler_params=plgpu.CompilerParams(
            num_warps=blocks.warps, num_stages=blocks.stages
        ),
        interpret=plan.interpret,
        name=kernel.__name__,
    )(tiles, inputs, rows)


def _views(view: Callable[[str, Any], pl.BlockSpec], arrays: Any) -> Any:
    """The view of each array of a named tuple; None where there is none."""
    named = arrays._asdict().items()
    return type(arrays)(*(None if x is None else view(name, x) for name, x in named))


def _whole(x: Any) -> pl.BlockSpec:
    return pl.BlockSpec(x.shape, lambda *_: (0,) * x.ndim)


def _view(of_rows: bool, G: int, name: str, x: Any) -> pl.BlockSpec:
    """The view that a program gets of an array: its sequence's, and its head's.

    Of queries a program of columns gets the G heads of its group.
    """
    if name == "sinks":
        return _whole(x)
    if x.ndim == 2:
        return pl.BlockSpec((None, x.shape[1]), lambda head, line, b: (b, 0))
    of_keys = name in ("k", "v", "d_k")
    group = None if of_rows or of_keys else G

    def head_of(head):
        return lax.div(head, jnp.int32(G)) if of_rows and of_keys else head

    if x.ndim == 3:
        shape = None, group, x.shape[2]
        return pl.BlockSpec(shape, lambda head, line, b: (b, head_of(head), 0))
    shape = None, x.shape[1], group, x.shape[3]
    return pl.BlockSpec(shape, lambda head, line, b: (b, 0, head_of(head), 0))


class Line(NamedTuple):
    """This program's line: its own block, and which tiles are its own."""

    block: Any
    start: Any
    middle: Any
    """Where the PARTIAL tiles start, after the FULL ones."""
    stop: Any


def own_line(tiles: Tiles) -> Line:
    """The line of this program."""
    program = pl.program_id(1)
    return Line(*(tiles.lines[program, n] for n in (LINE, START, MIDDLE, STOP)))


def visit(
    plan: Plan,
    tiles: Tiles,
    line: Line,
    add: Callable[[Any, Any, bool, Any], Any],
    sums: Any,
) -> Any:
    """Adds every tile of a line to the sums: FULL ones, then those to be masked.

    Args:
        add: takes the block along the line, the tile's table (or None), whether the tile
            is masked, and the sums; returns the sums.
    """

    def full(n, sums):
        return add(tiles.others[n], None, False, sums)

    def masked(n, sums):
        table = None if tiles.own is None else tiles.tables[tiles.own[n]]
        return add(tiles.others[n], table, True, sums)

    if not (plan.has_ids or plan.has_positions):
        sums = lax.fori_loop(line.start, line.middle, full, sums)
    return lax.fori_loop(line.middle, line.stop, masked, sums)


def load(ref: Any, block: Any, size: int, head: Any = None) -> Array:
    """Loads a block of tokens: of [L, channels], or of one head of [L, G, channels]."""
    span = pl.ds(block * size, size)
    return ref[span, :] if head is None else ref[span, head, :]
