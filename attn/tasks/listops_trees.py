"""Random ListOps expressions, many at once, one token more a step."""

import numpy as np
from jaxtyping import Int, Integer, UInt8

PAD = 0
MIN, MAX, MED, SM, CLOSE = 11, 12, 13, 14, 15
TOKENS = ("pad", *"0123456789", "[MIN", "[MAX", "[MED", "[SM", "]")
"""Token ids in order: digit d is d + 1."""
OPERATOR_RATE = 0.25


def grow(
    rng: np.random.Generator, count: int, longest: int, max_depth: int, max_args: int
) -> tuple[
    UInt8[np.ndarray, "n {longest}"], Int[np.ndarray, " n"], Int[np.ndarray, " n"]
]:
    """Grows `count` trees with an operator at the root, drops those over `longest`.

    Returns tokens [n, longest] padded with 0, lengths [n] and values [n]. A bare digit
    at the root (LRA draws those too) is one token long and never long enough to keep.
    """
    forest = _Forest(rng, count, longest, max_depth, max_args)
    live = np.arange(count)
    forest.open(live, 0)
    done = []
    for at in range(1, longest):
        full = forest.missing[live, forest.level[live]] == 0
        ended, values = forest.close(live[full], at)
        done.append((ended, at + 1, values))
        forest.argue(live[~full], at)
        forest.owed[live] -= 1
        fits = at + 1 + forest.owed[live] <= longest
        live = live[fits & (forest.level[live] >= 0)]
    return _in_order_of_root(forest.tokens, done)


class _Forest:
    """Incomplete expressions; `level` is the depth of each one's operator (root 0)."""

    def __init__(self, rng, count: int, longest: int, max_depth: int, max_args: int):
        self.rng, self.max_depth, self.max_args = rng, max_depth, max_args
        self.tokens = np.full((count, longest), PAD, np.uint8)
        self.level = np.full(count, -1)
        self.operator = np.zeros((count, max_depth), int)
        self.missing = np.zeros((count, max_depth), int)
        """Arguments that an operator still waits for."""
        self.counts = np.zeros((count, max_depth, 10), int)
        """Arguments that it has, by digit."""
        self.owed = np.zeros(count, int)
        """Tokens that must still come, at the least."""

    def open(self, trees: np.ndarray, at: int) -> None:
        """Writes an operator."""
        self.level[trees] += 1
        level, count = self.level[trees], len(trees)
        self.operator[trees, level] = self.rng.integers(MIN, CLOSE, count)
        self.missing[trees, level] = self.rng.integers(2, self.max_args + 1, count)
        self.counts[trees, level] = 0
        self.owed[trees] += self.missing[trees, level] + 1
        self.tokens[trees, at] = self.operator[trees, level]

    def argue(self, trees: np.ndarray, at: int) -> None:
        """Writes an argument: a digit, or a nested operator."""
        self.missing[trees, self.level[trees]] -= 1
        nests = self.rng.random(len(trees)) < OPERATOR_RATE
        # The root has depth 1, its arguments 2; at max_depth there are only digits.
        nests &= self.level[trees] + 2 < self.max_depth
        self.open(trees[nests], at)
        leaves = trees[~nests]
        digits = self.rng.integers(0, 10, len(leaves))
        self.tokens[leaves, at] = digits + 1
        self.counts[leaves, self.level[leaves], digits] += 1

    def close(self, trees: np.ndarray, at: int) -> tuple[np.ndarray, np.ndarray]:
        """Writes brackets; returns the trees that are complete, and their values."""
        level = self.level[trees]
        values = fold(self.operator[trees, level], self.counts[trees, level])
        self.tokens[trees, at] = CLOSE
        self.level[trees] -= 1
        ended = level == 0
        inner = trees[~ended]
        self.counts[inner, self.level[inner], values[~ended]] += 1
        return trees[ended], values[ended]


def _in_order_of_root(
    tokens: np.ndarray, done: list
) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """Restores the order of starting, so that truncation favours no length."""
    trees = np.concatenate([trees for trees, _, _ in done])
    lengths = np.repeat([n for _, n, _ in done], [len(trees) for trees, _, _ in done])
    values = np.concatenate([values for _, _, values in done])
    order = np.argsort(trees)
    return tokens[trees[order]], lengths[order], values[order]


def fold(
    operators: Integer[np.ndarray, " n"], counts: Integer[np.ndarray, "n 10"]
) -> Int[np.ndarray, " n"]:
    """Applies operators [n] to arguments given as counts [n, 10] of digits.

    The median is rounded down between two digits, as LRA's `int(np.median(...))`.
    """
    total = counts.sum(axis=1)
    below = counts.cumsum(axis=1)

    def nth(n: np.ndarray) -> np.ndarray:
        return (below > n[:, None]).argmax(axis=1)

    median = (nth((total - 1) // 2) + nth(total // 2)) // 2
    modulo = (counts @ np.arange(10)) % 10
    values = [nth(np.zeros_like(total)), nth(total - 1), median, modulo]
    return np.select([operators == op for op in (MIN, MAX, MED, SM)], values)
