"""Records in files: typed JSON whose errors name the file and the remedy."""

from typing import Any, TypeVar

from attn.config import typed
from attn.config.typed import encode
from attn.errors import UserError

__all__ = ["decode", "encode"]

T = TypeVar("T")


def decode(kind: type[T], value: Any, *, where: Any) -> T:
    """Decodes JSON values as a record of type `kind`; ignores unknown fields.

    Args:
      where: the file, for the error.

    Raises:
      UserError: a field has another type or is missing; it names field and file.
    """
    try:
        return typed.decode(kind, value)
    except typed.Wrong as error:
        raise UserError(f"{where} {error}; run the experiment again") from None
