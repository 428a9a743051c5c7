"""The product of states and a weight: its values, and what its gradients cost."""

import re

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn.model.products import product

B, T, D, N, H = 4, 16, 32, 2, 8


def draw(*shape: int) -> jax.Array:
    values = np.random.default_rng(sum(shape)).standard_normal(shape)
    return jnp.asarray(values, jnp.float32)


@pytest.mark.parametrize(
    ("x", "w", "dims", "equation"),
    [
        ((B, T, D), (D, N, H), "B T N H", "btd,dnh->btnh"),
        ((B, T, N, H), (N, H, D), "B T D", "btnh,nhd->btd"),
        ((B, T, D), (D, H), "B T H", "btd,dh->bth"),
    ],
)
def test_product_is_the_einsum(x, w, dims, equation):
    ours = product(draw(*x), draw(*w), dims)
    np.testing.assert_allclose(
        ours, jnp.einsum(equation, draw(*x), draw(*w)), rtol=1e-5, atol=1e-5
    )


def test_gradients_of_products_copy_no_operand():
    def loss(x, w, o):
        hidden = jax.nn.gelu(product(x, w, "B T N H"))
        return jnp.square(product(hidden, o, "B T D")).sum()

    grad = jax.jit(jax.grad(loss, (0, 1, 2)))
    program = grad.lower(draw(B, T, D), draw(D, N, H), draw(N, H, D)).compile()
    assert not re.findall(r"\S+ = \S+ copy\(.*", program.as_text())
