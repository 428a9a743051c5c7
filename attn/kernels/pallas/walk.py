"""The walk of a kernel's grid over heads and tiles, and the blocks of its arrays."""

from dataclasses import dataclass
from typing import Any, NamedTuple

import jax.numpy as jnp
from jax import lax
from jax.experimental import pallas as pl
from jax.experimental.pallas import tpu as pltpu

from attn.kernels.pallas.plan import Inputs, Plan
from attn.kernels.pallas.tile_list import PLACE, SHIFT


class At(NamedTuple):
    """The place of one grid step: sequence, heads, and blocks of queries and keys."""

    batch: Any
    head: Any
    kv_head: Any
    q: Any
    k: Any


@dataclass(frozen=True)
class Walk:
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
    def of(cls, plan: Plan, inputs: Inputs, of_rows: bool) -> "Walk":
        """The walk over the arrays of a call."""
        B, N = inputs.q.shape[:2]
        return cls(plan, B, N, inputs.k.shape[1], of_rows)

    @property
    def grid(self) -> tuple[int, ...]:
        """The sizes of the grid."""
        tiles = self.plan.tiles(self.of_rows).places.size
        G = self.N // self.K
        return (self.B, self.N, tiles) if self.of_rows else (self.B, self.K, tiles, G)

    @property
    def semantics(self) -> pltpu.CompilerParams:
        """The axes that may be divided over the cores of a chip."""
        kinds = [pltpu.PARALLEL] * 2 + [pltpu.ARBITRARY] * (len(self.grid) - 2)
        return pltpu.CompilerParams(dimension_semantics=kinds)

    def at(self, batch, head, step, *rest) -> At:
        """The place of a step, from its grid indices and the list of tiles."""
        *group, places, _ = rest
        G, place = self.N // self.K, places[step]
        line, other = _high(place, PLACE), place & (2**PLACE - 1)
        if self.of_rows:
            return At(batch, head, lax.div(head, jnp.int32(G)), line, other)
        return At(batch, head * G + group[0], head, other, line)

    def inputs(self, inputs: Inputs) -> Inputs:
        """The block of each input."""
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

    def tables(self) -> pl.BlockSpec | None:
        """The block of the tables of PARTIAL tiles."""
        if not self.plan.tabled:
            return None

        def index(batch, head, step, *rest):
            return _high(rest[-1][step], SHIFT), 0, 0

        words = self.plan.k_block // 32
        return pl.BlockSpec((None, words, self.plan.q_block), index)


def _high(number: Any, bits: int) -> Any:
    """The part of a number above its lowest bits."""
    return lax.shift_right_logical(number, jnp.int32(bits))
