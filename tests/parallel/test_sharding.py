"""Heads and batch over a mesh: no collective, and the same numbers, for every kernel."""

from functools import cache

import jax
import jax.numpy as jnp
import naive
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from meshes import BTNH, COLLECTIVES, KINDS, collectives, make, placed
from tiny import SOME, exhaustive, some

from attn.attention import attend, effective_map
from attn.kernels import KERNELS
from attn.masks import FULL, Causal
from attn.positions import T5Bias

B, T, N, H = 8, 6, 8, 4
SOFTMAX = naive.SPECS["softmax"]
EVERY = [(name, impl) for name in naive.SPECS for impl in KERNELS[name].implementations]
FIRST = [(name, KERNELS[name].implementations[0]) for name in naive.PATHS]


def always(name, impl, kind):
    """Whether a case stands for its others: the compiler divides all by one rule."""
    return name == "softmax" or (kind == "explicit" and (name, impl) in FIRST)


DIVIDED = [
    (*case, kind) if always(*case, kind) else exhaustive(*case, kind)
    for case in EVERY
    for kind in KINDS
]


@cache
def case(name, impl, N=N, K=None, dtype=jnp.float32):
    """Output and gradients as a function, and its inputs."""
    spec, random = naive.SPECS[name], np.random.default_rng(6)
    shapes = {"q": (B, T, N, H), "k": (B, T, K or N, H)}
    shapes["v"] = (B, T, K or N, naive.value_width(spec, H, 3))
    arrays = {n: jnp.asarray(random.normal(size=s), dtype) for n, s in shapes.items()}
    if "key_padding" in spec.can:
        real = np.arange(T)[None] < random.integers(2, T, (B, 1))
        arrays["kv_mask"] = jnp.asarray(real)
    if spec.owns != "nothing":
        arrays["weights"] = naive.own_weights(spec, H, T, N)
    mask = Causal() if "causal" in spec.can else FULL

    def loss(moving, still):
        out = attend(spec, **moving, **still, mask=mask, impl=impl)
        return jnp.sin(out.astype(jnp.float32)).sum(axis=(1, 3)), out

    def run(moving, still):
        out, pull, aux = jax.vjp(lambda m: loss(m, still), moving, has_aux=True)
        return aux, pull(jnp.ones_like(out))[0]

    still = {n: arrays[n] for n in arrays if n not in shapes}
    return jax.jit(run), {n: arrays[n] for n in shapes}, still


@cache
def unsharded(*asked, **options):
    """What the case gives on one device."""
    run, *arrays = case(*asked, **options)
    return run(*arrays)


