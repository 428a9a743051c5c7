"""Mechanisms that are softmax attention on arrays which they make."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import naive
import numpy as np
import pytest
from tiny import exhaustive

from attn.attention import attend, effective_map
from attn.errors import UserError
from attn.kernels import KERNELS, Differential, Softmax, Synthesizer
from attn.kernels.composed import Composed
from attn.masks import FULL, Causal, Chunk
from attn.positions import rotary

B, T, N, H, HV = 2, 9, 4, 8, 6
SPECS = {
    "differential": Differential(),
    "synthesizer": Synthesizer(rank=3),
    "synthesizer, random": Synthesizer(kind="random", rank=3),
}


def compiled(function, *arrays):
    """What one program makes of the arrays, in NumPy."""
    return jax.device_get(jax.jit(function)(*arrays))


def inputs(K=N, T=T, seed=0):
    random = np.random.default_rng(seed)
    shapes = (B, T, N, H), (B, T, K, H), (B, T, K, HV)
    return [random.normal(size=s).astype(np.float32) for s in shapes]


@cache
def made(spec, T=T):
    init = partial(spec.init_heads, num_heads=N, head_dim=H, kv_len=T)
    return jax.jit(init)(jax.random.key(0))


def close(a, b, tolerance=2e-5):
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def test_every_composed_kernel_is_here():
    assert {s.name for s in SPECS.values()} == {
        name for name, kernel in KERNELS.items() if issubclass(kernel, Composed)
    }


@pytest.mark.parametrize(
    ("title", "K"),
    [
        (title, K) if K == 2 or title == "differential" else exhaustive(title, K)
        for title in SPECS
        for K in (1, 2, N)
    ],
)
def test_tiles_and_their_gradients_equal_the_definition(title, K):
    spec, T = SPECS[title], 70
    arrays, weights = inputs(K, T), naive.own_weights(SPECS[title], H, T, N)
    real = np.arange(T)[None] < np.asarray([T, 50])[:, None]
    ids = np.repeat((np.arange(T) > 30)[None].astype(np.int32), B, axis=0)
    options = {"kv_mask": real, "q_segment_ids": ids, "kv_segment_ids": ids}

    def loss(arrays, weights, options, impl):
        out = attend(
            spec, *arrays, weights=weights, mask=Causal(), impl=impl, **options
        )
        return jnp.sin(out).sum(), out

    def both(*args):
        graded = jax.value_and_grad(loss, argnums=(0, 1), has_aux=True)
        return [graded(*args, impl) for impl in ("dense", "blockwise")]

    expected, actual = compiled(both, arrays, weights, options)
    pairs = zip(jax.tree.leaves(expected), jax.tree.leaves(actual), strict=True)
    for a, b in pairs:
        np.testing.assert_allclose(a, b, rtol=1e-4, atol=1e-4)


def test_positions_that_are_told_hide_alike_in_both_forms():
    spec, arrays = SPECS["differential"], inputs()
    positions = np.tile(np.arange(T)[::-1], (B, 1))

    def run(arrays, weights, positions):
        call = partial(attend, spec, weights=weights, mask=Causal())
        told = {"q_positions": positions, "kv_positions": positions}
        back = call(*(x[:, ::-1] for x in arrays))
        return back, [call(*arrays, **told, impl=i) for i in spec.implementations]

    back, (dense, tiles) = compiled(run, arrays, made(spec), positions)
    close(dense, tiles)
    close(dense, back[:, ::-1])


def with_share(share, spec):
    """Weights of every head with this lambda, which must be below lambda_init + 1."""
    zero = np.zeros((N, H // 2), np.float32)
    power = np.float32(np.log(1 + spec.lambda_init - share))
    first = zero.copy()
    first[:, 0] = 1.0
    return {"a1": zero, "b1": zero, "a2": first, "b2": power * first}


def test_lambda_follows_its_four_vectors():
    spec = Differential(lambda_init=0.3)
    given = {"a1": 0.5, "b1": 2.0, "a2": -1.0, "b2": 0.25}
    weights = {name: np.full((2, 4), x, np.float32) for name, x in given.items()}
    share = jax.jit(spec.share)
    close(share(weights), np.full(2, np.exp(4.0) - np.exp(-1.0) + 0.3))
    close(share(with_share(0.7, spec)), np.full(N, 0.7))
    # What is drawn is small: lambda begins near lambda_init.
    assert np.abs(np.asarray(share(made(spec))) - 0.3).max() < 0.2


@pytest.mark.parametrize("share", [0.0, 0.5])
def test_differential_takes_a_share_of_one_softmax_off_another(share):
    spec, (q, k, v) = SPECS["differential"], inputs()

    def run(q, k, v, weights):
        out = attend(spec, q, k, v, weights=weights, mask=Causal())
        rows = effective_map(spec, q, k, weights=weights).sum(axis=-1)
        return (
            out,
            rows,
            [
                attend(Softmax(), q[..., i::2], k[..., i::2], v, mask=Causal())
                for i in (0, 1)
            ],
        )

    out, rows, (first, second) = compiled(run, q, k, v, with_share(share, spec))
    close(out, first - share * second)
    close(rows, 1 - share)


def test_rotary_turns_pairs_within_one_map_of_differential():
    spec = SPECS["differential"]
    one = [np.broadcast_to(x[:, :1], x.shape) for x in inputs()[:2]]

    def run(q, k, weights):
        q, k = rotary(q), rotary(k)
        found = []
        for first in (0, 1):
            only = jnp.arange(H) % 2 == first
            masked = jnp.where(only, q, 0), jnp.where(only, k, 0)
            found.append(jnp.einsum("btnh,bsnh->bnts", *masked))
        return found, effective_map(spec, q, k, weights=weights, mask=Chunk(3))

    both, maps = compiled(run, *one, made(spec))
    for scores in both:
        close(scores[:, :, 1:, 1:], scores[:, :, :-1, :-1])
        assert np.abs(scores[:, :, 0, 1:] - scores[:, :, 0, :-1]).max() > 1e-2
    # All tokens are one here, so the map under a chunk depends on distances alone.
    close(maps[:, :, :3, :3], maps[:, :, 3:6, 3:6])
    assert np.abs(maps[:, :, 0, 0] - maps[:, :, 0, 2]).max() > 1e-3


def test_a_head_that_has_no_halves_of_whole_pairs_is_refused():
    arrays, weights = [x[..., :6] for x in inputs()], made(Differential())
    with pytest.raises(UserError, match=r"head dim 6; .* multiples of 4"):
        jax.eval_shape(lambda *x: attend(Differential(), *x, weights=weights), *arrays)


def test_a_random_synthesizer_has_one_map_for_every_sequence():
    spec, others = SPECS["synthesizer, random"], (inputs(), inputs(seed=1))
    weights = made(spec)
    run = jax.jit(
        lambda q, k: effective_map(spec, q, k, weights=weights, mask=Causal())
    )
    maps = [jax.device_get(run(*x[:2])) for x in others]
    np.testing.assert_array_equal(*maps)
    np.testing.assert_array_equal(maps[0][0], maps[0][1])
    assert np.abs(maps[0][:, 0] - maps[0][:, 1]).max() > 1e-3


@pytest.mark.parametrize("impl", ["dense", "blockwise"])
@pytest.mark.parametrize("title", ["synthesizer", "synthesizer, random"])
def test_a_synthesizer_moves_with_what_it_reads_and_nothing_else(title, impl):
    spec, arrays = SPECS[title], inputs()
    weights = made(spec)

    def loss(q, k, v):
        out = attend(spec, q, k, v, weights=weights, mask=FULL, impl=impl)
        return jnp.sin(out).sum()

    grads = compiled(jax.grad(loss, argnums=(0, 1, 2)), *arrays)
    moved = {name for name, g in zip("qkv", grads, strict=True) if g.any()}
    assert moved == spec.reads


@pytest.mark.parametrize("title", ["synthesizer", "synthesizer, random"])
def test_a_synthesizer_refuses_a_sequence_longer_than_it_was_made_for(title):
    spec = SPECS[title]
    arrays, shorter, longer = inputs(), made(spec, T - 1), made(spec, T + 2)
    with pytest.raises(UserError, match=f"kv_len = {T}"):
        jax.eval_shape(lambda *x: attend(spec, *x, weights=shorter), *arrays)
    first = jax.tree.map(lambda w: w[..., :T] if w.shape[-1] > T else w, longer)

    def both(arrays, *weights):
        return [attend(spec, *arrays, weights=w) for w in weights]

    close(*compiled(both, arrays, longer, first))


def test_an_unknown_kind_is_told_the_nearest():
    with pytest.raises(UserError, match="did you mean 'random'"):
        Synthesizer(kind="randon")
