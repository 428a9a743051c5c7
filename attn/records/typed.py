"""Records in files: typed JSON, where what is wrong names its file and the way out."""

from typing import Any, TypeVar

from attn.config import typed
from attn.config.typed import encode
from attn.errors import UserError

__all__ = ["decode", "encode"]

T = TypeVar("T")


def decode(kind: type[T], value: Any, *, where: Any) -> T:
    """The record that JSON values stand for; unknown fields are left out.

    Args:
      where: the file, for the error.

    Raises:
      UserError: a field has another type or is missing; it names field and file.
    """
    try:
        return typed.decode(kind, value)
    except typed.Wrong as error:
        raise UserError(f"{where} {error}; run the experiment again") from None
