"""The record of swaps: what each mechanism in pretrained weights makes of one text.

A file of its own, `swap.json`: no experiment made it.
"""

from collections.abc import Mapping
from dataclasses import dataclass, fields, replace
from pathlib import Path
from typing import Any

from attn.errors import UserError
from attn.kernels import Kernel, Softmax
from attn.records.estimates import Estimate, estimate
from attn.records.files import read_json, write_json
from attn.records.typed import decode, encode

FILE = "swap.json"
UNMODIFIED = "unmodified"
"""The name of the weights as they came."""


@dataclass(frozen=True)
class Point:
    """Pretrained weights under one mechanism."""

    line: str
    """The name of the replacement, or `UNMODIFIED`."""
    kernel: str
    """The mechanism with its knobs, as `describe` says it."""
    by_content: bool
    """Whether the content of tokens decides which scores are kept."""
    kept: float
    """The share of the scores that the mask shows and the mechanism keeps."""
    bits: tuple[float, ...]
    """Bits per byte of each window of text."""

    @property
    def key(self) -> tuple[str, str]:
        """The name of the point in its record."""
        return self.line, self.kernel


@dataclass(frozen=True)
class Swaps:
    """The points of one checkpoint on the same windows of text."""

    weights: str
    """The name of the checkpoint."""
    weights_sha256: Mapping[str, str]
    """The hash of each file of weights."""
    text: str
    """The data package that the windows are of, and its version."""
    windows_sha256: str
    """The hash of the tokens of all windows."""
    num_bytes: tuple[int, ...]
    """The bytes of text that are scored in each window."""
    tokens: int
    windows: int
    seed: int
    environments: tuple[Any, ...] = ()
    """Every environment that points were made in."""
    points: tuple[Point, ...] = ()

    def find(self, line: str, kernel: str) -> Point | None:
        """The point of a name, if it has been made."""
        return next((p for p in self.points if p.key == (line, kernel)), None)

    def difference(self, point: Point) -> Estimate | None:
        """The rise over the unmodified weights, paired by window: a paired t interval.

        What was trained after the swap is held against what was trained as much without
        one, and that against the weights as they came.
        """
        _, comma, training = point.line.partition(", ")
        line = f"{UNMODIFIED}{comma}{training}"
        if point.line == line:
            line = UNMODIFIED
        base = self.find(line, UNMODIFIED)
        if base is None or base is point:
            return None
        return estimate([a - b for a, b in zip(point.bits, base.bits, strict=True)])

    def with_point(self, point: Point, environment: Any) -> "Swaps":
        """The record with one more point, and the environment it was made in."""
        known = self.environments
        more = known if environment in known else (*known, environment)
        return replace(self, environments=more, points=(*self.points, point))


def describe(kernel: Kernel) -> str:
    """The mechanism with its own knobs, and any of softmax's that was changed."""
    common = {field.name: field.default for field in fields(Softmax)}
    knobs = [
        f"{field.name}={getattr(kernel, field.name)}"
        for field in fields(kernel)
        if field.name not in common or getattr(kernel, field.name) != field.default
    ]
    return " ".join([kernel.name, *knobs])


def begun(folder: Path, asked: Swaps) -> Swaps:
    """The record in a folder, to go on with, or the one that is asked for.

    Raises:
        UserError: the folder's record is of something else, or damaged.
    """
    path = folder / FILE
    values = read_json(path)
    if values is None:
        return asked
    found = decode(Swaps, values, where=path)
    for field in fields(Swaps):
        if field.name in ("environments", "points"):
            continue
        there, here = (getattr(one, field.name) for one in (found, asked))
        if there != here:
            raise UserError(
                f"{path} was made with {field.name} = {there}, and {here} is asked for; "
                "choose another --workdir"
            )
    return found


def save(folder: Path, swaps: Swaps) -> Path:
    """Writes the record into a folder, whole or not at all."""
    write_json(folder / FILE, encode(swaps))
    return folder / FILE
