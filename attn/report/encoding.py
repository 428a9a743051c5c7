"""Attention maps in the form that the page's script decodes.

A map travels as bytes of the square root of its weights, deflated: 26 times smaller than
numbers as text, and at most 0.004 off. The page's `#selftest` adds up every decoded row
and compares.
"""

import base64
import zlib
from collections.abc import Sequence
from typing import Any

import numpy as np
from jaxtyping import Float

LARGEST = 512
"""Rows of a map on the page; longer ones are pooled."""


def encode_layer(
    name: str,
    values: Float[np.ndarray, "N T S"],
    queries: Sequence[str],
    keys: Sequence[str],
) -> dict[str, Any]:
    """Encodes one layer's maps with its name and the labels of queries and keys."""
    edges = {"queries": list(queries), "keys": list(keys)}
    return {"name": name, **edges, **encode_map(values)}


def encode_map(values: Float[np.ndarray, "N T S"]) -> dict[str, Any]:
    """Encodes one layer's maps for the page.

    `data` is base64 of deflated bytes, one a weight: 255 sqrt(p / scale), or
    128 + 127 sign(p) sqrt(|p| / scale) where a mechanism has weights below 0.
    `sums` are the sums of the N x T rows, to check the decoding by.
    """
    values, pool = _pooled(np.nan_to_num(values.astype(np.float32)))
    scale = max(1.0, float(np.abs(values).max(initial=0.0)))
    signed = bool((values < 0).any())
    roots = np.sign(values) * np.sqrt(np.abs(values) / scale)
    bytes_ = np.rint(128 + 127 * roots if signed else 255 * roots).astype(np.uint8)
    heads, rows, columns = values.shape
    return {
        "heads": heads,
        "rows": rows,
        "cols": columns,
        "pool": pool,
        "scale": scale,
        "signed": signed,
        "sums": [round(float(total), 4) for total in values.sum(-1).ravel()],
        "data": base64.b64encode(zlib.compress(bytes_.tobytes(), 9)).decode(),
    }


def _pooled(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Averages neighbouring queries and sums neighbouring keys; keeps sums of rows."""
    pool = -(-max(values.shape[1:]) // LARGEST)
    if pool == 1:
        return values, 1
    rows = np.arange(0, values.shape[1], pool)
    columns = np.arange(0, values.shape[2], pool)
    counts = np.diff([*rows, values.shape[1]])
    summed = np.add.reduceat(np.add.reduceat(values, rows, axis=1), columns, axis=2)
    return summed / counts[:, None], pool
