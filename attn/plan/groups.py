"""Groups of devices in the text of a compiled program, in every form that XLA writes."""

import re
from math import prod

import numpy as np
from jaxtyping import Int

LISTED = re.compile(r"replica_groups=\{(\{[\d,{}]*\})?\}")
IOTA = re.compile(r"replica_groups=\[([\d,]+)\]<=\[([\d,]+)\](?:T\(([\d,]+)\))?")
MESH = re.compile(
    r"replica_groups=mesh\[([^\]]*)\](?:,? ?device_ids=\(\[([\d,]+)\](?:T\(([\d,]+)\))?\))? "
    r"?\{([^}]*)\}"
)
PAIRS = re.compile(r"source_target_pairs=\{(\{[\d,{}]*\})?\}")
AXIS = re.compile(r"'([^']+)'(?:=(\d+))?(?::\((\d+)\)(\d+))?")


def groups_of(line: str, count: int) -> Int[np.ndarray, "M R"]:
    """The groups of an operation, a row each; a permutation's pairs are groups of two.

    Args:
        count: the devices of the program, which are one group where none is named.

    Raises:
        ValueError: the groups are written in a form that is not known here.
    """
    if found := PAIRS.search(line):
        return _listed(found[1], count)
    if found := IOTA.search(line):
        ids = _iota(found[2], found[3])
        return ids.reshape(-1, _numbers(found[1])[-1])
    if found := MESH.search(line):
        return _of_mesh(found, count)
    if found := LISTED.search(line):
        return _listed(found[1], count)
    raise ValueError(f"a collective names no groups that are known: {line.strip()}")


def _numbers(text: str) -> list[int]:
    return [int(number) for number in text.split(",")]


def _listed(text: str | None, count: int) -> Int[np.ndarray, "M R"]:
    """Groups as in `{0,1},{2,3}`."""
    if not text:
        return np.arange(count)[None]
    return np.array([_numbers(each) for each in text[1:-1].split("},{")])


def _iota(dims: str, order: str | None) -> Int[np.ndarray, "..."]:
    """The numbers of the devices as in `[2,4]T(1,0)`: counted, and then transposed."""
    shape = _numbers(dims)
    ids = np.arange(prod(shape)).reshape(shape)
    return ids if order is None else ids.transpose(_numbers(order))


def _of_mesh(found: re.Match[str], count: int) -> Int[np.ndarray, "M R"]:
    """Groups as in `mesh['x'=2,'y'=4] {'y'}`: those that differ along some axes.

    A part of an axis is written `'x':(2)4`: of its size 2 x 4 x ... the middle factor.
    """
    sizes = {name: int(size) for name, size, *_ in AXIS.findall(found[1])}
    ids = np.arange(count) if found[2] is None else _iota(found[2], found[3]).ravel()
    shape, moving = [], []
    parts = {name: (before, own) for name, _, before, own in AXIS.findall(found[4])}
    for name, size in sizes.items():
        before, own = (int(n) if n else 0 for n in parts.get(name, ("", "")))
        own = own or size
        before = before or 1
        if name in parts:
            moving.append(len(shape) + 1)
        shape += [before, own, size // (before * own)]
    ids = np.moveaxis(ids.reshape(shape), moving, range(-len(moving), 0))
    return ids.reshape(-1, prod(shape[axis] for axis in moving))
