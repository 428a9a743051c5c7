"""ListOps: the value of a nested expression such as `[MAX 4 [MIN 2 7 ] 0 ]`.

Rules of Long Range Arena (Tay et al. 2021; `lra_benchmarks/data/listops.py`), after
Nangia and Bowman 2018: an argument is an operator with probability 0.25, an operator
has 2 .. `max_args` arguments, trees are kept where `min_len` < tokens <= `seq_len`, and
no expression comes twice. The default is a short variant; LRA's own is
`ListOps(seq_len=2000, min_len=500, num_train=96_000, num_valid=2_000, num_test=2_000)`,
whose code keeps trees of fewer than 2,000 tokens.
Token ids are the fixed order of `TOKENS`; LRA took the order of a Python set, so that
they changed from process to process.
"""

from collections import Counter, defaultdict
from dataclasses import dataclass
from functools import lru_cache

import numpy as np
from jaxtyping import Int, Integer

from attn.errors import UserError, require_positive, unknown
from attn.objectives import Classify
from attn.tasks.base import SPLITS, Dataset, Rows, Task, require_seed
from attn.tasks.listops_trees import CLOSE, MIN, TOKENS, fold, grow

ROOTS_AT_ONCE = 4096


@dataclass(frozen=True)
class ListOps(Task):
    """Say which of ten digits an expression is worth."""

    name = "listops"
    objective = Classify()
    padded = True
    split_fields = ("num_train", "num_valid")

    seq_len: int = 128
    """Tokens of a row, T; shorter expressions are padded at the end."""
    min_len: int = 32
    """Length that every expression exceeds."""
    max_depth: int = 10
    max_args: int = 10
    num_train: int = 16_384
    num_valid: int = 1_024
    num_test: int = 2_048
    data_seed: int = 0

    def __post_init__(self):
        require_positive(self, "seq_len", "min_len")
        require_positive(self, "num_train", "num_valid", "num_test")
        require_seed(self)
        for field, least in (("max_depth", 2), ("max_args", 2)):
            if getattr(self, field) < least:
                value = getattr(self, field)
                raise UserError(
                    f"ListOps.{field} = {value}; it must be at least {least}"
                )
        if not max(self.min_len, 3) < self.seq_len:
            raise UserError(
                f"ListOps.min_len = {self.min_len}; it must be below seq_len = "
                f"{self.seq_len}, and seq_len above 3"
            )

    def label(self, token: int) -> str:
        """The symbol of a token."""
        return TOKENS[token]

    @property
    def vocab_size(self) -> int:
        """The number of symbols: padding, digits, operators and the closing bracket."""
        return len(TOKENS)

    @property
    def num_classes(self) -> int:
        """The number of digits, 10."""
        return 10

    def rows(self, split: str) -> Rows:
        """Makes tokens [n, T], padded with 0; targets [n, 1]; lengths [n]."""
        if split not in SPLITS:
            raise unknown("split", split, SPLITS)
        sizes = [self.num_train, self.num_valid, self.num_test]
        start = sum(sizes[: SPLITS.index(split)])
        chosen = slice(start, start + sizes[SPLITS.index(split)])
        return {key: array[chosen] for key, array in _expressions(self).items()}

    def baselines(self, data: Dataset) -> dict[str, float]:
        """Computes test accuracies of look-up tables filled on the train split.

        `root` looks at the first token alone; `root_and_leaves` also at that operator
        applied to its direct digits, and at how many nested arguments it has.
        """
        train, test = data.splits["train"], data.splits["test"]
        tables = {
            "majority": lambda rows: np.zeros((len(rows["tokens"]), 1), int),
            "root": lambda rows: rows["tokens"][:, :1].astype(int),
            "root_and_leaves": lambda rows: root_view(rows["tokens"]),
        }
        return {"chance": 0.1} | {
            name: table_accuracy(
                view(train), train["targets"], view(test), test["targets"]
            )
            for name, view in tables.items()
        }


@lru_cache(maxsize=1)
def _expressions(task: ListOps) -> Rows:
    """Makes the rows of all three splits in turn, without repeats."""
    rng = np.random.default_rng(task.data_seed)
    wanted = task.num_train + task.num_valid + task.num_test
    seen: set[bytes] = set()  # for membership only, never iterated
    kept: list[tuple[np.ndarray, int, int]] = []
    barren = 0
    while len(kept) < wanted:
        before = len(kept)
        for tokens, length, value in zip(
            *grow(rng, ROOTS_AT_ONCE, task.seq_len, task.max_depth, task.max_args)
        ):
            if length > task.min_len and tokens.tobytes() not in seen:
                seen.add(tokens.tobytes())
                kept.append((tokens, length, value))
        barren = barren + 1 if len(kept) == before else 0
        if barren == 50:
            raise UserError(
                f"ListOps found {len(kept)} of {wanted} different expressions with "
                f"min_len = {task.min_len} and seq_len = {task.seq_len}; widen these"
            )
    tokens, lengths, values = zip(*kept[:wanted])
    return {
        "tokens": np.stack(tokens),
        "targets": np.array(values, np.uint8)[:, None],
        "lengths": np.array(lengths, np.min_scalar_type(task.seq_len)),
    }


def root_view(tokens: Integer[np.ndarray, "n T"]) -> Int[np.ndarray, "n 3"]:
    """Makes [n, 3]: root operator, value over direct digits (-1: none), nested."""
    opens, closes = (tokens >= MIN) & (tokens < CLOSE), tokens == CLOSE
    depth = np.cumsum(opens, axis=1) - np.cumsum(closes, axis=1)
    leaf = (depth == 1) & (tokens >= 1) & (tokens < MIN)
    nested = (opens & (depth == 2)).sum(axis=1)
    counts = np.stack([(leaf & (tokens == d + 1)).sum(axis=1) for d in range(10)], 1)
    some = counts.any(axis=1)
    counts[~some, 0] = 1
    root = tokens[:, 0].astype(int)
    return np.stack([root, np.where(some, fold(root, counts), -1), nested], axis=1)


def table_accuracy(
    keys: Int[np.ndarray, "n k"],
    labels: Integer[np.ndarray, "n 1"],
    test_keys: Int[np.ndarray, "m k"],
    test_labels: Integer[np.ndarray, "m 1"],
) -> float:
    """The accuracy of the commonest train label of each key; of all, if unseen."""
    table: defaultdict[tuple, Counter] = defaultdict(Counter)
    for key, label in zip(keys.tolist(), labels[:, 0].tolist()):
        table[tuple(key)][label] += 1
    best = {key: counts.most_common(1)[0][0] for key, counts in table.items()}
    fallback = int(np.bincount(labels[:, 0]).argmax())
    guesses = [best.get(tuple(key), fallback) for key in test_keys.tolist()]
    return float(np.mean(np.array(guesses) == test_labels[:, 0]))
