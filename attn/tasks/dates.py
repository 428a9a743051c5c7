"""Dates as locales write them, to be written as ISO 8601 does: "2 de mar. de 1994".

    source  pt_BR 2 de mar. de 1994      target  1994-03-02

The shape of the well-known toy of dates (machine translation of dates to one form), with
the patterns and the names of months and weekdays that the Unicode CLDR has for each
locale, from the package Babel (BSD-3-Clause; the data under the Unicode licence). A date
is one of 1900 .. 2099, written in one of a locale's four styles: full, long, medium,
short. Styles with a year of two digits are left out. The locale stands before the date,
as a tag, for it alone tells 02/03/1994 of Great Britain from that of the United States.

Each pair is a date and a style, drawn without repetition. A date, in whatever locale,
is of one split: no date of the test split was seen in training, its month and year were.
"""

import re
from collections.abc import Sequence
from dataclasses import dataclass
from datetime import date, timedelta
from functools import lru_cache
from importlib.metadata import PackageNotFoundError, version
from importlib.util import find_spec

import numpy as np
from jaxtyping import Int

from attn.errors import UserError
from attn.tasks.base import SPLITS, Dataset
from attn.tasks.pairs import BytePairs, Pair
from attn.tasks.synthetic import require
from attn.tasks.targets import sources

LOCALES = (
    "en_US en_GB de_DE fr_FR es_ES it_IT pt_BR nl_NL sv_SE da_DK pl_PL fi_FI hu_HU tr_TR "
    "el_GR ja_JP nb_NO cs_CZ ro_RO id_ID ca_ES hr_HR eu_ES is_IS ru_RU uk_UA ko_KR zh_CN"
).split()
STYLES = ("full", "long", "medium", "short")
FIELDS = {"y": "year", "M": "month", "L": "month", "d": "day"}
"""The part of a date that a letter of CLDR's patterns stands for."""
FIRST, DAYS = date(1900, 1, 1), 73_049
"""The first day, and the number of days to the last of 2099."""


@dataclass(frozen=True)
class Dates(BytePairs):
    """Write a date of any locale as ISO 8601 does."""

    name = "dates"
    held_out = 0.05

    seq_len: int = 11
    """Bytes of a date and its end, T."""
    source_len: int = 56  # pyright: ignore[reportIncompatibleVariableOverride, reportAssignmentType]
    """Bytes of the longest tag and date, S."""
    num_locales: int = 16
    """The first of `LOCALES`."""
    num_dates: int = 60_000

    def __post_init__(self):
        super().__post_init__()
        words = f"it must be from 1 to {len(LOCALES)}"
        require(self, "num_locales", 1 <= self.num_locales <= len(LOCALES), words)
        # Two styles of each locale, at least, have a year of four digits.
        most = DAYS * 2 * self.num_locales
        words = f"it must be from 1 to {most}, or with more locales"
        require(self, "num_dates", 1 <= self.num_dates <= most, words)

    @property
    def source(self) -> str:
        """The version of Babel, which is that of the patterns."""
        try:
            return f"babel-{version('babel')}"
        except PackageNotFoundError:
            return ""

    def check(self) -> None:
        """Raises `UserError` without Babel, an optional extra."""
        if find_spec("babel") is None:
            raise UserError(
                "task 'dates' needs Babel, which is not installed; "
                "run: pip install 'attn[data]'"
            )

    def pairs(self) -> Sequence[Pair]:
        """Draws dates and styles, and writes each as its locale does."""
        self.check()
        return _pairs(self.num_locales, self.num_dates, self.data_seed)

    def guesses(self, data: Dataset) -> dict[str, Int[np.ndarray, "#n T"]]:
        """The commonest targets, and the digits of the source in their order.

        `digits` says the number of four digits as the year and, in turn, the day and the
        month, as most locales do; where no digits say the month, January.
        """
        texts = map(self.spelled, sources(data.splits["test"]))
        said = self.as_targets([digits(text).encode() for text in texts])
        return super().guesses(data) | {"digits": said}

    def said_at(self, text: str, iso: str) -> dict[str, tuple[int, int]]:
        """The bytes of a source that say the year, the month and the day, as spans.

        Raises:
            UserError: the source does not say this date as its locale does.
        """
        self.check()
        return _parts(text, date.fromisoformat(iso))


def _parts(text: str, when: date) -> dict[str, tuple[int, int]]:
    from babel.dates import DateTimeFormat, parse_pattern

    name, _, written = text.partition(" ")
    for pattern in (_pattern(*known) for known in patterns(name)):
        # A pattern is a text with fields, as in "%(d)s. %(MMMM)s %(y)s".
        pieces = re.split(r"%\((\w+)\)s", str(parse_pattern(pattern).format))
        values, said = DateTimeFormat(when, name), f"{name} "
        found = {}
        for i, piece in enumerate(pieces):
            start = len(said.encode())
            said += values[piece] if i % 2 else piece.replace("%%", "%")
            if i % 2 and piece[0] in FIELDS:
                found[FIELDS[piece[0]]] = start, len(said.encode())
        if said == text:
            return found
    raise UserError(
        f"{written!r} is not {when} in a style of {name}; give its own date"
    )


def _pattern(name: str, style: str) -> str:
    from babel import Locale

    return Locale.parse(name).date_formats[style].pattern


@lru_cache(maxsize=2)
def _pairs(num_locales: int, num_dates: int, seed: int) -> tuple[Pair, ...]:
    from babel.dates import format_date

    known = [pattern for name in LOCALES[:num_locales] for pattern in patterns(name)]
    rng = np.random.default_rng([seed, len(SPLITS)])  # no split's own
    drawn = rng.choice(DAYS * len(known), num_dates, replace=False)
    found = []
    for day, which in zip(*divmod(drawn, len(known))):
        when, (name, style) = FIRST + timedelta(int(day)), known[which]
        text = f"{name} {format_date(when, style, locale=name)}"
        iso = when.isoformat().encode()
        found.append(Pair(text.encode(), iso, iso))
    return tuple(found)


def patterns(name: str) -> list[tuple[str, str]]:
    """The styles of a locale whose year has four digits, each with the locale's name."""
    from babel import Locale

    known = Locale.parse(name).date_formats
    return [(name, style) for style in STYLES if "yy" not in known[style].pattern]


def digits(text: str) -> str:
    """A date from the numbers of a text, where its last but the year is the month."""
    numbers = re.findall(r"\d+", text)
    year = next((n for n in numbers if len(n) == 4), "")
    day, month, *_ = [*(n for n in numbers if len(n) < 4), "1", "1"]
    return f"{year}-{month:0>2}-{day:0>2}"
