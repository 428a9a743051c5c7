"""Reformer beyond what every mechanism is asked: the paper's own form, and its memory."""

from functools import partial

import jax
import jax.numpy as jnp
import naive
import numpy as np
import pytest
from tiny import full_compiles

from attn.kernels import Reformer
from attn.kernels.sparse.buckets import lay_out
from attn.masks import FULL, Causal

T, H = 40, 4


@partial(jax.jit, static_argnames=("spec", "mask"))
def run(spec, q, k, v, weights, mask=Causal()):
    return spec(q, k, v, mask=mask, weights=weights)


def tied(spec, q, v, rotations):
    """Kitaev et al. 2020, section 2 with k = q / |q|: its own sets, one round a set.

    Equation 5, causal, with chunks cut from the start of each bucket where the paper
    cuts the sorted order of all, and each token sees itself.
    """
    sets = [{t} for t in range(len(q))]
    for R in rotations:
        bucket = np.argmax(np.concatenate([q @ R, -(q @ R)], axis=1), axis=1)
        chunk = [(bucket[:i] == b).sum() // spec.chunk for i, b in enumerate(bucket)]
        for i, seen in enumerate(sets):
            seen |= {
                j
                for j in range(i + 1)
                if bucket[i] == bucket[j] and chunk[i] - 1 <= chunk[j] <= chunk[i]
            }
    out = np.zeros_like(v)
    for i, seen in enumerate(sets):
        keys = np.array(sorted(seen))
        k = q[keys] / np.linalg.norm(q[keys], axis=1, keepdims=True)
        weights = np.exp(k @ q[i] / np.sqrt(q.shape[1]))
        out[i] = weights @ v[keys] / weights.sum()
    return out


@pytest.mark.parametrize("num_rounds", [1, 3])
def test_tied_to_the_queries_it_is_the_papers_own_form(num_rounds):
    spec = Reformer(num_buckets=4, num_rounds=num_rounds, chunk=4)
    q, v = np.random.default_rng(0).normal(size=(2, T, H)).astype(np.float32)
    weights = naive.own_weights(spec, H, T)
    out = run(spec, q, q, v, weights)
    expected = tied(spec, *map(np.float64, (q, v, weights["rotations"])))
    np.testing.assert_allclose(out, expected, rtol=2e-5, atol=2e-5)


laid_out = jax.jit(lay_out, static_argnames=("num", "C", "ahead"))


@pytest.mark.parametrize("C", [1, 2, 4, 7])
@pytest.mark.parametrize(
    "crowded", ["queries", "keys", "both", "neither", "most chunks"]
)
def test_every_query_has_one_slot_however_buckets_crowd(crowded, C):
    random, num = np.random.default_rng(1), 3
    of_q = random.integers(0, num, T)
    # Those of bucket `num` are padding.
    of_k = random.integers(0, num + 1, T)
    of_q = np.full(T, num - 1) if crowded in ("queries", "both") else of_q
    of_k = np.zeros(T, int) if crowded in ("keys", "both") else of_k
    if crowded == "most chunks":
        # With C = 2 there can be no more; the one query of a bucket without any is last.
        of_k = (np.arange(T) < T - 1) * 1
        of_q = np.append(np.minimum(of_q[:-2], 1), [1, 2])
    one = jax.device_get(laid_out(of_q, of_k, num=num, C=C, ahead=1))
    queries, keys = one.queries, one.keys
    np.testing.assert_array_equal(queries.ravel()[one.slots], np.arange(T))
    assert (queries < T).sum() == T
    for t in range(T):
        bucket = np.flatnonzero(of_k == of_q[t])
        stands = max((bucket <= t).sum() - 1, 0) // C
        shown = [s for s in keys[one.slots[t] // C] if s < T]
        meets = {s for s in shown if abs(one.of_k[s] - one.of_q[t]) <= 1}
        near = {s for n, s in enumerate(bucket) if abs(n // C - stands) <= 1}
        assert meets == near
        assert len(set(shown)) == len(shown)


def test_a_query_whose_bucket_holds_no_earlier_key_sees_its_own_place_alone():
    spec = Reformer(num_buckets=2, num_rounds=1, chunk=4)
    weights = {"rotations": np.eye(H, dtype=np.float32)[None, :, :1]}
    q, k = np.ones((2, T, H), np.float32)
    k[: T // 2] = -1.0
    v = np.random.default_rng(3).normal(size=(T, H)).astype(np.float32)
    out = np.asarray(run(spec, q, k, v, weights))
    np.testing.assert_array_equal(out[: T // 2], v[: T // 2])
    later = np.abs(out - v)[T // 2 + 1 :]
    assert (later.max(axis=1) > 1e-3).all()


def test_hashes_pass_no_gradient_to_the_rotations():
    spec = Reformer(num_buckets=4, num_rounds=2, chunk=4)
    q, k, v = np.random.default_rng(2).normal(size=(3, T, H)).astype(np.float32)
    grads = jax.jit(jax.grad(lambda w: run(spec, q, k, v, w, mask=FULL).sum()))(
        naive.own_weights(spec, H, T)
    )
    assert (np.asarray(grads["rotations"]) == 0).all()


def test_memory_grows_with_the_sequence_and_not_with_its_square():
    spec = Reformer()

    def bytes_of(T):
        x = jax.ShapeDtypeStruct((T, 32), jnp.float32)
        w = jax.eval_shape(lambda: spec.init(jax.random.key(0), head_dim=32, kv_len=T))
        run = jax.jit(lambda *a: spec(*a[:3], mask=Causal(), weights=a[3]))
        return run.lower(x, x, x, w).compile().memory_analysis().temp_size_in_bytes

    with full_compiles():
        assert bytes_of(4096) < 2.2 * bytes_of(2048)
