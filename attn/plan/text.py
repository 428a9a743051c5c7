"""The text of a compiled program: its computations, how often each runs, what lines make."""

import re
from collections import defaultdict
from collections.abc import Iterator, Sequence
from dataclasses import dataclass

import numpy as np

COMPUTATION = re.compile(r"^(?:ENTRY )?%?([\w.\-]+) .*\{$")
CALLED = re.compile(
    r"(?:calls|to_apply|body|condition|true_computation|false_computation)=%?([\w.\-]+)"
)
BRANCHES = re.compile(r"(?:branch_computations|called_computations)=\{([^}]*)\}")
TURNS = re.compile(r'"?known_trip_count"?:\{"?n"?:"?(\d+)')
ARRAY = re.compile(r"\b(pred|[a-z]\w*?\d+\w*)\[([\d,]*)\]")
BITS = re.compile(r"\d+")
CHANNEL = re.compile(r"channel_id=(\d+)")
MADE = re.compile(r"^ +(ROOT )?%?([\w.\-]+) = (\S+) ")
UPDATE = re.compile(r" dynamic-update-slice\(%?[\w.\-]+, %?([\w.\-]+)[,)]")


@dataclass(frozen=True)
class Program:
    """The text of a program, read once."""

    lines: tuple[tuple[str, str], ...]
    """Every line with the name of its computation."""
    runs: dict[str, tuple[float, bool]]
    """How often each computation runs, and whether a loop of unknown length has it."""
    made: dict[str, str]
    """The line that makes each value, by the name of the value."""
    roots: dict[str, str]
    """The line that makes the result of each computation."""

    @classmethod
    def of(cls, text: str) -> "Program":
        """Reads a text."""
        lines = tuple(_lines(text))
        made, roots = {}, {}
        for computation, line in lines:
            if found := MADE.match(line):
                made[found[2]] = line
                if found[1]:
                    roots[computation] = line
        return cls(lines, dict(_runs(lines)), made, roots)

    @property
    def repeats(self) -> bool:
        """Whether a loop turns more than once, as far as the text says."""
        return any(_turns(line) != (1.0, False) for _, line in self.lines)

    def step(self, computation: str, line: str) -> str | None:
        """The channel of an operation that several fusions run a part of each.

        None of one that a single line runs; a scattered sum is one fusion.
        """
        if not computation.startswith(("async_collective_fusion", "fused_computation")):
            return None
        found = CHANNEL.search(line)
        return None if found is None else found[1]

    def written(self, name: str) -> float | None:
        """The share of an array that is written into it to make a value.

        None where the value is made in another way.
        """
        line = self.made.get(name, "")
        if (called := CALLED.search(line)) and " fusion(" in line:
            line = self.roots.get(called[1], "")
        whole, update = MADE.match(line), UPDATE.search(line)
        if whole is None or update is None:
            return None
        part = MADE.match(self.made.get(update[1], ""))
        return None if part is None else sizes_of(part[3])[0] / sizes_of(whole[3])[0]


def sizes_of(result: str) -> list[float]:
    """The bytes of every array of a type, as in `(bf16[8,128]{1,0}, f32[])`."""
    return [_size(dtype, dims) for dtype, dims in ARRAY.findall(result)]


def _lines(text: str) -> Iterator[tuple[str, str]]:
    """Every line of a program with the name of the computation that it is in."""
    name = ""
    for line in text.splitlines():
        if line[:1] not in ("", " ", "}") and (start := COMPUTATION.match(line)):
            name = start[1]
        elif line[:1] == " ":
            yield name, line


def _runs(
    lines: Sequence[tuple[str, str]],
) -> Iterator[tuple[str, tuple[float, bool]]]:
    """Counts the runs of each computation, and tells if a loop of unknown length has them."""
    calls: dict[str, list[tuple[str, float, bool]]] = defaultdict(list)
    called = set()
    for name, line in lines:
        turns, unknown = _turns(line)
        for other in _called(line):
            calls[name].append((other, turns, unknown))
            called.add(other)
    order = list(dict.fromkeys(name for name, _ in lines))
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


def _size(dtype: str, dims: str) -> float:
    """The bytes of an array of a compiler's type, as in `bf16` and `8,128`."""
    bits = 8 if dtype == "pred" else int(BITS.search(dtype)[0])  # pyright: ignore
    return bits / 8 * float(np.prod([int(n) for n in dims.split(",") if n] or [1]))
