"""Solvers that do not attend, for any task: what its rows give away without a model.

Each is a table filled on the train split, naive Bayes of the tokens of a row (where a class
of the whole row is asked for), or a token that is copied: from a place, from a distance, or
the n-th that is new in its row. A distance is chosen on the valid split; a place, and n, on
train for each position that is scored. A task whose answers such a solver finds does not
measure attention.
"""

from collections.abc import Callable, Iterator, Mapping
from dataclasses import dataclass

import numpy as np
from jaxtyping import Bool, Float, Int

from attn.tasks.bags import naive_bayes
from attn.tasks.base import Dataset, Rows
from attn.tasks.targets import real
from attn.tasks.trivial import fixed_place, nth_new

MOST = 2**22
"""Tokens of a split that are looked at."""
BASE = 2**24
"""An integer above every token and every length."""
PLACES = 512
"""The most places, or distances, that are tried; of longer rows every so many."""


@dataclass(frozen=True)
class Questions:
    """The answers that some rows ask for, and where; P of them a row."""

    tokens: Int[np.ndarray, "n T"]
    targets: Int[np.ndarray, "n P"]
    at: Int[np.ndarray, "n P"] | None
    """Where each answer is said; None where a class of the whole row is asked for."""
    lengths: Int[np.ndarray, "n documents"]
    weights: Float[np.ndarray, "n P"]

    def rows(self) -> Rows:
        """The rows of questions that are asked at positions."""
        assert self.at is not None
        asked = {"tokens": self.tokens, "targets": self.targets, "positions": self.at}
        return asked | {"weights": self.weights}


def shortcuts(data: Dataset, documents: int = 1) -> dict[str, float]:
    """Computes the test accuracy of every solver that applies to the rows.

    Of a row of several documents, what is looked at is looked at in each.
    """
    train, valid, test = (
        questions(data.splits[split], documents) for split in ("train", "valid", "test")
    )
    found = {
        name: _accuracy(_looked_up(code(train), train, code(test)), test)
        for name, code in _codes(train).items()
    }
    for name, views in _chosen(train).items():
        best = max(views, key=lambda view: _accuracy(view(train, valid), valid))
        found[name] = _accuracy(best(train, test), test)
    if train.at is None:
        found["bag of tokens"] = _bag(train, test)
    if train.at is not None and train.targets.shape[1] < train.tokens.shape[1]:
        parts = Dataset({"train": train.rows(), "test": test.rows()}, "", "")
        found["copy of a place"] = fixed_place(parts)
        found["n-th new token"] = nth_new(parts)
    return found


def _bag(train: Questions, test: Questions) -> float:
    """The accuracy of the likeliest class of the tokens of a row, in any order."""
    learned, asked = (
        {"tokens": q.tokens, "targets": q.targets, "lengths": q.lengths}
        for q in (train, test)
    )
    classes, tokens = (
        1 + int(max(learned[key].max(), asked[key].max()))
        for key in ("targets", "tokens")
    )
    return _accuracy(naive_bayes(learned, asked, classes, tokens)[:, None], test)


def questions(rows: Rows, documents: int) -> Questions:
    """The answers that a split asks for, of its first rows."""
    T = rows["tokens"].shape[1]
    part = {key: np.asarray(array[: max(1, MOST // T)]) for key, array in rows.items()}
    tokens, targets = part["tokens"].astype(int), part["targets"].astype(int)
    n, P = targets.shape
    at = part.get("positions")
    if at is None and P == T:
        at = np.broadcast_to(np.arange(T), (n, T))
    weights = np.asarray(part.get("weights", 1.0), float)
    if "source" in part:  # targets beyond their end are padding
        weights = weights * real(part)
    return Questions(
        tokens,
        targets,
        None if at is None else at.astype(int),
        np.reshape(
            part.get("lengths", np.full((n, documents), T // documents)),
            (n, documents),
        ).astype(int),
        np.broadcast_to(weights.reshape(weights.shape or (1, 1)), (n, P)),
    )


Code = Callable[[Questions], np.ndarray]
Guess = Callable[[Questions, Questions], np.ndarray]


def _codes(train: Questions) -> Mapping[str, Code]:
    """Tables: what each looks at, as one integer for every answer, [n, P]."""
    if train.at is None:
        codes: dict[str, Code] = {
            "majority": lambda q: np.zeros_like(q.targets),
            "first token": lambda q: _at(q, 0),
            "last token": lambda q: _at(q, np.maximum(q.lengths, 1) - 1),
        }
        if len(np.unique(train.lengths)) > 1:
            codes["length"] = lambda q: _code(q.lengths)
        return codes
    return {
        "majority": lambda q: np.zeros_like(q.targets),
        "position": _where,
        "token read": lambda q: _read(q, 0),
        "two tokens read": lambda q: _read(q, 0) * BASE + _read(q, 1),
    }


def _chosen(train: Questions) -> Mapping[str, list[Guess]]:
    """Solvers of which the valid split chooses one."""
    T = train.tokens.shape[1] // train.lengths.shape[1]
    places = range(0, T, -(-T // PLACES))
    if train.at is None:
        return {"token of a place": [_at_place(place) for place in places]}
    return {"copy of a distance": [_copied(back) for back in places]}


def _at_place(place: int) -> Guess:
    def guess(train: Questions, asked: Questions) -> np.ndarray:
        return _looked_up(_at(train, place), train, _at(asked, place))

    return guess


def _at(q: Questions, place: int | np.ndarray) -> np.ndarray:
    """The tokens at a place of each document of a row, as one integer, [n, 1]."""
    n, documents = q.lengths.shape
    parts = q.tokens.reshape(n, documents, -1)
    places = np.broadcast_to(place, (n, documents))[..., None]
    return _code(np.take_along_axis(parts, places, axis=2)[..., 0])


def _code(values: np.ndarray) -> np.ndarray:
    """The tokens, or lengths, of a row's documents as one integer, [n, 1]."""
    return values @ BASE ** np.arange(values.shape[1])[:, None]


def _copied(back: int) -> Guess:
    return lambda train, asked: _read(asked, back)


def _where(q: Questions) -> np.ndarray:
    assert q.at is not None
    return q.at


def _read(q: Questions, back: int) -> np.ndarray:
    """The token so many places before each answer; 0 before the first."""
    at = _where(q) - back
    return np.where(at >= 0, np.take_along_axis(q.tokens, np.maximum(at, 0), 1), 0)


def _looked_up(code: np.ndarray, train: Questions, asked: np.ndarray) -> np.ndarray:
    """The commonest train target of each code; of a new code, of all."""
    classes = int(train.targets.max()) + 1
    pairs = np.broadcast_to(code, train.targets.shape) * classes + train.targets
    known, inverse = np.unique(pairs, return_inverse=True)
    counts = np.bincount(inverse.ravel(), train.weights.ravel())
    order = np.lexsort((-counts, known // classes))  # the commonest of a code first
    codes, first = np.unique(known[order] // classes, return_index=True)
    best = known[order][first] % classes
    all_targets = np.bincount(train.targets.ravel(), train.weights.ravel())
    at = np.minimum(np.searchsorted(codes, asked), len(codes) - 1)
    return np.where(codes[at] == asked, best[at], all_targets.argmax())


def _accuracy(guess: np.ndarray, asked: Questions) -> float:
    right: Bool[np.ndarray, "n P"] = guess == asked.targets
    return float(np.average(right, weights=asked.weights))


def best(found: Mapping[str, float]) -> Iterator[tuple[str, float]]:
    """Yields the solvers and their accuracies, the best first."""
    yield from sorted(found.items(), key=lambda item: -item[1])
