"""Tokens that are the bytes of UTF-8."""

from collections.abc import Sequence

from attn.tasks.vocabulary import Vocabulary


class ByteTokens:
    """The part of a task whose tokens are bytes that says what they mean."""

    @property
    def vocab_size(self) -> int:
        """The number of bytes, 256."""
        return 256

    def label(self, token: int) -> str:
        """The character of a byte."""
        return Vocabulary().label(token)

    def encode(self, text: str) -> list[int]:
        """The bytes of a text."""
        return list(text.encode())

    def decode(self, tokens: Sequence[int]) -> str:
        """The text of some bytes; what is no UTF-8 becomes U+FFFD."""
        return Vocabulary().decode(tokens)
