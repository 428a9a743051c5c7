"""The compiler's known faults are turned off here, and told to whoever leaves them on."""

import os
import subprocess
import sys
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn import compiler

ROOT = Path(__file__).parents[1]


def test_a_product_and_a_sum_over_many_rows_are_compiled_right():
    i = jnp.arange(32_769, dtype=jnp.float32)
    rows = jnp.stack((i, 0 * i, 0 * i), axis=1)
    squares = jax.vmap(lambda row: jnp.sum((jnp.eye(3) @ row) ** 2))
    assert jax.jit(squares)(rows)[-1] == 32_768.0**2


def test_a_maximum_over_products_is_compiled_right_in_float64():
    random = np.random.default_rng(0)
    weights, rows = random.normal(size=(4, 5)), random.normal(size=(16_385, 5))
    with jax.enable_x64(True):
        largest = jax.jit(jax.vmap(lambda row: jnp.exp(weights @ row).max()))(rows)
    np.testing.assert_allclose(largest, np.exp(rows @ weights.T).max(axis=1), rtol=1e-9)


def test_a_maximum_over_many_rows_keeps_nan():
    rows = np.random.default_rng(0).normal(size=(1000, 32)).astype(np.float32)
    rows[3, 5] = np.nan
    largest = jax.jit(lambda x: x.max(axis=-1))(rows)
    np.testing.assert_array_equal(largest, rows.max(axis=-1))


@pytest.mark.parametrize(
    "mine, kept",
    [
        ("", compiler.FLAG),
        ("--xla_dump_to=x", f"--xla_dump_to=x {compiler.FLAG}"),
        (f"{compiler.NAME}reduce", f"{compiler.NAME}reduce"),
    ],
)
def test_the_flag_is_added_to_the_users_own(monkeypatch, mine, kept):
    monkeypatch.setenv("XLA_FLAGS", mine)
    monkeypatch.setattr("jaxlib.__version__", "0.10.2")
    assert compiler.flags() == kept


def test_a_sound_compiler_gets_no_flag(monkeypatch):
    monkeypatch.setenv("XLA_FLAGS", "")
    monkeypatch.setattr("jaxlib.__version__", "0.13.0")
    assert compiler.flags() == ""


@pytest.mark.slow
def test_a_library_user_is_warned_once_with_the_line_to_set():
    code = (
        "import attn, jaxlib; jaxlib.__version__ = '0.10.2'; print('imported'); "
        "attn.attend; attn.explain; import attn.attention"
    )
    env = {k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
    done = subprocess.run(
        [sys.executable, "-c", code], cwd=ROOT, env=env, capture_output=True, text=True
    )
    assert done.returncode == 0, done.stderr
    assert done.stderr.count("RuntimeWarning") == 1
    assert f"set XLA_FLAGS='{compiler.FLAG}'" in done.stderr
