"""The collectives of a compiled program, read off its text: kind, count, bytes, mesh axis.

An operation inside a loop counts as often as the loop turns, where the text says it. One
whose groups hold a device each sends nothing and is left out.
"""

import re
from collections import defaultdict
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, replace

import numpy as np
from jaxtyping import Int

from attn.plan.groups import groups_of

KINDS = (
    "all-reduce all-gather reduce-scatter all-to-all ragged-all-to-all "
    "collective-permute collective-broadcast"
).split()
OPERATION = re.compile(rf" = (.+?) ({'|'.join(KINDS)})(-start)?\(")
COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) .*\{$")
CALLED = re.compile(
    r"(?:calls|to_apply|body|condition|true_computation|false_computation)=%?([\w.\-]+)"
)
BRANCHES = re.compile(r"(?:branch_computations|called_computations)=\{([^}]*)\}")
TURNS = re.compile(r'"?known_trip_count"?:\{"?n"?:"?(\d+)')
ARRAY = re.compile(r"\b(pred|[a-z]\w*?\d+\w*)\[([\d,]*)\]")
BITS = re.compile(r"\d+")


@dataclass(frozen=True)
class Collective:
    """Operations of one kind along one part of a mesh."""

    kind: str
    axis: str
    """The mesh axes that a group lies along, as in `data` or `data+heads`."""
    devices: int
    """The devices of a group."""
    hosts: bool
    """Whether a group has devices of several hosts."""
    count: float | int = 1
    """Operations in one run of the program."""
    bytes: float | int = 0
    """Bytes of the whole arrays that a group has after, or had before, in all."""
    endless: bool = False
    """Whether a loop of unknown length holds them, of which one turn is counted."""

    @property
    def sent(self) -> float | int:
        """The bytes that a device must send, by an algorithm that sends the least."""
        share = (self.devices - 1) / self.devices
        if self.kind == "collective-permute":
            share = 1.0
        return self.bytes * share * (2 if self.kind == "all-reduce" else 1)


def collectives(
    text: str, mesh: Mapping[str, int], on_a_host: int
) -> tuple[Collective, ...]:
    """Reads the collectives off a program's text, those alike in one.

    Args:
        mesh: the sizes of the mesh's axes in order; the program numbers its devices so.
        on_a_host: the devices of a host, which are numbered one after another.
    """
    found: dict[Collective, list[float]] = defaultdict(lambda: [0.0, 0.0])
    times = dict(_times(text))
    for computation, line in _lines(text):
        turns, endless = times.get(computation, (0.0, False))
        one = _read(line, mesh, on_a_host) if turns else None
        if one is not None and one.devices > 1:
            sums = found[replace(one, count=0, bytes=0, endless=endless)]
            sums[0] += turns
            sums[1] += turns * one.bytes
    rows = [replace(one, count=n, bytes=size) for one, (n, size) in found.items()]
    return tuple(sorted(rows, key=lambda row: (-row.sent, row.kind, row.axis)))


def _lines(text: str) -> Iterator[tuple[str, str]]:
    """Every line of a program with the name of the computation that it is in."""
    name = ""
    for line in text.splitlines():
        if line[:1] not in ("", " ", "}") and (start := COMPUTATION.match(line)):
            name = start[1]
        elif line[:1] == " ":
            yield name, line


def _times(text: str) -> Iterator[tuple[str, tuple[float, bool]]]:
    """Counts the runs of each computation, and tells if a loop of unknown length has them."""
    calls: dict[str, list[tuple[str, float, bool]]] = defaultdict(list)
    called = set()
    for name, line in _lines(text):
        turns, unknown = _turns(line)
        for other in _called(line):
            calls[name].append((other, turns, unknown))
            called.add(other)
    order = [name for name in dict.fromkeys(n for n, _ in _lines(text))]
    runs = {name: [0.0, False] for name in order}
    for name in order:
        if name not in called:
            runs[name] = [1.0, False]
    for name in reversed(order):  # a computation stands before those that call it
        for other, turns, unknown in calls[name]:
            if other in runs:
                runs[other][0] += runs[name][0] * turns
                runs[other][1] = runs[other][1] or runs[name][1] or unknown
    for name, (count, endless) in runs.items():
        yield name, (count, bool(endless))


def _turns(line: str) -> tuple[float, bool]:
    """Counts the runs of what a line calls, and tells if they are not known."""
    if " while(" not in line:
        return 1.0, False
    known = TURNS.search(line)
    return (float(known[1]), False) if known else (1.0, True)


def _called(line: str) -> Iterator[str]:
    yield from CALLED.findall(line)
    for names in BRANCHES.findall(line):
        yield from (name.strip().lstrip("%") for name in names.split(","))


def _read(line: str, mesh: Mapping[str, int], on_a_host: int) -> Collective | None:
    """The collective of a line, if it is one."""
    match = OPERATION.search(line)
    if match is None:
        return None
    result, kind, start = match[1], match[2], bool(match[3])
    groups = groups_of(line, int(np.prod(list(mesh.values()))))
    axis, devices = along(groups, mesh)
    hosts = bool((groups // on_a_host != groups[:, :1] // on_a_host).any())
    return Collective(
        kind, axis, devices, hosts, 1, _whole(result, kind, start, devices)
    )


def along(groups: Int[np.ndarray, "M R"], mesh: Mapping[str, int]) -> tuple[str, int]:
    """The mesh axes along which the devices of any group differ, and a group's size."""
    places = np.stack(np.unravel_index(groups, tuple(mesh.values())))
    differ = (places != places[..., :1]).any(axis=(1, 2))
    names = [name for name, moves in zip(mesh, differ) if moves]
    return "+".join(names), groups.shape[1]


def _whole(result: str, kind: str, start: bool, devices: int) -> float | int:
    """The bytes of the whole arrays, from the type of what the operation gives."""
    sizes = [_size(dtype, dims) for dtype, dims in ARRAY.findall(result)]
    if start and kind == "collective-permute":
        return sizes[0]
    total = sum(sizes)
    if start and kind == "all-gather":  # it gives its operand, too
        return total * devices / (devices + 1)
    return total * devices if kind == "reduce-scatter" else total


def _size(dtype: str, dims: str) -> float:
    """The bytes of an array of a compiler's type, as in `bf16` and `8,128`."""
    bits = 8 if dtype == "pred" else int(BITS.search(dtype)[0])  # pyright: ignore
    return bits / 8 * float(np.prod([int(n) for n in dims.split(",") if n] or [1]))


def sent(rows: Sequence[Collective], *, hosts: bool) -> float | int:
    """The bytes that a device sends inside its host, or to others."""
    return sum(row.sent for row in rows if row.hosts == hosts)
