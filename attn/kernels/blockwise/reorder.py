"""The choice of token reorderings under which a mask's pairs are cheapest to visit."""

from collections.abc import Callable, Mapping
from functools import lru_cache, reduce
from itertools import product
from operator import and_, or_
from typing import Any

from attn.kernels.blockwise.reordered import Reordering
from attn.kernels.blockwise.schedule import LOAD, cheapest
from attn.masks import (
    FULL,
    And,
    Causal,
    Earlier,
    Fixed,
    Full,
    Global,
    Mask,
    Not,
    Or,
    Prefix,
    Strided,
    Window,
)
from attn.masks.blocks import BlockSparse

WORTH = 0.95
"""The share of the mask's own cost below which reorderings are used; estimates err."""
MOST_PIECES = 6
"""The maximum number of patterns in a union; the search over more takes too long."""
EACH_PART = 4 * LOAD
"""The cost of a query in each part: it is read, and its output written, read,
merged."""


@lru_cache(maxsize=256)
def choose_reorderings(mask: Mask, T: int, S: int) -> tuple[Reordering, ...]:
    """Chooses disjoint reorderings whose union is the mask; or the mask as it is."""
    whole, parts = (Reordering(mask),), reorderings(mask, T, S)
    return parts if cost(parts, T, S) < WORTH * cost(whole, T, S) else whole


def cost(parts: tuple[Reordering, ...], T: int, S: int) -> float:
    """The cost of one head under these reorderings, in scores."""
    if len(parts) == 1:
        return _alone(parts[0], T, S)
    total = 0.0
    for part in parts:
        queries = part.lengths(T, S)[0]
        total += part.groups(T) * (_alone(part, T, S) + EACH_PART * queries)
    return total


def _alone(part: Reordering, T: int, S: int) -> float:
    """The cost of one group of tokens of a reordering, in scores."""
    return cheapest(part.mask, *part.lengths(T, S), True)[0]


def reorderings(mask: Mask, T: int, S: int) -> tuple[Reordering, ...]:
    """Reorders each pattern of a union, without the pairs of those before it."""
    if num_unions(mask) > MOST_PIECES:
        return (Reordering(mask),)
    pieces = sorted(unions(mask), key=lambda piece: _folding(piece)[0] is not None)
    found: list[Reordering] = []
    for n, piece in enumerate(pieces):
        own = piece & ~reduce(or_, pieces[:n]) if n else piece
        found += _reordered(own, T, S)
    seen = [part for part in found if _shows(part, T, S)]
    seen.sort(key=lambda part: part.rows is not None)
    # The first part must have all queries.
    return tuple(seen) if seen and seen[0].rows is None else (Reordering(mask),)


def _shows(part: Reordering, T: int, S: int) -> bool:
    """Whether a reordering shows any pair; estimated unless it is small."""
    lengths = part.lengths(T, S)
    return part.mask.count(*lengths) > 0 if part.rows else _alone(part, T, S) > 0


def unions(mask: Mask) -> list[Mask]:
    """The masks of which it is the union."""
    if isinstance(mask, Or):
        return unions(mask.a) + unions(mask.b)
    if isinstance(mask, And):
        return [a & b for a, b in product(unions(mask.a), unions(mask.b))]
    return [mask]


def num_unions(mask: Mask) -> int:
    """The number of masks that `unions` gives."""
    if isinstance(mask, Or):
        return num_unions(mask.a) + num_unions(mask.b)
    return num_unions(mask.a) * num_unions(mask.b) if isinstance(mask, And) else 1


def conjuncts(mask: Mask) -> list[Mask]:
    """The masks of which it is the intersection."""
    return conjuncts(mask.a) + conjuncts(mask.b) if isinstance(mask, And) else [mask]


def _folding(mask: Mask) -> tuple[Mask | None, Mask]:
    """The conjunct that is cheaper in another order, and the others' intersection."""
    every = conjuncts(mask)
    for n, pattern in enumerate(every):
        if type(pattern) in FOLDS:
            return pattern, reduce(and_, every[:n] + every[n + 1 :], FULL)
    return None, mask


def _reordered(mask: Mask, T: int, S: int) -> list[Reordering]:
    pattern, rest = _folding(mask)
    parts = FOLDS[type(pattern)](pattern, rest, T, S) if pattern is not None else None
    return parts or [Reordering(mask)]


def _strides(pattern: Strided, rest: Mask, T: int, S: int) -> list[Reordering] | None:
    own = in_strides(rest, pattern.stride)
    return None if own is None else [Reordering(own, pattern.stride, "strides")]


def in_strides(mask: Mask, stride: int) -> Mask | None:
    """The mask between tokens whose positions differ by multiples of `stride`."""
    match mask:
        case Full():
            return mask
        case Causal(offset):
            return Causal(offset // stride)
        case Window(left, right):
            return Window(left // stride, right // stride)
        case Not(a):
            inner = in_strides(a, stride)
            return None if inner is None else ~inner
        case And(a, b) | Or(a, b):
            a, b = in_strides(a, stride), in_strides(b, stride)
            if a is None or b is None:
                return None
            return a & b if isinstance(mask, And) else a | b
        case _:
            return None


def _blocks(pattern: Fixed, rest: Mask, T: int, S: int) -> list[Reordering] | None:
    """Reorders `Fixed`: each block by itself, then the last keys of all blocks."""
    size, columns = pattern.stride, pattern.columns
    last = (size - columns, size)
    if T == S and rest == Causal():
        earlier = Reordering(Earlier(size, columns), size, keep=last)
        return [Reordering(rest, size, "blocks"), earlier]
    if T == S and rest == FULL and columns < size:
        own = Reordering(rest, size, "blocks", keep=(0, size - columns))
        return [own, Reordering(rest, size, keep=last)]
    return None


def _global(pattern: Global, rest: Mask, T: int, S: int) -> list[Reordering] | None:
    """Reorders `Global`: the first keys, then the first queries on the other keys."""
    columns, first = _prefix(pattern, rest, T, S), pattern.num_tokens
    if columns is None or first >= T:
        return None
    return [*columns, Reordering(rest & ~Prefix(first), rows=first)]


def _prefix(pattern: Any, rest: Mask, T: int, S: int) -> list[Reordering] | None:
    first = pattern.length if isinstance(pattern, Prefix) else pattern.num_tokens
    if first >= S or any(isinstance(m, BlockSparse) for m in atoms(rest)):
        return None
    return [Reordering(rest, size=S, keep=(0, first))]


def atoms(mask: Mask) -> list[Mask]:
    """The patterns that a mask is composed of."""
    match mask:
        case And(a, b) | Or(a, b):
            return atoms(a) + atoms(b)
        case Not(a):
            return atoms(a)
    return [mask]


FOLDS: Mapping[type, Callable[[Any, Mask, int, int], list[Reordering] | None]] = {
    Strided: _strides,
    Fixed: _blocks,
    Global: _global,
    Prefix: _prefix,
}
