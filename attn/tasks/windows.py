"""Language modelling by windows: rows from a sequence of tokens, and their baselines."""

from collections.abc import Mapping

import numpy as np
from jaxtyping import Integer

from attn.errors import UserError
from attn.tasks.base import SPLITS, Dataset, Rows, Task
from attn.tasks.ngrams import compressed_bits, ngram_bits

MOST = 2**22
"""Tokens that baselines are fitted on, from the end of train, and judged by."""


def windows(tokens: Integer[np.ndarray, " tokens"], T: int, step: int) -> Rows:
    """Rows of T tokens with the next ones as targets, one every `step`, as views.

    With `step = T` each token but the first is a target once (and but for a last part
    shorter than a window).
    """
    chosen = np.lib.stride_tricks.sliding_window_view(tokens, T + 1)[::step]
    return {"tokens": chosen[:, :-1], "targets": chosen[:, 1:]}


def require_even(task: Task) -> None:
    """Raises `UserError` unless train windows of a task can overlap by half."""
    if task.seq_len < 2 or task.seq_len % 2:
        raise UserError(
            f"{type(task).__name__}.seq_len = {task.seq_len}; it must be even (train "
            "windows overlap by half) and at least 2"
        )


def cut(
    T: int, streams: Mapping[str, Integer[np.ndarray, " _"]], named: str, way_out: str
) -> dict[str, Rows]:
    """Cuts the tokens of each split into windows; those of train overlap by half.

    Raises:
        UserError: a split has no window; the text is named, and the way out.
    """
    for split in SPLITS:
        if (tokens := len(streams.get(split, ()))) <= T:
            raise UserError(
                f"{named} has {tokens} tokens in the {split} split, and one window needs "
                f"{T + 1}; {way_out}"
            )
    steps = {"train": T // 2, "valid": T, "test": T}
    return {split: windows(streams[split], T, steps[split]) for split in SPLITS}


def rejoined(rows: Rows, every: int = 1) -> Integer[np.ndarray, " tokens"]:
    """Rejoins windows into one sequence; `every` is 2 for those that overlap by half.

    Of more than `MOST` tokens, the last.
    """
    targets = rows["targets"][::every]
    first = max(0, len(targets) - MOST // targets.shape[1])
    start = rows["tokens"][first * every, :1]
    return np.concatenate([start, targets[first:].reshape(-1)])


def baselines(data: Dataset, vocab_size: int) -> dict[str, float]:
    """Computes bits per token on the test split's scored tokens, fitted on train.

    `ngram` is the order, up to 6, that does best on valid; like the model it sees
    nothing before its window. Of bytes also what general compressors need:
    `xz_after_train` is what the test text adds to the compressed size of train + test.
    """
    train = rejoined(data.splits["train"], every=2)
    held = {s: _first(data.splits[s]) for s in ("valid", "test")}
    valid, test = (ngram_bits(train, held[s], vocab_size) for s in ("valid", "test"))
    bits = {
        "uniform": float(np.log2(vocab_size)),
        "unigram": test[1],
        "ngram": test[min(valid, key=valid.__getitem__)],
    }
    if vocab_size == 256:
        text = rejoined(held["test"]).astype(np.uint8).tobytes()
        bits |= compressed_bits(train.astype(np.uint8).tobytes(), text)
    return bits


def _first(rows: Rows) -> Rows:
    """The first rows, of `MOST` tokens at most."""
    most = max(1, MOST // rows["tokens"].shape[1])
    return {key: array[:most] for key, array in rows.items()}
