"""The maximum of rows: that of NumPy, of any length."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn.kernels.maximum import row_max


@pytest.mark.parametrize("S", [1, 16, 17, 31, 64, 99])
def test_row_max_is_numpys_and_keeps_nan_and_minus_infinity(S):
    x = np.random.default_rng(S).standard_normal((3 * S, 2, S)).astype(np.float32)
    for at in range(S):  # the largest score of a row is seen wherever it stands
        x[at, :, at] = 9.0
        x[S + at, 0, at] = np.nan
    x[-1] = -np.inf
    np.testing.assert_array_equal(row_max(jnp.asarray(x)), x.max(axis=-1))


def test_row_max_is_no_reduction_of_long_rows_on_a_cpu():
    (reduced,) = (
        eqn.invars[0].aval.shape
        for eqn in jax.make_jaxpr(row_max)(jnp.zeros((4, 1000))).eqns
        if eqn.primitive.name == "reduce_max"
    )
    assert reduced == (4, 16)
