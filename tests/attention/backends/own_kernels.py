"""Holds kernels of our own, run as plain jax operations, against the definition."""

import jax
import jax.numpy as jnp
import numpy as np
import oracle
from jax.sharding import PartitionSpec as P
from meshes import BTNH, N_, make
from pallas_masks import MASKS, L

from attn.attention import attend_with_lse
from attn.kernels import Softmax
from attn.kernels.scoring import Scoring
from attn.kernels.tokens import TokenInfo
from attn.masks import FULL


def infos(given):
    """The token info of queries and keys, of what `attend` takes by name."""
    names = "segment_ids", "positions", "lengths"
    return (
        TokenInfo(*(given.get(f"{side}_{name}") for name in names))
        for side in ("q", "kv")
    )


def with_gradients(attend, qkv, sinks):
    """The output and the log-sum-exp, and the gradients of a fixed weighting of both."""
    random, (q, _, v) = np.random.default_rng(4), qkv
    shapes = (*q.shape[:3], v.shape[-1]), q.shape[:3]
    weighting = [jnp.asarray(random.normal(size=s), jnp.float32) for s in shapes]

    def loss(qkv, sinks):
        out, lse = attend(*qkv, sinks)
        # No number is below -inf, by which tolerances are measured.
        lse = jnp.where(lse == -jnp.inf, -3.0, lse)
        parts = zip((out.astype(jnp.float32), lse), weighting, strict=True)
        return sum((x * w).sum() for x, w in parts), (out, lse)

    run = jax.value_and_grad(loss, (0, 1), has_aux=True)
    (_, outs), grads = jax.jit(run)(qkv, sinks)
    return outs, grads


def compare(
    run,
    mask,
    T=L,
    S=L,
    softcap=None,
    sinks=None,
    given=None,
    tolerance=1e-5,
    **sizes,
):
    """Holds outputs, log-sum-exps and all their gradients against the definition."""
    sizes = {"B": 1, "N": 2, "K": 1, "H": 16, "Hv": 8} | sizes
    qkv, given = oracle.arrays(T=T, S=S, **sizes), given or {}
    q_info, kv_info = infos(given)

    def kernel(q, k, v, sinks):
        scoring = Scoring(softcap=softcap, sinks=sinks)
        asked = {"scoring": scoring, "q_info": q_info, "kv_info": kv_info}
        return run(q, k, v, mask=mask, lse=True, **asked)

    def definition(q, k, v, sinks):
        weights = None if sinks is None else {"sink": sinks}
        spec = Softmax(softcap=softcap, sinks=sinks is not None)
        return attend_with_lse(
            spec, q, k, v, mask=mask, weights=weights, impl="dense", **given
        )

    actual = with_gradients(kernel, qkv, sinks)
    oracle.assert_agrees(actual, with_gradients(definition, qkv, sinks), tolerance)


def assert_a_mesh_changes_nothing(kernel):
    """Holds a kernel divided over batch and heads against the same on one device."""
    qkv = oracle.arrays(B=2, T=128, S=128)

    def run(q, k, v, sinks):
        return kernel(q, k, v, mask=FULL, lse=True, scoring=Scoring(sinks=sinks))

    expected = with_gradients(run, qkv, SINKS)
    with jax.set_mesh(make((2, 2))):
        placed = tuple(jax.device_put(x, BTNH) for x in qkv)
        actual = with_gradients(run, placed, jax.device_put(SINKS, N_))
    assert actual[0][0].sharding.spec == BTNH
    assert actual[0][1].sharding.spec == P(*BTNH[:3])
    oracle.assert_agrees(actual, expected, 1e-6)


IDS = {
    "q_segment_ids": oracle.packed(1, L),
    "kv_segment_ids": oracle.packed(1, L, 0, 2),
}
LENGTHS = {"q_lengths": jnp.array([250]), "kv_lengths": jnp.array([77])}
SINKS = jnp.array([-1.0, 0.3, 0.0, 1.0])
COMPOSITE = MASKS["global or window"]
