"""The low-rank bottleneck of a head, and that a head as wide as its text has none.

Bhojanapalli et al. 2020 (arXiv 2002.07028), theorem 1; its proof was not read here. Where a
head of width H looks is P = softmax(Q K^T / sqrt(H)). Log P is the scores but for a number a
row, so with the mean of each row taken off its rank is H at most, and by Eckart and Young no
head comes nearer to a pattern, in these logarithms, than its H largest singular values.
"""

import jax.numpy as jnp
import numpy as np
import pytest

from attn.attention import attend
from attn.kernels import Softmax

N = 16
RNG = np.random.default_rng(0)
TOKENS = np.linalg.qr(RNG.standard_normal((N, N)))[0]
SCORES = {"shift": 3 * np.roll(np.eye(N), 1, 1), "any": RNG.normal(size=(N, N)) / 2}


def centred(P):
    return np.log(P) - np.log(P).mean(axis=1, keepdims=True)


def looks(X, Wq, Wk):
    # Its values are the identity, so that the output is where it looks.
    q, k, v = (jnp.asarray(x[None, :, None], "f4") for x in (X @ Wq, X @ Wk, np.eye(N)))
    return np.asarray(attend(Softmax(), q, k, v, impl="dense"), float)[0, :, 0]


def nearest_head(scores, H):
    # Wq and Wk of width H whose scores of the tokens are the nearest to these.
    U, s, Vt = np.linalg.svd(scores * H**0.5)
    return (TOKENS.T @ vectors[:, :H] * s[:H] ** 0.5 for vectors in (U, Vt.T))


@pytest.mark.parametrize("scores", SCORES.values(), ids=SCORES)
def test_a_head_as_wide_as_its_text_shows_any_pattern_and_one_of_half_does_not(scores):
    P = np.exp(scores) / np.exp(scores).sum(axis=1, keepdims=True)
    np.testing.assert_allclose(looks(TOKENS, *nearest_head(scores, N)), P, atol=1e-5)
    H, target = N // 2, centred(P)
    bound = np.linalg.norm(np.linalg.svd(target)[1][H:])
    # Were all weights within e of P, whose least is m, logarithms were within e / (m - e).
    least_error = P.min() * bound / (N + bound)
    Wq, Wk = nearest_head(target, H)
    dQ, *other = RNG.normal(size=(3, N, H))
    tried = [(Wq, Wk), (Wq + 0.01 * dQ, Wk), (Wq + 0.1 * dQ, Wk), other]
    found = [looks(TOKENS, *weights) for weights in tried]
    off = [np.linalg.norm(centred(shown) - target) for shown in found]
    np.testing.assert_allclose(off[0], bound, rtol=1e-4)
    assert min(off[1:]) > bound > 1
    assert min(abs(shown - P).max() for shown in found) > least_error > 5e-4


@pytest.mark.parametrize("H", [1, N - 1])
def test_where_channels_are_fewer_than_tokens_one_token_may_look_everywhere_alike(H):
    X = np.eye(N)[:, :-1]  # the last token is 0, and so are its query and its scores
    shown = looks(X, *RNG.normal(size=(2, N - 1, H)))
    np.testing.assert_allclose(shown[-1], 1 / N, rtol=1e-6)
    assert np.ptp(shown[:-1], axis=1).min() > 1e-3
