"""What a call of `attend` may ask beside a mask: heads, lengths, positions, biases, types."""

from functools import partial

import jax
import jax.numpy as jnp
import naive
import numpy as np
import pytest
from meshes import BTNH, make

from attn.attention import attend, attend_with_lse, explain
from attn.errors import UserError
from attn.kernels import Linear, Softmax
from attn.masks import FULL, Blocks, Causal, Chunk, PerHead, Window
from attn.positions import Alibi, T5Bias, alibi_slopes

B, T, S, N, K, H, HV = 2, 7, 9, 6, 2, 4, 3
RANDOM = np.random.default_rng(2)
WAYS = Softmax.implementations


def arrays(K=K):
    shapes = ((B, T, N, H), (B, S, K, H), (B, S, K, HV))
    return [jnp.asarray(RANDOM.normal(size=s), "float32") for s in shapes]


def close(a, b, tolerance=2e-5):
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


def by_definition(q, k, v, seen, bias=None, **options):
    """`naive.softmax` of every head; `seen` and `bias` broadcast to [B, N, T, S]."""
    seen = np.broadcast_to(seen, (B, N, T, S))
    if bias is not None:
        bias = np.broadcast_to(bias, (B, N, T, S))
    out = np.zeros((B, T, N, HV))
    for b, n in np.ndindex(B, N):
        own = None if bias is None else bias[b, n]
        one = q[b, :, n], k[b, :, n * K // N], v[b, :, n * K // N]
        out[b, :, n] = naive.softmax(*one, seen[b, n], bias=own, **options)[0]
    return out


PER_HEAD = {
    "one each": (Causal(), FULL, Window(1, 2), Chunk(3), Causal(2), ~Causal()),
    "shared inside groups": (Causal(),) * 3 + (Window(2, 0),) * 3,
    "shared across groups": (Causal(), FULL, FULL, Causal(), Causal(), FULL),
}


@pytest.mark.parametrize("impl", WAYS)
@pytest.mark.parametrize("masks", PER_HEAD.values(), ids=PER_HEAD)
def test_each_head_sees_what_its_own_mask_shows(masks, impl):
    q, k, v = arrays()
    mask = PerHead(masks)
    run = partial(attend, Softmax(), mask=mask, impl=impl)
    close(jax.jit(run)(q, k, v), by_definition(q, k, v, mask.dense(T, S)[None]))


def test_masks_of_each_head_go_with_their_biases_and_weights():
    q, k, v = arrays()
    mask = PerHead(PER_HEAD["shared across groups"])
    bias = jnp.asarray(RANDOM.normal(size=(1, N, T, S)), "float32")
    sinks = jnp.arange(N) / 4.0
    run = partial(attend, Softmax(sinks=True), mask=mask)
    out = jax.jit(run)(q, k, v, bias=bias, weights={"sink": sinks})
    seen = mask.dense(T, S)
    for n in range(N):
        options = {"bias": bias[0, n], "sink": float(sinks[n])}
        one = q[0, :, n], k[0, :, n * K // N], v[0, :, n * K // N]
        close(out[0, :, n], naive.softmax(*one, seen[n], **options)[0])


@pytest.mark.parametrize("impl", WAYS)
def test_lengths_hide_what_is_beyond_them(impl):
    q, k, v = arrays()
    q_lengths, kv_lengths = np.array([7, 4]), np.array([0, 5])
    run = partial(attend_with_lse, Softmax(), mask=Causal(2), impl=impl)
    out, lse = jax.jit(run)(q, k, v, q_lengths=q_lengths, kv_lengths=kv_lengths)
    seen = Causal(2).dense(T, S)[None] & (np.arange(S) < kv_lengths[:, None])[:, None]
    seen = seen & (np.arange(T) < q_lengths[:, None])[:, :, None]
    close(out, by_definition(q, k, v, seen[:, None]))
    blind = ~seen.any(axis=2)
    assert (np.asarray(lse)[blind] == -np.inf).all()
    assert np.isfinite(np.asarray(lse)[~blind]).all()


def test_lengths_are_padding_to_a_kernel_that_takes_padding():
    q, k, v = arrays()
    lengths = jnp.array([9, 5])
    real = jnp.arange(S)[None] < lengths[:, None]
    close(
        attend(Linear(), q, k, v, kv_lengths=lengths),
        attend(Linear(), q, k, v, kv_mask=real),
    )
    out = attend(Linear(), q, k, v, q_lengths=jnp.array([7, 3]))
    assert (out[1, 3:] == 0).all()
    assert (out[1, :3] != 0).any()


@pytest.mark.parametrize("impl", WAYS)
def test_one_query_of_a_cache_sees_what_stands_before_it(impl):
    q, k, v = arrays()
    run = jax.jit(partial(attend, Softmax(), mask=Causal(), impl=impl))
    whole = run(q, k[:, :T], v[:, :T])
    for t in (0, 4):
        positions = jnp.full((B, 1), t)
        one = run(q[:, t : t + 1], k[:, :T], v[:, :T], q_positions=positions)
        close(one[:, 0], whole[:, t])


@pytest.mark.parametrize("impl", WAYS)
def test_biases_of_distances_equal_the_array_that_they_stand_for(impl):
    q, k, v = arrays()
    table = jnp.asarray(RANDOM.normal(size=(N, 8)), "float32")
    distance = jnp.arange(S)[None] - jnp.arange(T)[:, None]
    for bias in (Alibi(jnp.asarray(alibi_slopes(N))), T5Bias(table, True, 6)):
        run = jax.jit(partial(attend, Softmax(), mask=Causal(3), impl=impl))
        held = bias.at(distance)[None]
        close(run(q, k, v, bias=bias), run(q, k, v, bias=held))
        seen = Causal(3).dense(T, S)
        close(run(q, k, v, bias=bias), by_definition(q, k, v, seen, bias=held))


@pytest.mark.parametrize("impl", WAYS)
def test_a_learned_bias_of_distances_has_the_gradient_of_its_array(impl):
    q, k, v = arrays()
    table = jnp.asarray(RANDOM.normal(size=(N, 8)), "float32")
    distance = jnp.arange(S)[None] - jnp.arange(T)[:, None]

    def loss(table, held):
        bias = T5Bias(table, True, 6)
        bias = bias.at(distance)[None] if held else bias
        return jnp.sin(attend(Softmax(), q, k, v, bias=bias, impl=impl)).sum()

    grad = jax.jit(jax.grad(loss), static_argnums=1)
    close(grad(table, False), grad(table, True))
    assert np.abs(grad(table, False)).max() > 1e-2


def test_explain_counts_the_mask_of_every_head():
    shapes = [jax.ShapeDtypeStruct((1, 64, 2, 8), jnp.float32)] * 3
    told = explain(Softmax(), *shapes, mask=PerHead((FULL, Causal())))
    assert told.density == pytest.approx((1 + 65 / 128) / 2)
    one = explain(Softmax(), *shapes)
    assert told.flops == pytest.approx(one.flops * told.density)


def test_explain_names_every_implementation_that_heads_get():
    shapes = [jax.ShapeDtypeStruct((1, 1024, 2, 8), jnp.float32)] * 3
    whole = explain(Softmax(), *shapes)
    assert whole.implementation == "blockwise"
    told = explain(Softmax(), *shapes, mask=PerHead((FULL, Causal())))
    assert told.implementation == "dense"  # the scores of one head are few
    three = [jax.ShapeDtypeStruct((1, 1024, 3, 8), jnp.float32)] * 3
    told = explain(Softmax(), *three, mask=PerHead((FULL, FULL, Causal())))
    assert told.implementation == "blockwise, dense"
    assert told.not_chosen.keys().isdisjoint({"dense", "blockwise"})


def test_auto_holds_all_scores_of_a_short_sequence_and_tiles_of_a_long_one():
    short = explain(Softmax(), *[jax.ShapeDtypeStruct((1, 64, 2, 8), "float32")] * 3)
    long = explain(Softmax(), *[jax.ShapeDtypeStruct((1, 1024, 2, 8), "float32")] * 3)
    assert (short.implementation, long.implementation) == ("dense", "blockwise")


WRONG = {
    "types": ({"k": jnp.ones((B, S, K, H), "bfloat16")}, "float32, bfloat16 and"),
    "heads of masks": (
        {"mask": PerHead((FULL, Causal()))},
        "PerHead has 2 masks, used with 6 query heads",
    ),
    "lengths of a mask": (
        {"mask": Blocks(np.ones((2, 2), bool), 8)},
        "16 x 16, used with 7 x 9",
    ),
    "a bias": (
        {"bias": jnp.ones((B, N, T, T))},
        r"bias is \(2, 6, 7, 7\); it must be \(1 or 2, 1 or 6, 7, 9\)",
    ),
    "heads of a bias": ({"bias": Alibi(jnp.ones(4))}, "bias is of 4 heads; q has 6"),
    "ranks": ({"q": jnp.ones((T, N, H))}, r"q is \(7, 6, 4\); it must be \(batch"),
    "no keys": (
        {"k": jnp.ones((B, 0, K, H)), "v": jnp.ones((B, 0, K, HV))},
        r"k is \(2, 0, 2, 4\); it must be .* none of them 0",
    ),
    "an array for a mask": (
        {"mask": np.ones((T, S), bool)},
        "mask is ndarray; it must",
    ),
    "lengths": ({"kv_lengths": jnp.ones(3, int)}, r"kv_lengths is \(3,\); it must be"),
    "positions": ({"q_positions": jnp.ones((B, S), int)}, "q_positions is"),
}


@pytest.mark.parametrize("case", WRONG)
def test_what_does_not_fit_is_refused_with_both_values(case):
    changed, said = WRONG[case]
    q, k, v = arrays()
    call = getattr(attend, "__wrapped__", attend)
    with pytest.raises(UserError, match=said):
        call(Softmax(), **{"q": q, "k": k, "v": v} | changed)


def test_a_mask_for_each_head_is_refused_where_a_mesh_divides_them():
    mesh = make((1, 2))
    with jax.set_mesh(mesh):
        q, k, v = (jax.device_put(x, BTNH) for x in arrays())
        with pytest.raises(UserError, match="needs all 6 heads on each device"):
            attend(Softmax(), q, k, v, mask=PerHead((FULL,) * N))
