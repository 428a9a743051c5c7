"""Our GPU kernel, run as plain jax operations, equals attention by its definition."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import own_kernels
import pytest
from own_kernels import COMPOSITE, IDS, LENGTHS, SINKS
from pallas_masks import MASKS
from tiny import exhaustive

from attn.attention.backends import Triton
from attn.attention.backends.splash import foreign_operations
from attn.errors import UserError
from attn.kernels.scoring import Scoring
from attn.kernels.triton import Blocks, Kernels, triton_attention
from attn.masks import Causal, Window

SMALL = Kernels(
    Blocks(64, 32, 4, 2), queries=Blocks(32, 64, 4, 2), keys=Blocks(16, 32, 4, 2)
)


def in_small_tiles(q, k, v, *, mask, lse, **asked):
    """The kernel in tiles of which there are many, of other sizes in each pass."""
    tabled = bool(foreign_operations(mask))
    return triton_attention(
        q, k, v, mask=mask, tabled=tabled, blocks=SMALL, interpret=True, **asked
    )


compare = partial(own_kernels.compare, in_small_tiles)


def test_the_kernel_equals_the_definition_with_all_that_it_can():
    given = IDS | LENGTHS
    compare(COMPOSITE, softcap=1.5, sinks=SINKS, given=given, N=4, K=2)


def test_a_mask_that_looks_a_table_up_is_read_from_it():
    compare(MASKS["bigbird"], H=24, Hv=20)


def test_positions_known_at_run_time_are_what_the_mask_is_asked_about():
    order = np.random.default_rng(2).permutation(200)[None]
    given = {"q_positions": jnp.asarray(order), "kv_positions": jnp.asarray(order // 2)}
    mask = Causal() & Window(60, 0)
    own_kernels.compare(Triton(interpret=True), mask, T=200, S=200, given=given)


def test_what_the_forward_kernel_does_not_write_is_in_no_sum():
    # Its blocks are the smallest, so that queries are padded beyond its last.
    unwritten = Kernels(Blocks(16, 16, 4, 2), *(Blocks(64, 32, 4, 2),) * 2)

    def run(q, k, v, *, mask, lse, **asked):
        return triton_attention(
            q, k, v, mask=mask, blocks=unwritten, interpret=True, **asked
        )

    own_kernels.compare(run, Causal(), T=34, S=34, sinks=SINKS, N=4, K=2)


def test_a_gradient_is_not_differentiated_again_and_says_so():
    qkv = oracle.arrays(T=16, S=16)
    kernel = partial(Triton(interpret=True), mask=Causal())

    def slope(q):
        return jax.grad(lambda q: kernel(q, *qkv[1:]).sum())(q)

    for differentiate in (
        lambda: jax.grad(lambda q: slope(q).sum())(qkv[0]),
        lambda: jax.jvp(slope, qkv[:1], qkv[:1]),
    ):
        with pytest.raises(UserError, match="'triton' cannot differentiate gradients"):
            differentiate()


def test_a_scale_that_float32_rounds_to_nothing_shows_all_alike():
    qkv = oracle.arrays(T=16, S=16)
    out = Triton(interpret=True)(*qkv, mask=Causal(), scoring=Scoring(scale=1e-46))
    assert jnp.isfinite(out).all()


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
        exhaustive(200, 256, jnp.float32, 1e-5),
    ],
)
def test_wide_heads_and_bfloat16_equal_the_definition(H, Hv, dtype, tolerance):
    compare(COMPOSITE, S=200, H=H, Hv=Hv, dtype=dtype, tolerance=tolerance)


@pytest.mark.exhaustive
def test_a_scale_below_zero_turns_the_order_of_scores():
    qkv = oracle.arrays(T=40, S=40)
    kernel = partial(Triton(interpret=True), mask=Causal(), lse=True)
    run = partial(kernel, scoring=Scoring(scale=-0.5))
    expected = kernel(-qkv[0], *qkv[1:], scoring=Scoring(scale=0.5))
    oracle.assert_agrees(run(*qkv), expected, 1e-6)


@pytest.mark.exhaustive
def test_a_mesh_changes_nothing():
    own_kernels.assert_a_mesh_changes_nothing(Triton(interpret=True))