def assert_same(actual, expected, tolerance=1e-5):
    for a, e in zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True):
        a, e = (np.asarray(x, np.float32) for x in (a, e))
        np.testing.assert_allclose(a, e, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize(("name", "impl", "kind"), DIVIDED)
def test_head_sharded_attention_needs_no_communication(name, impl, kind):
    run, *arrays = case(name, impl)
    with jax.set_mesh(make((2, 4), kind)):
        sharded = placed(*arrays)
        compiled = run.lower(*sharded).compile()
        out, grads = compiled(*sharded)
    assert collectives(compiled) == []
    assert out.sharding.spec == grads["q"].sharding.spec == BTNH
    assert_same((out, grads), unsharded(name, impl))


@pytest.mark.skipif(
    not hasattr(jax.sharding, "no_collectives"), reason="jax before 0.12 cannot say"
)
@pytest.mark.parametrize(("name", "impl"), EVERY)
def test_jax_itself_finds_no_collective_in_attention(name, impl):
    run, *arrays = case(name, impl)
    with jax.set_mesh(make((2, 4))):
        sharded = placed(*arrays)
        with jax.sharding.no_collectives({"data", "heads"}):  # pyright: ignore
            jax.eval_shape(run, *sharded)


@pytest.mark.parametrize(
    "kind", [k if k == "explicit" else exhaustive(k) for k in KINDS]
)
@pytest.mark.parametrize("shape", [(1, 1), (1, 8), (8, 1)], ids=str)
@pytest.mark.parametrize("impl", naive.SPECS["softmax"].implementations)
def test_every_shape_of_mesh_gives_the_same(impl, shape, kind):
    run, *arrays = case("softmax", impl)
    with jax.set_mesh(make(shape, kind)):
        sharded = placed(*arrays)
        compiled = run.lower(*sharded).compile()
        actual = compiled(*sharded)
    assert collectives(compiled) == []
    assert_same(actual, unsharded("softmax", impl))


@pytest.mark.parametrize(
    ("name", "impl", "dtype"),
    [
        (*c, d)
        if c[0] == "softmax" or (c[0] in SOME and d == jnp.bfloat16)
        else exhaustive(*c, d)
        for c in EVERY
        for d in (jnp.float32, jnp.bfloat16)
    ],
)
def test_one_head_on_one_device_keeps_the_types_of_its_gradients(name, impl, dtype):
    run, *arrays = case(name, impl, N=1, dtype=dtype)
    with jax.set_mesh(make((1, 1))):
        actual = jax.eval_shape(run, *placed(*arrays))
    assert actual[1]["k"].dtype == dtype


@pytest.mark.parametrize(
    "name", some([n for n in naive.PATHS if "map" in KERNELS[n].can])
)
def test_one_text_on_one_device_has_a_map(name):
    spec, T = naive.SPECS[name], 12
    random = np.random.default_rng(6)
    q, k = (jnp.asarray(random.normal(size=(1, T, 2, H)), "float32") for _ in "qk")
    moving, still = {"q": q, "k": k}, {"weights": naive.own_weights(spec, H, T, 2)}
    mask = Causal() if "causal" in spec.can else FULL

    def run(moving, still):
        own = still["weights"] or None
        return effective_map(spec, **moving, mask=mask, weights=own)

    with jax.set_mesh(make((1, 1))):
        maps = jax.eval_shape(run, *placed(moving, still))
    assert maps.shape == (1, 2, T, T)


@pytest.mark.parametrize("dtype", [jnp.float32, jnp.bfloat16], ids=["f32", "bf16"])
@pytest.mark.parametrize("impl", naive.SPECS["softmax"].implementations)
def test_one_head_on_one_device_gives_the_same(impl, dtype):
    run, *arrays = case("softmax", impl, N=1, dtype=dtype)
    with jax.set_mesh(make((1, 1))):
        actual = run(*placed(*arrays))
    assert_same(actual, run(*arrays), 1e-5 if dtype == jnp.float32 else 2e-2)


@pytest.mark.parametrize("shape", [(1, 8), (2, 1)], ids=str)
@pytest.mark.parametrize(
    ("name", "impl"), [("softmax", "dense"), ("softmax", "blockwise")]
)
def test_a_shared_key_head_costs_the_sum_of_its_gradient_alone(name, impl, shape):
    run, *arrays = case(name, impl, K=1)
    heads = None if shape[1] > 1 else "heads"
    with jax.set_mesh(make(shape)):
        sharded = placed(*arrays, heads)
        compiled = run.lower(*sharded).compile()
        actual = compiled(*sharded)
    assert set(collectives(compiled)) <= ({"all-reduce"} if shape[1] > 1 else set())
    assert_same(actual, run(*arrays))


@pytest.mark.parametrize("impl", ["dense", "blockwise"])
def test_key_heads_fewer_than_devices_are_copied_to_those_that_read_them(impl):
    run, *arrays = case("softmax", impl, K=2)
    with jax.set_mesh(make((2, 4))):
        sharded = placed(*arrays, None)
        compiled = run.lower(*sharded).compile()
        actual = compiled(*sharded)
    assert set(collectives(compiled)) <= {"all-reduce", "all-gather"}
    assert_same(actual, run(*arrays))


def test_groups_follow_their_key_head():
    run, *arrays = case("softmax", "dense", N=16, K=4)
    with jax.set_mesh(make((2, 4))):
        sharded = placed(*arrays)
        compiled = run.lower(*sharded).compile()
        actual = compiled(*sharded)
    assert collectives(compiled) == []
    assert_same(actual, run(*arrays))


@pytest.mark.parametrize("impl", ["dense", "blockwise"])
def test_a_learned_bias_of_positions_that_each_row_has_goes_with_its_heads(impl):
    """The table lies along heads, the distances along the batch, and no device sends."""
    random = np.random.default_rng(3)
    q, k, v = (
        jnp.asarray(random.normal(size=(B, T, N, H)), jnp.float32) for _ in "qkv"
    )
    table = jnp.asarray(random.normal(size=(N, 8)), jnp.float32)
    positions = jnp.asarray(np.sort(random.integers(0, 20, (B, T)), axis=1))

    def loss(table, q, k, v, positions):
        given = {"q_positions": positions, "kv_positions": positions, "impl": impl}
        out = attend(SOFTMAX, q, k, v, bias=T5Bias(table, True, 6), **given)
        return jnp.sin(out).sum(axis=(1, 3))

    def run(*arrays):
        out, pull = jax.vjp(lambda table: loss(table, *arrays[1:]), arrays[0])
        return out, pull(jnp.ones_like(out))[0]

    with jax.set_mesh(make((2, 4))):
        divided = [jax.device_put(x, BTNH) for x in (q, k, v)]
        rows, heads = P("data", None), P("heads", None)
        placed = jax.device_put(table, heads), *divided, jax.device_put(positions, rows)
        compiled = jax.jit(run).lower(*placed).compile()
        actual = compiled(*placed)
    assert set(collectives(compiled)) <= {"all-reduce"}
    assert_same(actual, jax.jit(run)(table, q, k, v, positions))


def test_every_mechanism_is_asked_for_collectives():
    asked = {getattr(case, "values", case)[0] for case in DIVIDED}
    assert asked == set(KERNELS)


def test_the_search_finds_a_collective_that_is_there():
    with jax.set_mesh(make((1, 8))):
        x = jax.device_put(jnp.ones((8, 4)), P("heads", None))
        compiled = jax.jit(lambda x: x.sum()).lower(x).compile()
    assert collectives(compiled) == ["all-reduce"]


FOUND = (
    *("all-gather", "all-reduce", "all-to-all", "ragged-all-to-all"),
    *("collective-broadcast", "collective-permute", "reduce-scatter"),
)


@pytest.mark.parametrize("kind", FOUND)
def test_the_search_knows_every_kind_of_collective(kind):
    started = f"  %s = (f32[4], f32[8]) {kind}-start(%x), channel_id=1\n"
    started += f"  ROOT %d = f32[8]{{0:T(256)}} {kind}-done(%s)"
    plain = f'  %{kind}.1 = f32[8]{{0}} {kind}(%x), metadata={{op_name="{kind}"}}'
    used = f"  %y = f32[8]{{0}} add(%{kind}.1, %{kind}.1)"
    assert COLLECTIVES.findall("\n".join((started, plain, used))) == [kind, kind]
