"""Every synthetic task at a small size, and its rows as training reads them."""

import numpy as np

from attn.tasks import (
    SPLITS,
    AssociativeRecall,
    Brevo,
    CommonWords,
    Copy,
    Dataset,
    Depo,
    FrequentWords,
    Induction,
    Mano,
    NgramLookup,
    SelectiveCopy,
    Sort,
    VariableTracking,
    WordProblem,
)

SIZES = {"num_train": 400, "num_valid": 1, "num_test": 1500}
TASKS = [
    Induction(seq_len=12, vocab_size=8, **SIZES),
    AssociativeRecall(**SIZES),
    SelectiveCopy(seq_len=30, num_tokens=6, vocab_size=8, **SIZES),
    Copy(seq_len=12, min_tokens=2, vocab_size=7, **SIZES),
    Sort(seq_len=10, vocab_size=9, **SIZES),
    NgramLookup(seq_len=24, vocab_size=12, num_answers=2, **SIZES),
    WordProblem(seq_len=10, **SIZES),
    Mano(seq_len=10, modulus=7, **SIZES),
    Depo(seq_len=26, num_nodes=6, num_queries=4, num_names=9, **SIZES),
    Brevo(seq_len=66, num_graphs=2, num_nodes=5, **SIZES),
    CommonWords(seq_len=30, num_words=22, num_answers=3, repeats=4, **SIZES),
    FrequentWords(seq_len=60, num_words=9, num_answers=2, **SIZES),
    VariableTracking(seq_len=36, num_chains=3, num_hops=2, num_names=15, **SIZES),
]
BY_NAME = {task.name: task for task in TASKS}


def dataset(task):
    return Dataset(
        {
            split: {
                key: np.asarray(array, np.float32 if key == "weights" else np.int32)
                for key, array in task.rows(split).items()
            }
            for split in SPLITS
        },
        "",
        "",
    )
