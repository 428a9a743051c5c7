"""Batches in an order fixed by seed and step, gathered ahead by Grain's threads.

Rows are arrays, in memory or mapped from disk, so an item of the Grain source is a whole
call: some steps of all replicas in one gather. So no Python runs for a single example, and threads and
prefetching are left to Grain. Its state is the step, so nothing of it is saved.
"""

from collections.abc import Iterator, Sequence
from functools import lru_cache
from itertools import accumulate

import numpy as np

from attn.errors import UserError
from attn.tasks.base import Rows, in_32_bits

READ_AHEAD = 2
"""Calls whose batches are prefetched."""


def cut_steps(
    start: int, stop: int, *, longest: int, every: Sequence[int] = ()
) -> tuple[int, ...]:
    """Splits the steps from `start` to `stop` into calls; returns their lengths.

    None is over `longest`, and one ends at each multiple of each of `every`.
    """
    lengths = []
    while start < stop:
        ends = [(start // n + 1) * n for n in every]
        end = min(stop, start + longest, *ends)
        lengths.append(end - start)
        start = end
    return tuple(lengths)


def calls_from(
    step: int, stop: int, *, longest: int, every: Sequence[int] = ()
) -> list[range]:
    """The steps of each call from `step` on; the first may have begun before it.

    Calls are cut from step 0, whatever `step` is.
    """
    ends = [*accumulate(cut_steps(0, stop, longest=longest, every=every), initial=0)]
    calls = map(range, ends, ends[1:])
    return [call for call in calls if call.stop > step]


class BatchSource:
    """A Grain source whose item i is the batches of call i, for all replicas.

    Items map the rows' keys to arrays [C, R, B, ...] (C steps, R replicas, B rows). The
    rows of replica r at step s are a pure function of (seed r, s): each epoch is a
    permutation of its own, its remainder below B is left out, none comes twice in it.
    """

    def __init__(
        self,
        rows: Rows,
        *,
        batch_size: int,
        seeds: Sequence[int],
        calls: Sequence[int],
        start_step: int = 0,
    ):
        self.rows = rows
        self.count = len(rows["tokens"])
        self.batch_size = batch_size
        self.seeds = tuple(seeds)
        self.starts = tuple(accumulate(calls, initial=start_step))
        self.epoch_steps = self.count // batch_size
        if not self.epoch_steps:
            raise UserError(
                f"batch_size = {batch_size} is above the {self.count} rows of the "
                "split; make it smaller, or the dataset larger"
            )
        # A call may straddle two epochs, and calls are gathered ahead.
        self._order = lru_cache(maxsize=4 * len(self.seeds))(self._permutation)

    def __len__(self) -> int:
        return len(self.starts) - 1

    def __getitem__(self, index: int) -> dict[str, np.ndarray]:
        steps = range(self.starts[index], self.starts[index + 1])
        chosen = np.stack(
            [[self.batch(seed, step) for seed in self.seeds] for step in steps]
        )
        return {key: in_32_bits(array[chosen]) for key, array in self.rows.items()}

    def batch(self, seed: int, step: int) -> np.ndarray:
        """Row numbers [B] of one replica at one step."""
        epoch, at = divmod(step, self.epoch_steps)
        return self._order(seed, epoch)[at * self.batch_size :][: self.batch_size]

    def _permutation(self, seed: int, epoch: int) -> np.ndarray:
        return np.random.default_rng([seed, epoch]).permutation(self.count)


class Batches:
    """An iterator over the items of `BatchSource`, prefetched; use it in a `with`.

    `calls` gives the number of steps of each item (`cut_steps` makes it), the first of
    which begins at `start_step`.
    """

    def __init__(
        self,
        rows: Rows,
        *,
        batch_size: int,
        seeds: Sequence[int],
        calls: Sequence[int],
        start_step: int = 0,
    ):
        import grain

        source = BatchSource(
            rows,
            batch_size=batch_size,
            seeds=seeds,
            calls=calls,
            start_step=start_step,
        )
        options = grain.ReadOptions(num_threads=1, prefetch_buffer_size=READ_AHEAD)
        dataset = grain.MapDataset.source(source).to_iter_dataset(options)
        self._iterator = iter(dataset)

    def __iter__(self) -> Iterator[dict[str, np.ndarray]]:
        return self

    def __next__(self) -> dict[str, np.ndarray]:
        return next(self._iterator)

    def close(self) -> None:
        """Stops the threads; there are no more items."""
        self._iterator.close()

    def __enter__(self) -> "Batches":
        return self

    def __exit__(self, *_) -> None:
        self.close()


def eval_batches(rows: Rows, batch_size: int) -> Iterator[dict[str, np.ndarray]]:
    """Yields every row once, in order, as [B, ...] with `weights` float32, [B] or [B, P].

    All batches have the same shape: the last is filled with copies of row 0, of
    weight 0, so that weighted sums are exact.
    """
    count = len(rows["tokens"])
    weights = in_32_bits(rows.get("weights", np.ones(count, np.float32)))
    for start in range(0, count, batch_size):
        index = np.arange(start, start + batch_size)
        real = index < count
        chosen = np.where(real, index, 0)
        batch = {key: in_32_bits(array[chosen]) for key, array in rows.items()}
        given = weights[chosen]
        counted = real.reshape(-1, *[1] * (given.ndim - 1))
        yield {**batch, "weights": np.where(counted, given, np.float32(0))}
