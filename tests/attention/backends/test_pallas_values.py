"""Our TPU kernel, run as plain jax operations, equals attention by its definition."""

from functools import partial

import jax.numpy as jnp
import numpy as np
import own_kernels
import pytest
from own_kernels import COMPOSITE, IDS, LENGTHS, SINKS
from pallas_masks import MASKS
from tiny import exhaustive

from attn.attention.backends import Pallas
from attn.attention.backends.splash import foreign_operations
from attn.kernels.pallas import pallas_attention
from attn.masks import Causal, Window


def in_small_tiles(q, k, v, *, mask, lse, **asked):
    """The kernel in tiles of 128 x 128, of which the backend would make one."""
    tabled = bool(foreign_operations(mask))
    return pallas_attention(
        q, k, v, mask=mask, tabled=tabled, blocks=(128, 128), interpret=True, **asked
    )


compare = partial(own_kernels.compare, in_small_tiles)


def test_the_kernel_equals_the_definition_with_all_that_it_can():
    given = IDS | LENGTHS
    compare(COMPOSITE, softcap=1.5, sinks=SINKS, given=given, N=4, K=2)


def test_a_mask_that_looks_a_table_up_is_read_by_bits():
    compare(MASKS["bigbird"])


def test_positions_known_at_run_time_are_what_the_mask_is_asked_about():
    order = np.random.default_rng(2).permutation(200)[None]
    given = {"q_positions": jnp.asarray(order), "kv_positions": jnp.asarray(order // 2)}
    mask = Causal() & Window(60, 0)
    own_kernels.compare(Pallas(interpret=True), mask, T=200, S=200, given=given)


@pytest.mark.parametrize(
    "mask", [exhaustive(mask, id=name) for name, mask in MASKS.items()]
)
def test_every_mask_equals_the_definition(mask):
    compare(mask)
    compare(mask, given=IDS, softcap=1.5)


@pytest.mark.parametrize(
    ("H", "Hv", "dtype", "tolerance"),
    [
        exhaustive(64, 64, jnp.float32, 1e-5),
        exhaustive(128, 64, jnp.bfloat16, 2e-2),
        exhaustive(256, 256, jnp.float32, 1e-5),
    ],
)
def test_wide_heads_and_bfloat16_equal_the_definition(H, Hv, dtype, tolerance):
    compare(COMPOSITE, S=200, H=H, Hv=Hv, dtype=dtype, tolerance=tolerance)


@pytest.mark.exhaustive
def test_a_mesh_changes_nothing():
    own_kernels.assert_a_mesh_changes_nothing(Pallas(interpret=True))
