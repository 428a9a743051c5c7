"""The base of tasks on a user's own data: where it is, its content, its vocabulary."""

import hashlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, replace
from pathlib import Path

from attn.errors import UserError
from attn.tasks.base import Task
from attn.tasks.vocabulary import BYTES, NAMES, Vocabulary, check_name, fit

CHUNK = 2**24
"""Bytes of a file that are read at once."""
LARGEST = 0.4
"""The largest share of a held-out split."""


@dataclass(frozen=True)
class OwnData(Task):
    """The base of tasks on data of your own, known by content and not by name."""

    split_fields = ("held_out",)

    seq_len: int = 256
    data: str = ""
    """Where the data are; on the command line after the colon, as in text:FILE."""
    vocabulary: str = BYTES
    """bytes, characters, or the path of a tokenizer.json."""
    held_out: float = 0.1
    """Share of the data in the valid split, and in the test split."""
    sha256: str = ""
    """Hash of the content, found by itself; where given, other content is refused."""
    characters: str = ""
    """The vocabulary of characters, found by itself."""
    num_pieces: int = 0
    """The size of the vocabulary of a tokenizer.json, found by itself."""

    def __post_init__(self):
        check_name(type(self).__name__, self.vocabulary)
        if not 0 < self.held_out <= LARGEST:
            raise UserError(
                f"{type(self).__name__}.held_out = {self.held_out}; it must be above 0 "
                f"and at most {LARGEST}"
            )

    def texts(self) -> Iterator[tuple[str, bytes]]:
        """Yields all text in parts, each with its origin."""
        raise NotImplementedError

    def content(self) -> Iterator[bytes]:
        """Yields all that the hash of the content covers, but the vocabulary."""
        raise NotImplementedError

    def resolved(self) -> "OwnData":
        """The task with the hash and the vocabulary of its data as they are now.

        Raises:
            UserError: the data cannot be read, or are not what `sha256` says.
        """
        self.require_data()
        vocabulary = fit(self.vocabulary, self.texts())
        digest = self._digest()
        if self.sha256 not in ("", digest):
            raise UserError(
                f"{self.data} or its vocabulary has changed: its hash is {digest[:12]} "
                f"and was {self.sha256[:12]}; restore it, or take it as it is with "
                "--task.sha256 ''"
            )
        return replace(
            self,
            sha256=digest,
            characters=vocabulary.characters,
            num_pieces=vocabulary.num_pieces,
        )

    def require_data(self) -> None:
        """Raises `UserError` where no data are named."""
        if not self.data:
            raise UserError(
                f"task {self.name!r} has no data; name them, as in "
                f"--task {self.name}:{self.example}"
            )

    @property
    def example(self) -> str:
        """The data of an example of the command line."""
        return "FILE"

    @property
    def words(self) -> Vocabulary:
        """The vocabulary of a resolved task."""
        return Vocabulary(self.vocabulary, self.characters, self.num_pieces)

    @property
    def vocab_size(self) -> int:
        """The number of bytes, characters or pieces."""
        return self.words.size

    def label(self, token: int) -> str:
        """The byte, character or piece of a token."""
        return self.words.label(token)

    def encode(self, text: str) -> list[int]:
        """The tokens of a text in the vocabulary of the data."""
        return self.words.encode(text.encode(), "the text").tolist()

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of some tokens."""
        return self.words.decode(tokens)

    @property
    def slug(self) -> str:
        """The content and the vocabulary as a folder name, with what cuts rows."""
        kind = self.vocabulary if self.vocabulary in NAMES else "pieces"
        return "_".join([self.sha256[:32], kind, *self.cut_by])

    @property
    def cut_by(self) -> tuple[str, ...]:
        """The options that decide how rows are cut, where they are kept as rows."""
        return ()

    def _digest(self) -> str:
        digest = hashlib.sha256()
        for part in self.content():
            digest.update(part)
        if self.vocabulary not in NAMES:
            digest.update(Path(self.vocabulary).read_bytes())
        return digest.hexdigest()


def read_parts(path: Path) -> Iterator[tuple[str, bytes]]:
    """Yields a file in parts that end at lines, each with its origin.

    Raises:
        UserError: it cannot be read.
    """
    try:
        with path.open("rb") as file:
            while True:
                start = file.tell()
                part = file.read(CHUNK)
                if not part:
                    return
                origin = str(path) if start == 0 else f"{path}, after byte {start},"
                yield origin, part + file.readline()
    except OSError as error:
        raise UserError(f"{path}: {error.strerror}; name another file") from None
