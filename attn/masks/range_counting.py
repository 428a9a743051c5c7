"""Orthogonal range counting: the visible cells of a rectangle, many at once."""

import numpy as np


class SummedArea:
    """A summed-area table of a grid [M, N]: O(1) a count, O(M N) memory (Crow 1984)."""

    def __init__(self, grid: np.ndarray):
        self.sums = np.zeros((grid.shape[0] + 1, grid.shape[1] + 1), np.int64)
        np.cumsum(grid, axis=0, out=self.sums[1:, 1:])
        np.cumsum(self.sums[1:, 1:], axis=1, out=self.sums[1:, 1:])

    def count(self, i0, i1, j0, j1):
        """Counts the visible cells of rows i0..i1-1 and columns j0..j1-1."""
        s = self.sums
        return s[i1, j1] - s[i0, j1] - s[i1, j0] + s[i0, j0]


class WaveletMatrix:
    """A wavelet matrix of a sparse grid: O(log N) a count, O(visible cells) memory.

    Claude and Navarro 2012. Cells are sorted by row; each level holds one bit of the
    columns, from the highest down, after a stable sort by the bits above it.
    """

    def __init__(
        self, row: np.ndarray, column: np.ndarray, num_rows: int, num_columns: int
    ):
        self.ends = np.searchsorted(row, np.arange(num_rows + 1))
        self.levels = []
        for bit in reversed(range(int(num_columns).bit_length())):
            high = (column >> bit) & 1
            zeros = np.concatenate([[0], np.cumsum(1 - high)]).astype(np.int32)
            self.levels.append((bit, zeros))
            column = np.concatenate([column[high == 0], column[high == 1]])

    def count(self, i0, i1, j0, j1):
        """Counts the visible cells of rows i0..i1-1 and columns j0..j1-1."""
        return self._below(i0, i1, j1) - self._below(i0, i1, j0)

    def _below(self, i0, i1, limit):
        """Counts the visible cells of rows i0..i1-1 in columns below `limit`."""
        low, high, limit = np.broadcast_arrays(self.ends[i0], self.ends[i1], limit)
        total = np.zeros(low.shape, np.int64)
        for bit, zeros in self.levels:
            up = ((limit >> bit) & 1) == 1
            low_zero, high_zero = zeros[low], zeros[high]
            total += np.where(up, high_zero - low_zero, 0)
            low = np.where(up, zeros[-1] + low - low_zero, low_zero)
            high = np.where(up, zeros[-1] + high - high_zero, high_zero)
        return total
