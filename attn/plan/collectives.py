"""The collectives of a compiled program, read off its text: kind, count, bytes, mesh axis.

An operation inside a loop counts as often as the loop turns, where the text says it. One
whose groups hold a device each sends nothing and is left out, as is a permute to itself.
A TPU's compiler writes some in other forms, which are known here:

- a gather that runs while products do is in each of several fusions, and counts once;
- a reduce-scatter is a fusion `all-reduce-scatter` of the sum and each device's part of it;
- an all-gather of very small parts is the sum of arrays that are zero but for a device's own
  part. That is what runs, so each device sends as much as for a sum: twice as much.
"""

import re
from collections import defaultdict
from collections.abc import Mapping
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int

from attn.plan.groups import groups_of
from attn.plan.text import Program, sizes_of

KINDS = (
    "all-reduce all-gather reduce-scatter all-to-all ragged-all-to-all "
    "collective-permute collective-broadcast"
).split()
GATHER = "all-gather as all-reduce"
APART = "all-to-all", "ragged-all-to-all"
"""Kinds that send each device something else."""
OPERATION = re.compile(rf" = (.+?) ({'|'.join(KINDS)})(-start)?\(")
NAMES = re.compile(r"%([\w.\-]+)")


@dataclass(frozen=True)
class Collective:
    """Operations of one kind along one part of a mesh."""

    kind: str
    axis: str
    """The mesh axes that a group lies along, as in `data` or `data+heads`."""
    devices: int
    """The devices of a group."""
    on_a_host: int
    """The devices of a group that one host has: all, where it crosses none."""
    count: float | int = 1
    """Operations in one run of the program."""
    bytes: float | int = 0
    """Bytes of the whole arrays that a group has after, or had before, in all."""
    endless: bool = False
    """Whether a loop of unknown length holds them, of which one turn is counted."""

    @property
    def hosts(self) -> bool:
        """Whether a group has devices of several hosts."""
        return self.on_a_host < self.devices

    @property
    def sent(self) -> float | int:
        """The bytes that a device must send, by an algorithm that sends the least."""
        return self.inside + self.away

    @property
    def away(self) -> float | int:
        """The part of `sent` that goes to other hosts, which the devices of a host share.

        A host gathers what the others have once, a part by each of its devices, and they
        exchange these parts inside; in `all-to-all` no two devices get the same.
        """
        n, p = self.devices, self.on_a_host
        if self.kind == "collective-permute":
            return self.bytes if self.hosts else 0
        if self.kind in APART:
            return self.bytes * (n - p) / n
        return self._passes * self.bytes * (n - p) / (n * p)

    @property
    def inside(self) -> float | int:
        """The part of `sent` that stays inside a host."""
        p = self.on_a_host
        if self.kind == "collective-permute":
            return 0 if self.hosts else self.bytes
        if self.kind in APART:
            return self.bytes * (p - 1) / self.devices
        return self._passes * self.bytes * (p - 1) / p

    @property
    def _passes(self) -> int:
        """The passes over the arrays: a sum scatters, and then gathers."""
        return 2 if self.kind in ("all-reduce", GATHER) else 1


def collectives(
    text: str, mesh: Mapping[str, int], on_a_host: int
) -> tuple[Collective, ...]:
    """Reads the collectives off a program's text, those alike in one.

    Args:
        mesh: the sizes of the mesh's axes in order; the program numbers its devices so.
        on_a_host: the devices of a host, which are numbered one after another.
    """
    found: dict[Collective, list[float]] = defaultdict(lambda: [0.0, 0.0])
    program, seen = Program.of(text), set()
    for computation, line in program.lines:
        turns, endless = program.runs.get(computation, (0.0, False))
        one = _read(line, mesh, on_a_host) if turns else None
        step = program.step(computation, line)
        if one is not None and one.devices > 1 and step not in seen:
            seen |= {step} - {None}
            one = replace(one, kind=_meant(one, computation, line, program))
            sums = found[replace(one, count=0, bytes=0, endless=endless)]
            sums[0] += turns
            sums[1] += turns * one.bytes
    rows = [replace(one, count=n, bytes=size) for one, (n, size) in found.items()]
    return tuple(sorted(rows, key=lambda row: (-row.sent, row.kind, row.axis)))


def _read(line: str, mesh: Mapping[str, int], on_a_host: int) -> Collective | None:
    """The collective of a line, if it is one."""
    match = OPERATION.search(line)
    if match is None:
        return None
    result, kind, start = match[1], match[2], bool(match[3])
    groups = groups_of(line, int(np.prod(list(mesh.values()))))
    if kind == "collective-permute":
        groups = groups[groups[:, 0] != groups[:, -1]]
        if not groups.size:
            return None
    axis, devices = along(groups, mesh)
    most = _most(groups // on_a_host)
    return Collective(
        kind, axis, devices, most, 1, _whole(result, kind, start, devices)
    )


def _most(hosts: Int[np.ndarray, "M R"]) -> int:
    """The most devices of a group that are on one host, in the group with the fewest."""
    return min(int(np.unique(row, return_counts=True)[1].max()) for row in hosts)


def _meant(one: Collective, computation: str, line: str, program: Program) -> str:
    """The kind that an all-reduce stands for; another's is its own."""
    if one.kind != "all-reduce":
        return one.kind
    if computation.startswith("all-reduce-scatter"):
        return "reduce-scatter"
    operands = NAMES.findall(line.split(" all-reduce", 1)[1].partition(")")[0])
    shares = {program.written(name) for name in operands}
    return GATHER if shares == {1 / one.devices} else one.kind


def along(groups: Int[np.ndarray, "M R"], mesh: Mapping[str, int]) -> tuple[str, int]:
    """The mesh axes along which the devices of any group differ, and a group's size."""
    places = np.stack(np.unravel_index(groups, tuple(mesh.values())))
    differ = (places != places[..., :1]).any(axis=(1, 2))
    names = [name for name, moves in zip(mesh, differ) if moves]
    return "+".join(names), groups.shape[1]


def _whole(result: str, kind: str, start: bool, devices: int) -> float | int:
    """The bytes of the whole arrays, from the type of what the operation gives."""
    sizes = sizes_of(result)
    total = sum(sizes)
    if start:  # most give their operands, too
        match kind:
            case "collective-permute":
                return sizes[0]
            case "ragged-all-to-all":  # from, into, four lists of places, result
                return sizes[1]
            case "all-to-all" | "collective-broadcast":
                return total / 2
            case "all-gather" | "reduce-scatter":
                return total * devices / (devices + 1)
    return total * devices if kind == "reduce-scatter" else total
