"""Tasks as configs, with their data and trivial baselines.

Nothing heavy loads here; `attn.data.build` brings TFDS and `attn.data.pipeline` Grain.
"""

from attn.tasks.addresses import Addresses
from attn.tasks.alignments import Alignments
from attn.tasks.associative_recall import AssociativeRecall
from attn.tasks.base import (
    SPLITS,
    Dataset,
    Rows,
    Task,
)
from attn.tasks.brevo import Brevo
from attn.tasks.copying import Copy, SelectiveCopy
from attn.tasks.counted_words import CommonWords, FrequentWords
from attn.tasks.csv import Csv
from attn.tasks.dates import Dates
from attn.tasks.depo import Depo
from attn.tasks.digits import Digits
from attn.tasks.induction import Induction
from attn.tasks.listops import ListOps
from attn.tasks.mails import Mails
from attn.tasks.mano import Mano
from attn.tasks.masked import MaskedText
from attn.tasks.mqar import MQAR
from attn.tasks.ngram_lookup import NgramLookup
from attn.tasks.pathfinder import Pathfinder
from attn.tasks.pixels import Pixels
from attn.tasks.pronounce import Pronounce
from attn.tasks.pydoc import PyDoc
from attn.tasks.questions import Questions
from attn.tasks.sorting import Sort
from attn.tasks.spans import Spans
from attn.tasks.speeches import Speeches
from attn.tasks.summaries import Summaries
from attn.tasks.text import Text
from attn.tasks.tfds import Tfds
from attn.tasks.variable_tracking import VariableTracking
from attn.tasks.verses import Verses
from attn.tasks.word_problem import WordProblem

TASKS: dict[str, type[Task]] = {
    task.name: task
    for task in (
        MQAR,
        PyDoc,
        Digits,
        ListOps,
        Pathfinder,
        Induction,
        AssociativeRecall,
        SelectiveCopy,
        Copy,
        Sort,
        NgramLookup,
        WordProblem,
        Mano,
        Depo,
        Brevo,
        CommonWords,
        FrequentWords,
        VariableTracking,
        Pixels,
        Mails,
        Speeches,
        Addresses,
        Dates,
        Pronounce,
        Verses,
        Alignments,
        MaskedText,
        Spans,
        Summaries,
        Questions,
        Text,
        Csv,
        Tfds,
    )
}

__all__ = [
    "MQAR",
    "SPLITS",
    "TASKS",
    "Addresses",
    "Alignments",
    "AssociativeRecall",
    "Brevo",
    "CommonWords",
    "Copy",
    "Csv",
    "Dataset",
    "Dates",
    "Depo",
    "Digits",
    "FrequentWords",
    "Induction",
    "ListOps",
    "Mails",
    "Mano",
    "MaskedText",
    "NgramLookup",
    "Pathfinder",
    "Pixels",
    "Pronounce",
    "PyDoc",
    "Questions",
    "Rows",
    "SelectiveCopy",
    "Sort",
    "Spans",
    "Speeches",
    "Summaries",
    "Task",
    "Text",
    "Tfds",
    "VariableTracking",
    "Verses",
    "WordProblem",
]
