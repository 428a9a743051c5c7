"""Tasks as configs, with their data and trivial baselines.

Nothing heavy loads here; `attn.data.build` brings TFDS and `attn.data.pipeline` Grain.
"""

from attn.tasks.base import (
    SPLITS,
    Dataset,
    Rows,
    Task,
)
from attn.tasks.csv import Csv
from attn.tasks.digits import Digits
from attn.tasks.listops import ListOps
from attn.tasks.mqar import MQAR
from attn.tasks.pydoc import PyDoc
from attn.tasks.text import Text
from attn.tasks.tfds import Tfds

TASKS: dict[str, type[Task]] = {
    task.name: task for task in (MQAR, PyDoc, Digits, ListOps, Text, Csv, Tfds)
}

__all__ = [
    "MQAR",
    "SPLITS",
    "TASKS",
    "Csv",
    "Dataset",
    "Digits",
    "ListOps",
    "PyDoc",
    "Rows",
    "Task",
    "Text",
    "Tfds",
]
