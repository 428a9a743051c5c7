"""Vocabularies of a user's own text: bytes, characters, or a tokenizer.json."""

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from pathlib import Path
from typing import Any

import numpy as np
from jaxtyping import Integer

from attn.errors import UserError
from attn.tasks.base import small_dtype

BYTES, CHARACTERS = NAMES = ("bytes", "characters")


@dataclass(frozen=True)
class Vocabulary:
    """A mapping of text to tokens and back."""

    name: str = BYTES
    """`bytes`, `characters`, or the path of a tokenizer.json."""
    characters: str = ""
    """All characters of the text, in order; the token of each is its index."""
    num_pieces: int = 0
    """The number of pieces of the tokenizer.json."""

    @property
    def size(self) -> int:
        """The number of different tokens, V; at least 1."""
        if self.name == BYTES:
            return 256
        return len(self.characters) or self.num_pieces or 1

    def label(self, token: int) -> str:
        """A token in readable form."""
        if self.name == BYTES:
            return chr(token) if token < 128 else f"{token:02x}"
        if self.name == CHARACTERS:
            return self.characters[token]
        return load_tokenizer(self.name).id_to_token(token) or ""

    def encode(self, text: bytes, where: str) -> Integer[np.ndarray, " tokens"]:
        """The tokens of a text, in the smallest dtype.

        Args:
            where: the origin of the text, named by the error that it is not UTF-8.
        """
        if self.name == BYTES:
            return np.frombuffer(text, np.uint8)
        decoded = decode(text, where)
        if self.name == CHARACTERS:
            return self._indices(decoded)
        ids = load_tokenizer(self.name).encode(decoded, add_special_tokens=False).ids
        return np.asarray(ids, small_dtype(self.size))

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of some tokens; bytes that are no UTF-8 become U+FFFD."""
        if self.name == BYTES:
            return bytes(tokens).decode(errors="replace")
        if self.name == CHARACTERS:
            return "".join(self.characters[token] for token in tokens)
        return load_tokenizer(self.name).decode([*tokens])

    def _indices(self, text: str) -> np.ndarray:
        codes = np.frombuffer(text.encode("utf-32-le"), np.uint32)
        known = np.frombuffer(self.characters.encode("utf-32-le"), np.uint32)
        index = np.searchsorted(known, codes)
        found = known[np.minimum(index, len(known) - 1)] == codes
        if not found.all():
            other = text[int(np.argmin(found))]
            raise UserError(
                f"{other!r} is none of the {len(known)} characters of the data"
            )
        return index.astype(small_dtype(self.size))


def fit(name: str, texts: Iterable[tuple[str, bytes]]) -> Vocabulary:
    """The vocabulary of that name for texts, each with its origin."""
    if name == BYTES:
        return Vocabulary(name)
    if name == CHARACTERS:
        found: set[str] = set()
        for where, text in texts:
            found.update(decode(text, where))
        return Vocabulary(name, characters="".join(sorted(found)))
    return Vocabulary(name, num_pieces=load_tokenizer(name).get_vocab_size())


def check_name(owner: str, name: str) -> None:
    """Raises `UserError` for a name that is no vocabulary's."""
    if name not in NAMES and Path(name).suffix != ".json":
        raise UserError(
            f"{owner}.vocabulary = {name!r}; it must be {BYTES}, {CHARACTERS} or the "
            "path of a tokenizer.json"
        )


def decode(text: bytes, where: str) -> str:
    """Decodes UTF-8; the error names the origin, the byte and the way out."""
    try:
        return text.decode()
    except UnicodeDecodeError as error:
        raise UserError(
            f"{where} is not UTF-8 (byte {error.start}: {text[error.start]:#04x}); "
            f"convert it, or read it with --task.vocabulary {BYTES}"
        ) from None


@lru_cache(maxsize=2)
def load_tokenizer(path: str) -> Any:
    """The tokenizer of a tokenizer.json, by the package tokenizers."""
    if not Path(path).is_file():
        raise UserError(f"vocabulary {path}: there is no such file")
    if find_spec("tokenizers") is None:
        raise UserError(
            f"vocabulary {path} needs the package tokenizers, which is not installed; "
            "run: pip install 'attn[text]'"
        )
    from tokenizers import Tokenizer  # pyright: ignore[reportMissingImports]

    try:
        found = Tokenizer.from_file(path)
    except Exception as error:
        raise UserError(f"vocabulary {path} is no tokenizer.json: {error}") from None
    found.no_truncation()  # rows are cut, and padded, here
    found.no_padding()
    return found
