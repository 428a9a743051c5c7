"""Panels of a record's plot: lines of time against tokens, by case or by family."""

import math
import textwrap
from collections import defaultdict
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from typing import Any

from attn.bench.measure import Spread
from attn.bench.ours import OURS
from attn.bench.record import DecodingRecord, GrowthRecord, Record
from attn.plots.style import FAMILY_NAMES, MARKERS, Theme

LIBRARIES = {
    "attn": ("o", "dense"),
    "jax": ("s", "other"),
    "flax": ("v", "other"),
    "torch": ("^", "sparse"),
    "attnax": ("D", "lowrank"),
    "fla": ("X", "recurrent"),
}
"""The marker of each library, and the family whose hue it has."""
TITLE = 58
"""The most letters in a line of a title, so that it ends before the next panel."""
STYLES = ("-", (0, (5, 1.2)), (0, (1.2, 1.2)), (0, (5, 1.2, 1.2, 1.2)))

Times = Mapping[int, Spread]
"""Milliseconds by tokens."""


@dataclass(frozen=True)
class Line:
    """A line of a panel."""

    name: str
    times: Times
    colour: Any
    marker: str
    style: Any = "-"
    width: float = 1.0
    crossing: int | None = None
    """The number of tokens from which it is faster than softmax."""
    bars: bool = False
    """Whether the minimum and the maximum time are drawn."""


@dataclass(frozen=True)
class Panel:
    """A panel: its title, its colour and its lines."""

    title: str
    colour: Any
    lines: Sequence[Line]


def make_panels(record: Record, theme: Theme) -> list[Panel]:
    """The panels of a record; none where no case has two lengths."""
    if record.decoding:
        return _of_steps(record.decoding, theme)
    return (_by_family if record.growth else _by_case)(record, theme)


def times_by_case(record: Record) -> dict[str, dict[str, Times]]:
    """Times by panel and rival, where at least two lengths were timed."""
    found: dict[str, dict[str, dict[int, Spread]]] = defaultdict(
        lambda: defaultdict(dict)
    )
    for case in record.cases:
        what, of = f"{case.mask}, {case.direction}", case.shape_at_any_length
        title = f"{textwrap.fill(what, TITLE)}\n{case.dtype}, {of}"
        for row in case.rows:
            if row.ms is not None:
                found[title][row.rival][case.tokens] = row.ms
    return {
        title: dict(lines)
        for title, lines in found.items()
        if len({tokens for line in lines.values() for tokens in line}) > 1
    }


def _by_case(record: Record, theme: Theme) -> list[Panel]:
    return [
        Panel(
            title,
            theme.ink,
            [_library(name, line, theme) for name, line in own.items()],
        )
        for title, own in times_by_case(record).items()
    ]


def _library(name: str, times: Times, theme: Theme) -> Line:
    marker, family = LIBRARIES.get(name.replace(".", " ").split()[0], ("P", "other"))
    style = "-" if name in (OURS, "jax.nn", "torch sdpa") else "--"
    width = 2.0 if name == OURS else 1.0
    return Line(name, times, theme.hue(family), marker, style, width, bars=True)


def _by_family(record: Record, theme: Theme) -> list[Panel]:
    """Makes a row of panels a family and a column a direction, softmax in each."""
    found = []
    for family in dict.fromkeys(one.family for one in record.growth):
        own = [one for one in record.growth if one.family == family]
        # Shades rise with the cost of training, about as the labels do, in both columns.
        trained = {one.rival: _times(record, one) for one in own if one.backward}
        names = sorted(trained, key=lambda name: _most(trained[name]))
        names = [name for name in names if name != OURS]
        shades = dict(zip(names, theme.shades(family, len(names)))) if names else {}
        for backward in (False, True):
            by_name = {one.rival: one for one in own if one.backward == backward}
            lines = [
                Line(
                    by_name[name].mechanism,
                    _times(record, by_name[name]),
                    shades[name],
                    MARKERS.get(family, "P"),
                    STYLES[i % len(STYLES)],
                    crossing=_crossing(by_name[name]),
                )
                for i, name in enumerate(names)
            ]
            ours = next(
                o for o in record.growth if (o.rival, o.backward) == (OURS, backward)
            )
            softmax = Line(
                "softmax", _times(record, ours), theme.hue("dense"), "o", width=2.4
            )
            title = f"{FAMILY_NAMES.get(family, family)}, {ours.direction}"
            shown = [line for line in (*lines, softmax) if line.times]
            found.append(Panel(title, theme.hue(family), shown))
    return found


def _times(record: Record, one: GrowthRecord) -> Times:
    rows = {
        c.tokens: c.row(one.rival) for c in record.cases if c.backward == one.backward
    }
    times = {tokens: row.time for tokens, row in rows.items() if row is not None}
    return {tokens: time for tokens, time in sorted(times.items()) if time is not None}


def _most(times: Times) -> float:
    return max((time.median for time in times.values()), default=math.inf)


def _crossing(one: GrowthRecord) -> int | None:
    at = one.crossover
    return at.tokens if at is not None and at.kind == "at" else None


def _of_steps(records: Sequence[DecodingRecord], theme: Theme) -> list[Panel]:
    """Makes a panel a family, of one step of each mechanism, softmax in each."""
    found = []
    dense = next((one for one in records if one.mechanism == "softmax"), None)
    for family in dict.fromkeys(one.family for one in records):
        own = [one for one in records if one.family == family and one is not dense]
        own = sorted(own, key=lambda one: _most(_step_times(one)))
        shades = theme.shades(family, len(own)) if own else []
        lines = [
            Line(
                *(one.mechanism, _step_times(one), shade, MARKERS.get(family, "P")),
                STYLES[i % len(STYLES)],
            )
            for i, (one, shade) in enumerate(zip(own, shades, strict=True))
        ]
        if dense is not None:
            times = _step_times(dense)
            lines.append(Line("softmax", times, theme.hue("dense"), "o", width=2.4))
        shown = [line for line in lines if line.times]
        title = FAMILY_NAMES.get(family, family)
        found.append(Panel(title, theme.hue(family), shown))
    return found


def _step_times(one: DecodingRecord) -> Times:
    return {x.tokens: x.row.ms for x in one.steps if x.row.ms is not None}
