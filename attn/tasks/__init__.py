"""What a model is asked to do: tasks as configs, their data, and trivial baselines.

Nothing heavy loads here; `attn.data.build` brings TFDS and `attn.data.pipeline` Grain.
"""

from attn.tasks.base import (
    ACCURACY,
    BITS_PER_BYTE,
    SPLITS,
    Dataset,
    Metric,
    Rows,
    Task,
)
from attn.tasks.digits import Digits
from attn.tasks.listops import ListOps
from attn.tasks.mqar import MQAR
from attn.tasks.pydoc import PyDoc

TASKS: dict[str, type[Task]] = {
    task.name: task for task in (MQAR, PyDoc, Digits, ListOps)
}

__all__ = [
    "ACCURACY",
    "BITS_PER_BYTE",
    "MQAR",
    "SPLITS",
    "TASKS",
    "Dataset",
    "Digits",
    "ListOps",
    "Metric",
    "PyDoc",
    "Rows",
    "Task",
]
