"""The grid of a kernel over heads and tiles, and the blocks of its arrays."""

from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import partial
from typing import Any, NamedTuple

import jax
import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu
from jaxtyping import Array

from attn.kernels.pallas.plan import Inputs, Plan
from attn.kernels.pallas.tile_list import PLACE, SHIFT


class At(NamedTuple):
    """The place of one grid step: sequence, heads, and blocks of queries and keys."""

    batch: Any
    head: Any
    kv_head: Any
    q: Any
    k: Any


class Output(NamedTuple):
    """An output of a kernel: its shape and dtype, and its block in a grid step."""

    like: jax.ShapeDtypeStruct
    spec: pl.BlockSpec


@dataclass(frozen=True)
class Grid:
    """The grid [B, N, tiles] by rows of tiles, or [B, K, tiles, G] by columns.

    By columns the query heads of a group come innermost, so that all that is added to a
    block of keys comes in turn.
    """

    plan: Plan
    B: int
    N: int
    K: int
    of_rows: bool

    @classmethod
    def of(cls, plan: Plan, inputs: Inputs, of_rows: bool) -> "Grid":
        """The grid over the arrays of a call."""
        B, N = inputs.q.shape[:2]
        return cls(plan, B, N, inputs.k.shape[1], of_rows)

    @property
    def sizes(self) -> tuple[int, ...]:
        """The sizes of the grid."""
        tiles = self.plan.tiles(self.of_rows).places.size
        G = self.N // self.K
        return (self.B, self.N, tiles) if self.of_rows else (self.B, self.K, tiles, G)

    def run(
        self,
        kernel: Callable[..., None],
        inputs: Inputs,
        rows: tuple[Array, ...],
        outputs: Sequence[Output],
        sums: Sequence[tuple[int, int]],
        channels: int,
    ) -> Any:
        """Runs a kernel over the grid, with float32 sums that stay from step to step.

        Args:
            kernel: takes the grid, the places and the notes of the list, then
                references to inputs, table, rows, outputs and sums.
            rows: numbers of each query [B, N, 1, T], and channels [B, N, T, V].
            channels: those of all products of a tile, which the compiler is told.
        """
        tiles = self.plan.tiles(self.of_rows)
        kinds = [pltpu.PARALLEL] * 2 + [pltpu.ARBITRARY] * (len(self.sizes) - 2)
        of_rows = (
            self.of_queries() if x.shape[2] == 1 else self.queries(x.shape[3])
            for x in rows
        )
        return pl.pallas_call(
            partial(kernel, self),
            out_shape=tuple(out.like for out in outputs),
            grid_spec=pltpu.PrefetchScalarGridSpec(
                num_scalar_prefetch=2,
                grid=self.sizes,
                in_specs=(self._inputs(inputs), self._tables(), tuple(of_rows)),
                out_specs=tuple(out.spec for out in outputs),
                scratch_shapes=[pltpu.VMEM(size, jnp.float32) for size in sums],
            ),
            compiler_params=pltpu.CompilerParams(dimension_semantics=kinds),
            cost_estimate=self._cost((inputs, rows), outputs, channels),
            interpret=self.plan.interpret,
            name=kernel.__name__,
        )(tiles.places, tiles.notes, inputs, tiles.tables, rows)

    def _cost(self, arrays, outputs, channels: int) -> pl.CostEstimate:
        scores = self.B * self.N * self.sizes[2] * self.plan.q_block * self.plan.k_block
        moved = [*jax.tree.leaves(arrays), *(out.like for out in outputs)]
        return pl.CostEstimate(
            flops=2 * channels * scores,
            transcendentals=scores,
            bytes_accessed=sum(x.size * x.dtype.itemsize for x in moved),
        )

    def at(self, batch, head, step, *rest) -> At:
        """The place of a step, from its grid indices and the list of tiles."""
        *group, places, _ = rest
        G, place = self.N // self.K, places[step]
        line, other = _high(place, PLACE), place & (2**PLACE - 1)
        if self.of_rows:
            return At(batch, head, lax.div(head, jnp.int32(G)), line, other)
        return At(batch, head * G + group[0], head, other, line)

    def _inputs(self, inputs: Inputs) -> Inputs:
        H, V = inputs.q.shape[-1], inputs.v.shape[-1]
        spec = Inputs(
            self.queries(H),
            self.keys(H),
            self.keys(V),
            pl.BlockSpec(memory_space=pltpu.SMEM),
            *(self._tokens(of_q) for of_q in (True, False, True, False)),
        )
        return Inputs(*(None if x is None else s for x, s in zip(inputs, spec)))

    def queries(self, channels: int) -> pl.BlockSpec:
        """The block of an array [B, N, T, channels]."""

        def index(*grid):
            at = self.at(*grid)
            return at.batch, at.head, at.q, 0

        return pl.BlockSpec((None, None, self.plan.q_block, channels), index)

    def keys(self, channels: int) -> pl.BlockSpec:
        """The block of an array [B, K, S, channels]."""

        def index(*grid):
            at = self.at(*grid)
            return at.batch, at.kv_head, at.k, 0

        return pl.BlockSpec((None, None, self.plan.k_block, channels), index)

    def of_queries(self) -> pl.BlockSpec:
        """The block of an array [B, N, 1, T] of one number a query."""

        def index(*grid):
            at = self.at(*grid)
            return at.batch, at.head, 0, at.q

        return pl.BlockSpec((None, None, 1, self.plan.q_block), index)

    def _tokens(self, of_q: bool) -> pl.BlockSpec:
        def index(*grid):
            at = self.at(*grid)
            return at.batch, 0, at.q if of_q else at.k

        size = self.plan.q_block if of_q else self.plan.k_block
        return pl.BlockSpec((None, 1, size), index)

    def _tables(self) -> pl.BlockSpec | None:
        if not self.plan.tabled:
            return None

        def index(batch, head, step, *rest):
            return _high(rest[-1][step], SHIFT), 0, 0

        words = self.plan.k_block // 32
        return pl.BlockSpec((None, words, self.plan.q_block), index)


def _high(number: Any, bits: int) -> Any:
    """The part of a number above its lowest bits."""
    return lax.shift_right_logical(number, jnp.int32(bits))
