"""Classification of the rows of a user's own CSV file.

python launch.py run digits_softmax --task csv:FILE --task.label-column stars
"""

import csv
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path

from attn.errors import UserError, unknown
from attn.tasks.base import SPLITS
from attn.tasks.labelled import Example, Labelled

DELIMITERS = {".tsv": "\t", ".tab": "\t"}
"""The delimiter of files whose ending says so; otherwise a comma."""
LONGEST = 2**30
"""Characters of the longest field that is read."""


@dataclass(frozen=True)
class Csv(Labelled):
    """Tell the label of a text, both columns of your own CSV file."""

    name = "csv"

    split_column: str = ""
    """The column that says train, valid or test; rows are split by hash without it."""

    @property
    def by_hash(self) -> bool:
        return not self.split_column

    @property
    def split_fields(self) -> tuple[str, ...]:  # pyright: ignore[reportIncompatibleVariableOverride]
        return (*super().split_fields, "split_column")

    def examples_of_data(self) -> Iterator[Example]:
        path = Path(self.data)
        delimiter = DELIMITERS.get(path.suffix, ",")
        csv.field_size_limit(LONGEST)
        try:
            with path.open(encoding="utf-8-sig", newline="") as file:
                reader = csv.DictReader(file, delimiter=delimiter, strict=True)
                self._check_columns(reader.fieldnames or ())
                for row in reader:
                    yield self._example(row, f"{path} line {reader.line_num}")
        except OSError as error:
            raise UserError(f"{path}: {error.strerror}; name another file") from None
        except UnicodeDecodeError as error:
            raise UserError(
                f"{path} is not UTF-8 ({error.reason}); convert it"
            ) from None
        except csv.Error as error:
            raise UserError(f"{path} is no CSV: {error}; mend that line") from None

    def _check_columns(self, names) -> None:
        if not names:
            raise UserError(f"{self.data} is empty; its first line must name columns")
        for field in ("text_column", "label_column", "split_column"):
            column = getattr(self, field)
            if column and column not in names:
                option = f"--task.{field.replace('_', '-')}"
                raise UserError(
                    f"{self.data}: {unknown('column', column, names)} ({option})"
                )

    def _example(self, row: dict, where: str) -> Example:
        if None in row or None in row.values():
            raise UserError(
                f"{where} has not as many fields as the first line; mend it"
            )
        split = row[self.split_column] if self.split_column else ""
        if self.split_column and split not in SPLITS:
            raise UserError(f"{where}: {unknown('split', split, SPLITS)}")
        text = row[self.text_column].encode()
        if not text:
            raise UserError(f"{where} has no {self.text_column}; fill it, or remove it")
        if not row[self.label_column]:
            raise UserError(
                f"{where} has no {self.label_column}; fill it, or remove it"
            )
        return where, split, text, row[self.label_column]
