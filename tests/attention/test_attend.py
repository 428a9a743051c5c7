"""The lift over batch, heads and groups, for every kernel."""

import re
from functools import cache, partial

import jax
import jax.numpy as jnp
import naive
import numpy as np
import pytest
from tiny import exhaustive, paths, some

from attn.attention import (
    CallShape,
    attend,
    attend_with_lse,
    choose_implementation,
    effective_map,
    explain,
)
from attn.attention.backends import Backend, Cudnn
from attn.errors import UserError
from attn.kernels import KERNELS
from attn.masks import FULL, Causal, Window

B, T, N, H, HV = 2, 6, 4, 4, 4
SOFTMAX = naive.SPECS["softmax"]


@cache
def inputs(name, K=N, T=T):
    """q, k, v and the options that every call of this kernel takes."""
    spec, random = naive.SPECS[name], np.random.default_rng(4)
    shapes = ((B, T, N, H), (B, T, K, H), (B, T, K, HV))
    arrays = [random.normal(size=s).astype(np.float32) for s in shapes]
    options = {} if "causal" not in spec.can else {"mask": Causal()}
    if spec.owns != "nothing":
        options["weights"] = naive.own_weights(spec, H, T, N)
    return arrays, options


@cache
def program(name):
    """`attend`, compiled once for every test that asks the same of it."""
    spec, (_, options) = naive.SPECS[name], inputs(name)
    fixed = {key: value for key, value in options.items() if key != "weights"}
    return jax.jit(lambda q, k, v, w: attend(spec, q, k, v, weights=w, **fixed))


def run(name, q, k, v, weights=None):
    """What `attend` gives, as NumPy; with the kernel's own weights unless given."""
    own = inputs(name)[1].get("weights") if weights is None else weights
    return np.asarray(program(name)(q, k, v, own))


def close(a, b, tolerance=2e-5):
    np.testing.assert_allclose(a, b, rtol=tolerance, atol=tolerance)


@pytest.mark.parametrize("name", naive.PATHS)
def test_every_head_of_every_sequence_is_the_kernel_alone(name):
    (q, k, v), options = inputs(name)
    out, spec = run(name, q, k, v), naive.SPECS[name]
    seen = naive.visible(spec, T, T, "mask" in options)
    for b in range(B):
        for n in range(N):
            own = {x: np.float64(w[n]) for x, w in options.get("weights", {}).items()}
            one = (np.float64(x[b, :, n]) for x in (q, k, v))
            close(out[b, :, n], naive.define(spec, *one, seen, own))


@pytest.mark.parametrize("name", some(naive.PATHS))
def test_jit_vmap_scan_and_remat_change_nothing(name):
    arrays, options = inputs(name)
    plain = partial(attend, naive.SPECS[name], **options)
    expected = run(name, *arrays)
    if name == "softmax":
        close(plain(*map(jnp.asarray, arrays)), expected)
    twice = [np.stack([x, x]) for x in arrays]

    @jax.jit
    def all_at_once(arrays, twice):
        mapped = jax.vmap(plain)(*twice)
        _, scanned = jax.lax.scan(lambda c, x: (c, plain(*x)), 0, twice)
        grads = [
            jax.grad(lambda *a, f=f: jnp.sin(f(*a)).sum(), argnums=(0, 1, 2))(*arrays)
            for f in (plain, jax.checkpoint(plain))
        ]
        return mapped, scanned, grads

    mapped, scanned, (grads, again) = all_at_once(arrays, twice)
    for i in range(2):
        close(mapped[i], expected)
        close(scanned[i], expected)
    for a, b in zip(grads, again, strict=True):
        close(a, b)


