"""English verses to be written in Spanish: the Bible of 1611 (1769) and that of 1909.

31,084 pairs of the King James Version (English; public domain but in the United Kingdom)
and the Reina Valera of 1909 (Spanish; public domain), of Debian's packages of the SWORD
modules. Verses are paired by their place, since both modules number them alike; pairs of
one sense, but not always of one division: a few verses begin or end elsewhere.

Bytes of UTF-8, all of a verse: with the default sizes, verses of at most 128 bytes in
English and 127 in Spanish remain, 15,790 of 31,084. The split is by the hash of the
English verse, so that verses that are said twice stay together; the Bible repeats itself
in other words, too, which the nearest training verse finds.
"""

from collections.abc import Sequence
from dataclasses import dataclass

from attn.tasks.packaged import Packaged
from attn.tasks.packages import archive, find
from attn.tasks.pairs import Pair
from attn.tasks.sword import verses
from attn.tasks.text_pairs import TextPairs

SPANISH = "reina-valera"


@dataclass(frozen=True)
class Verses(Packaged, TextPairs):
    """Write an English verse in Spanish."""

    name = "verses"
    package = "kjv"
    held_out = 0.05

    seq_len: int = 128
    """Bytes of the longest Spanish verse and its end, T."""
    source_len: int = 128  # pyright: ignore[reportIncompatibleVariableOverride, reportAssignmentType]
    """Bytes of the longest English verse, S."""

    @property
    def source(self) -> str:
        """The names and the versions of both data packages."""
        return f"{super().source}_{SPANISH}-{find(SPANISH).version}"

    def check(self) -> None:
        """Raises `UserError` where a data package is not here, or damaged."""
        super().check()
        archive(SPANISH, f"task {self.name!r}")

    def pairs(self) -> Sequence[Pair]:
        """The verses that both have, in the order of the Bible."""
        self.check()
        english, spanish = verses(self.archive()), verses(archive(SPANISH))
        both = [(a.encode(), b.encode()) for a, b in zip(english, spanish) if a and b]
        return [Pair(a, b, a) for a, b in both]
