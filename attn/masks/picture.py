"""Drawings of masks in characters, one a tile."""

import numpy as np
from jaxtyping import Int8

from attn.errors import UserError
from attn.masks.pattern import Pattern
from attn.masks.schedule import mask_schedule

SHADES = "·▒█"


def tile_grid(
    mask: Pattern, T: int, S: int, most: int
) -> tuple[Int8[np.ndarray, "rows columns"], int]:
    """The values of square tiles, at most `most` a side, and the side of one tile."""
    if most < 1:
        raise UserError(f"picture(width={most}): it must be at least 1")
    block = -(-max(T, S) // most)
    schedule = mask_schedule(mask, T, S, block, block, ragged=False)
    grid = np.zeros((schedule.num_rows, schedule.num_columns), np.int8)
    grid[schedule.row, schedule.column] = schedule.kind
    return grid, block


def picture(mask: Pattern, T: int, S: int, width: int) -> str:
    """Draws the mask for `Mask.picture`."""
    grid, _ = tile_grid(mask, T, S, width)
    return "\n".join("".join(SHADES[kind] for kind in row) for row in grid)