@pytest.mark.parametrize(
    ("name", "K"),
    [(name, 2) for name in naive.PATHS]
    + [("softmax", 1), *(exhaustive(name, 1) for name in naive.PATHS[1:])],
)
def test_grouped_heads_equal_repeated_heads(name, K):
    (q, k, v), _ = inputs(name, K)
    repeated = [np.repeat(x, N // K, axis=2) for x in (k, v)]
    close(run(name, q, k, v), run(name, q, *repeated), 1e-6)


def test_gradient_of_a_shared_head_is_the_sum_over_its_group():
    (q, k, v), options = inputs("softmax", 2)

    def loss(q, k, v):
        return jnp.sin(attend(SOFTMAX, q, k, v, **options)).sum()

    grad = jax.jit(jax.grad(loss, argnums=(1, 2)))
    repeated = grad(q, *(np.repeat(x, 2, axis=2) for x in (k, v)))
    for a, b in zip(grad(q, k, v), map(np.asarray, repeated), strict=True):
        close(a, b.reshape(B, T, 2, 2, -1).sum(axis=3))


@pytest.mark.parametrize("name", naive.PATHS)
def test_permuting_sequences_or_heads_permutes_the_output(name):
    (q, k, v), options = inputs(name)
    out = run(name, q, k, v)
    flipped = run(name, *(x[::-1] for x in (q, k, v)))
    np.testing.assert_array_equal(flipped, out[::-1])
    order = np.array([2, 0, 3, 1])
    own = options.get("weights")
    mixed = jax.tree.map(lambda w: np.asarray(w)[order], own)
    shuffled = (x[:, :, order] for x in (q, k, v))
    close(run(name, *shuffled, mixed), out[:, :, order], 1e-6)


@pytest.mark.parametrize("name", paths([n for n in KERNELS if "map" in KERNELS[n].can]))
def test_the_effective_map_applied_to_the_values_is_the_output(name):
    (q, k, v), options = inputs(name)
    spec = naive.SPECS[name]
    maps = jax.jit(lambda q, k: effective_map(spec, q, k, **options))(q, k)
    maps = np.asarray(maps)
    assert maps.shape == (B, N, T, T)
    close(np.einsum("bnts,bsnv->btnv", maps, v), run(name, q, k, v))
    if "normalised" in spec.can:
        close(maps.sum(axis=-1), 1.0)
    if naive.ORACLES[name].shows or "causal" in spec.can:
        hidden = ~naive.visible(spec, T, T, "mask" in options)
        assert (maps[:, :, hidden] == 0).all()


def test_the_effective_map_of_softmax_is_its_weights_under_groups_and_padding():
    (q, k, _), _ = inputs("softmax", 2)
    real = jnp.arange(T)[None] < jnp.asarray([T, 3])[:, None]
    maps = jax.jit(partial(effective_map, SOFTMAX, kv_mask=real))(q, k)
    for b, n in np.ndindex(B, N):
        scores = np.asarray(q[b, :, n] @ k[b, :, n // 2].T) * H**-0.5
        seen = np.asarray(real[b])
        for t in range(T):
            close(maps[b, n, t], naive.softmax_row(scores[t].astype(float), seen)[0])


@pytest.mark.parametrize("impl", SOFTMAX.implementations)
def test_segments_padding_and_mask_hide_together(impl):
    (q, k, v), _ = inputs("softmax")
    ids = jnp.asarray([[0, 0, 0, 1, 1, 1], [0, 1, 1, 1, 2, 2]])
    real = jnp.asarray([[1, 1, 1, 1, 1, 0], [1] * 6], bool)
    out, lse = jax.jit(
        lambda *a: attend_with_lse(
            SOFTMAX,
            *a,
            mask=Causal(),
            kv_mask=real,
            q_segment_ids=ids,
            kv_segment_ids=ids,
            impl=impl,
        )
    )(q, k, v)
    assert lse.shape == (B, T, N)
    assert lse.dtype == jnp.float32
    for b, n in np.ndindex(B, N):
        own = np.asarray(ids[b])[:, None] == np.asarray(ids[b])[None, :]
        seen = own & Causal().dense(T) & np.asarray(real[b])[None, :]
        expected = naive.softmax(*(x[b, :, n] for x in (q, k, v)), seen)
        close(out[b, :, n], expected[0])
        close(lse[b, :, n], expected[1])


@pytest.mark.parametrize("shape", [(1, 1), (1, N), (B, 1), (B, N)])
def test_bias_is_shared_over_the_axes_of_size_one(shape):
    arrays, _ = inputs("softmax", 2)
    bias = np.random.default_rng(0).normal(size=(*shape, T, T)).astype(np.float32)
    run = jax.jit(lambda *a: attend(SOFTMAX, *a[:-1], bias=a[-1]))
    whole = np.broadcast_to(bias, (B, N, T, T))
    close(run(*arrays, bias), run(*arrays, whole), 1e-6)
    q, k, v = arrays
    seen = np.full((T, T), True)
    alone = naive.softmax(q[1, :, 3], k[1, :, 1], v[1, :, 1], seen, bias=whole[1, 3])
    close(run(*arrays, bias)[1, :, 3], alone[0])


def ask(T, S, *asked, mask=FULL, device="cpu", dtype="bfloat16"):
    """Of eight heads of 64."""
    return CallShape(1, T, S, 8, 8, 64, 64, dtype, mask, frozenset(asked), device)


def test_auto_chooses_by_the_number_of_scores_and_says_why():
    assert choose_implementation(SOFTMAX, ask(2048, 512))[0] == "dense"
    chosen, reasons = choose_implementation(SOFTMAX, ask(2048, 513, "bias", "lse"))
    assert chosen == "blockwise"
    assert "8,404,992 scores are over 1,048,576" in reasons["dense"]
    # What a mask hides costs tiles nothing, and dense attention all the same.
    near = ask(1024, 1024, mask=Window(63, 0))
    assert choose_implementation(SOFTMAX, near)[0] == "blockwise"
    assert choose_implementation(SOFTMAX, ask(1024, 1024, mask=Causal()))[0] == "dense"
    assert set(reasons) == {"dense", "blockwise", *SOFTMAX.backends}
    assert reasons["dense"] == reasons["blockwise"]
    assert "device 'cpu'; it takes TPU devices" in reasons["splash"]
    chosen, reasons = choose_implementation(naive.SPECS["linformer"], ask(9999, 9999))
    assert (chosen, set(reasons)) == ("direct", {"direct"})
    linear = [
        choose_implementation(KERNELS["linear"](), ask(T, T))[0] for T in (9, 999)
    ]
    assert linear == ["parallel", "chunked"]


@pytest.mark.parametrize(
    ("device", "asked", "chosen"),
    [
        ("TPU v5 lite", (), "splash"),
        ("TPU v5 lite", ("bias",), "blockwise"),
        ("TPU v5 lite", ("positions",), "blockwise"),
        ("Radeon", (), "blockwise"),
        ("TPU v5 lite", ("lse",), "blockwise"),
        ("NVIDIA H200", (), "cudnn"),
        ("NVIDIA H200", ("lse", "packing", "softcap"), "triton"),
        ("NVIDIA H200", ("bias", "sinks"), "dense"),
    ],
)
def test_auto_takes_a_fused_kernel_where_the_device_has_one(
    monkeypatch, device, asked, chosen
):
    # What is installed decides first, and differs between machines.
    monkeypatch.setattr(Backend, "_installed", lambda self, shape: None)
    wish = ask(2048, 2048, *asked, mask=Causal(), device=device)
    assert choose_implementation(SOFTMAX, wish)[0] == chosen


@pytest.mark.parametrize(
    ("device", "T", "chosen"),
    [
        ("NVIDIA H200", 2896, "dense"),
        ("NVIDIA H200", 2897, "blockwise"),
        ("TPU v5 lite", 1024, "dense"),
        ("TPU v5 lite", 1025, "blockwise"),
    ],
)
def test_an_accelerator_holds_more_scores_at_once(device, T, chosen):
    wish = ask(T, T, "bias", "sinks", device=device)
    assert choose_implementation(SOFTMAX, wish)[0] == chosen


def test_a_kernel_that_no_device_has_timed_is_taken_by_name_only():
    wish = ask(2048, 2048, "lse", mask=Causal(), device="TPU v5 lite")
    chosen, reasons = choose_implementation(SOFTMAX, wish)
    assert chosen == "blockwise"
    assert reasons["pallas"] == "taken by name only: no device has timed it"
    assert choose_implementation(SOFTMAX, wish, "pallas")[0] == "pallas"


def test_a_backend_is_asked_about_the_pattern_that_will_run(monkeypatch):
    # As if its packages were there: the answer then is about the mask.
    monkeypatch.setattr(Cudnn, "packages", ("jax",))
    wish = ask(2048, 2048, device="NVIDIA H200", mask=Causal())
    _, reasons = choose_implementation(KERNELS["longformer"](width=9), wish, "dense")
    assert "is no band" in reasons["cudnn"]
    _, reasons = choose_implementation(KERNELS["window"](width=9), wish, "dense")
    assert reasons["cudnn"] == "not asked for"


def test_a_named_implementation_is_taken_or_refused_and_never_replaced():
    assert choose_implementation(SOFTMAX, ask(9999, 9999), "dense")[0] == "dense"
    assert choose_implementation(SOFTMAX, ask(4, 4), "blockwise")[0] == "blockwise"
    with pytest.raises(UserError, match="impl = 'splash': device 'cpu'"):
        choose_implementation(SOFTMAX, ask(4096, 4096), "splash")
    with pytest.raises(UserError, match="did you mean 'blockwise'"):
        choose_implementation(SOFTMAX, ask(4, 4), "blokwise")
    with pytest.raises(UserError, match="impl of kernel 'linear'"):
        choose_implementation(naive.SPECS["linear"], ask(4, 4), "dense")


def test_explain_runs_nothing_and_counts_what_the_mask_shows():
    shapes = [jax.ShapeDtypeStruct((2, 64, 4, 8), jnp.float32)] * 3
    told = explain(SOFTMAX, *shapes, mask=Causal(), impl="blockwise")
    assert (told.kernel, told.implementation) == ("softmax", "blockwise")
    assert told.not_chosen["dense"] == "not asked for"
    assert told.density == pytest.approx(65 / 128)
    assert told.flops == pytest.approx(2 * 4 * 2 * 64 * 65 / 2 * 16)
    assert told.temp_bytes > 0


def test_blockwise_needs_less_memory_than_dense_on_a_long_sequence():
    shapes = [jax.ShapeDtypeStruct((1, 2048, 1, 8), jnp.float32)] * 3
    dense, tiles = (explain(SOFTMAX, *shapes, impl=i) for i in ("dense", "blockwise"))
    assert dense.temp_bytes > 2048 * 2048 * 4
    assert tiles.temp_bytes < dense.temp_bytes / 4
    assert explain(SOFTMAX, *shapes).implementation == "blockwise"


ones = jnp.ones


@pytest.mark.parametrize(
    ("change", "said"),
    [
        ({"v": ones((B, T + 1, N, HV))}, "differ in B, S or K"),
        ({"k": ones((B, T, N, H + 1))}, "differ in B or H"),
        ({"k": ones((B, T, 3, H)), "v": ones((B, T, 3, HV))}, "do not divide"),
        ({"q_segment_ids": ones((B, T), int)}, "both or neither"),
        ({"kv_mask": ones((B, T + 1), bool)}, "kv_mask is"),
    ],
)
def test_arguments_that_disagree_are_refused(change, said):
    (q, k, v), _ = inputs("softmax")
    arguments = {"q": q, "k": k, "v": v} | change
    # Past the shape checks of the test run, as a user's call is.
    call = getattr(attend, "__wrapped__", attend)
    with pytest.raises(UserError, match=said):
        call(SOFTMAX, **arguments)


def test_without_a_mask_and_under_full_every_key_is_seen():
    arrays, _ = inputs("softmax")
    run = jax.jit(lambda *a: [attend(SOFTMAX, *a), attend(SOFTMAX, *a, mask=FULL)])
    seen = np.full((T, T), True)
    for out in run(*arrays):
        for b, n in np.ndindex(B, N):
            expected = naive.softmax(*(x[b, :, n] for x in arrays), seen)
            close(out[b, :, n], expected[0])


def test_heads_without_groups_leave_no_axis_of_groups_in_their_products():
    q, k, v = (jnp.zeros((B, T, N, H)) for _ in range(3))
    program = jax.make_jaxpr(partial(attend, SOFTMAX, impl="dense"))(q, k, v)
    shapes = re.findall(r"(f32\[[\d,]+\]) = dot_general", str(program))
    assert sorted(shape.count(",") for shape in shapes) == [3, 3]
