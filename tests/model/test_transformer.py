"""What a model may depend on, for every kernel, and that each knob does something."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import naive
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from tiny import (
    DECODERS,
    RECALL,
    TREES,
    experiment_for,
    experiment_of,
    largest_gap,
    logits,
    place,
    random_batch,
    some,
)

from attn.kernels import KERNELS, Linear, Performer, Softmax, TokenInfo
from attn.objectives.base import score
from attn.parallel.mesh import make_mesh
from attn.tasks import PyDoc
from attn.train.state import build, model_def, new_model

BLOCKS = ("short_conv", "attention", "mlp")
MESH = make_mesh()


@pytest.fixture(autouse=True)
def _on_one_device():
    with jax.set_mesh(MESH):
        yield


@cache
def parts(experiment, seed=0):
    """The model, its weights and features, and a jitted function of these, a batch, a key."""
    params, features = build(experiment, jax.random.key(seed))
    model = model_def(experiment)
    run = jax.jit(lambda p, f, b, k: logits(experiment, model.merge(p, f), b, k))
    return model, params, features, run


def logits_of(experiment, batch, key=None, seed=0):
    _, params, features, call = parts(experiment, seed)
    return np.asarray(call(params, features, place(batch, MESH, P("data")), key))


def encoder_for(name, **model):
    """Of padded rows; causal where the kernel can be nothing else."""
    causal = "bidirectional" not in KERNELS[name].can
    experiment = experiment_for(name, pattern=BLOCKS, **model)
    model = replace(experiment.model, causal=causal)
    return replace(experiment, task=TREES, model=model)


# The tests of kernels ask the same of every mechanism; here is what models add.
@pytest.mark.parametrize("name", some(DECODERS))
def test_no_logit_of_a_decoder_depends_on_a_later_token(name):
    experiment = experiment_for(name, pattern=BLOCKS)
    T = RECALL.seq_len
    batch = random_batch(RECALL, (2,))
    batch["positions"] = np.tile(np.arange(T, dtype=np.int32), (2, 1))
    before = logits_of(experiment, batch)
    for t in (0, 7, T - 2):
        tokens = batch["tokens"].copy()
        tokens[:, t + 1 :] = (tokens[:, t + 1 :] + 3) % RECALL.vocab_size
        after = logits_of(experiment, batch | {"tokens": tokens})
        np.testing.assert_allclose(after[:, : t + 1], before[:, : t + 1], atol=1e-6)
        assert np.abs(after[:, t + 1] - before[:, t + 1]).min(axis=-1).max() > 1e-4


@pytest.mark.parametrize("name", some(naive.PATHS))
def test_padding_changes_nothing_of_an_encoder(name):
    experiment = encoder_for(name)
    batch = random_batch(TREES, (4,))
    batch["lengths"] = np.full(4, 16, np.int32)
    padded = logits_of(experiment, batch)
    tokens = batch["tokens"].copy()
    tokens[:, 16:] = (tokens[:, 16:] + 5) % TREES.vocab_size
    np.testing.assert_array_equal(
        logits_of(experiment, batch | {"tokens": tokens}), padded
    )
    if naive.ORACLES[name].length_free and "cross" in KERNELS[name].can:
        # What is made for one length means another thing on a shorter sequence.
        short = {"tokens": batch["tokens"][:, :16], "targets": batch["targets"]}
        np.testing.assert_allclose(logits_of(experiment, short), padded, atol=2e-6)
    tokens[:, 15] = (tokens[:, 15] + 5) % TREES.vocab_size
    assert largest_gap(logits_of(experiment, batch | {"tokens": tokens}), padded) > 1e-4


def test_padding_is_seen_by_layers_where_that_is_asked_for_and_never_read_out():
    experiment = encoder_for("softmax")
    model = replace(experiment.model, attend_padding=True)
    seen = replace(experiment, model=model)
    batch = random_batch(TREES, (4,))
    batch["lengths"] = np.full(4, 16, np.int32)
    other = batch["tokens"].copy()
    other[:, 16:] = (other[:, 16:] + 5) % TREES.vocab_size
    logits = logits_of(seen, batch)
    assert largest_gap(logits_of(seen, batch | {"tokens": other}), logits) > 1e-4
    whole = {**batch, "lengths": np.full(4, TREES.seq_len, np.int32)}
    assert largest_gap(logits_of(seen, whole), logits) > 1e-4
    # Without padding it is the same model.
    same = logits_of(experiment, whole)
    np.testing.assert_allclose(logits_of(seen, whole), same, atol=1e-5)


@pytest.mark.parametrize(
    ("name", "positions"),
    [("softmax", "learned"), *[(n, "rotary") for n in naive.PATHS]],
)
def test_a_gradient_reaches_every_parameter_and_learns_a_batch_by_heart(
    name, positions
):
    experiment = encoder_for(name, positions=positions, num_kv_heads=1)
    model, params, features, _ = parts(experiment)
    batch = place(random_batch(TREES, (8,)), MESH, P("data"))

    @jax.jit
    def step(params):
        def loss(p):
            said = logits(experiment, model.merge(p, features), batch)
            return score(said, batch["targets"])[0].mean()

        value, slope = jax.value_and_grad(loss)(params)
        size = 0.5 / jnp.sqrt(sum(jnp.square(g).sum() for g in slope.values()))
        return value, slope, {n: p - size * slope[n] for n, p in params.items()}

    _, first, _ = step(params)
    dead = [name for name, g in first.items() if not np.asarray(g).any()]
    assert not dead
    owns = KERNELS[name]().owns
    assert bool(features) == (owns == "features")
    assert any("layers/1/layer/own/" in p for p in params) == (owns == "weights")
    losses = []
    for _ in range(12):
        loss, _, params = step(params)
        losses.append(float(loss))
    assert np.isfinite(losses).all()
    assert min(losses) < 0.8 * losses[0]


def test_features_are_drawn_anew_for_every_seed_and_head():
    experiment = experiment_for("performer")
    name = "layers/0/layer/own/directions"
    drawn = [np.asarray(parts(experiment, seed)[2][name]) for seed in (0, 1)]
    assert np.abs(drawn[0] - drawn[1]).min() > 0
    assert np.abs(drawn[0][0] - drawn[0][1]).min() > 0


@pytest.mark.parametrize(
    "name", some([n for n in naive.PATHS if "map" in KERNELS[n].can])
)
def test_a_map_is_what_mixes_the_values(name):
    experiment = encoder_for(name, num_heads=4, num_kv_heads=2)
    model, params, features, _ = parts(experiment)
    batch = place(random_batch(TREES, (2,)), MESH, P("data"))

    @jax.jit
    def attention(tokens, lengths):
        seen = jnp.arange(tokens.shape[1])[None] < lengths[:, None]
        whole = model.merge(params, features)
        block = whole.layers[1]
        info = TokenInfo(mask=seen)
        x = block.norm(whole.layers[0](whole.embed(tokens), info)[0])
        values = block.layer.project(x, info)[2]
        return whole.maps(tokens, info)["layer_1"], values, block.layer(x, info)[0]

    maps, values, out = map(np.asarray, attention(batch["tokens"], batch["lengths"]))
    mixed = np.einsum("bnts,bsnh->btnh", maps, np.repeat(values, 2, axis=2))
    if KERNELS[name].head_norm:
        # The weight of the norm is 1 where it begins.
        mixed /= np.sqrt((mixed**2).mean(axis=-1, keepdims=True) + 1e-6)
    mixed = np.einsum("btnh,nhd->btd", mixed, np.asarray(params["layers/1/layer/o"]))
    np.testing.assert_allclose(mixed, out, atol=2e-5)


@pytest.mark.parametrize("name", some(naive.PATHS))
def test_bfloat16_stays_near_float32(name):
    experiment = encoder_for(name)
    batch = random_batch(TREES, (4,))
    exact = logits_of(experiment, batch)
    half = replace(experiment, model=replace(experiment.model, dtype="bfloat16"))
    _, params, features, _ = parts(experiment)
    call = parts(half)[3]
    rough = call(params, features, place(batch, MESH, P("data")), None)
    assert rough.dtype == jnp.float32
    gaps, size = np.abs(np.asarray(rough) - exact), np.abs(exact).max()
    assert 0 < np.median(gaps) < 0.02 * size
    # A head that reads next to nothing is divided by its size, and its rounding with it.
    if KERNELS[name].family != "recurrent":
        assert gaps.max() < 0.05 * size


@pytest.mark.parametrize("where", ["dropout", "attention_dropout"])
def test_dropout_follows_its_key_and_is_off_without_one(where):
    experiment = experiment_of(**{where: 0.5})
    batch = random_batch(RECALL, (4,))
    first, again, other = (
        logits_of(experiment, batch, jax.random.key(seed)) for seed in (0, 0, 1)
    )
    np.testing.assert_array_equal(first, again)
    assert largest_gap(first, other) > 0.1
    still = logits_of(experiment_of(), batch, jax.random.key(0))
    np.testing.assert_array_equal(logits_of(experiment, batch), still)


def test_attention_dropout_hides_its_share_of_keys_from_each_query():
    experiment = experiment_of(attention_dropout=0.25, num_heads=2)
    with jax.set_mesh(MESH):
        layer = next(
            block.layer
            for block in new_model(experiment, 0).layers
            if hasattr(block.layer, "hidden_keys")
        )
        bias = np.asarray(layer.hidden_keys(jax.random.key(1), 8, 32, 32))
        x = jax.random.normal(jax.random.key(2), (8, 32, 16))
        x = place(x, MESH, P("data"))
        heads = layer.project(x, TokenInfo())
        hidden = layer.attend(*heads, TokenInfo(), key=jax.random.key(1))
        seen = layer.attend(*heads, TokenInfo())
        values = np.asarray(heads[2])
    assert bias.shape == (8, 2, 32, 32)
    assert abs(np.isinf(bias).mean() - 0.25) < 0.02
    alone = np.isinf(bias[:, :, 1, 0]) & ~np.isinf(bias[:, :, 1, 1])  # [B, N]
    assert alone.any(), "query 1 of some head sees itself alone"
    np.testing.assert_allclose(
        np.asarray(hidden)[:, 1][alone], values[:, 1][alone], atol=1e-6
    )
    assert largest_gap(hidden, seen) > 0.1


@pytest.mark.parametrize(
    "change",
    [
        {"d_model": 32},
        {"pattern": ("mlp", "attention")},
        {"pattern": ("short_conv", "mlp")},
        {"pattern": ("linear", "mlp")},
        {"repeats": 2},
        {"num_heads": 4},
        {"num_kv_heads": 1},
        {"head_dim": 4},
        {"kv_rank": 8},
        {"kv_rank": 8, "rope_dim": 2},
        {"d_ff": 64},
        {"kernel": Linear()},
        {"positions": "none"},
        {"positions": "learned"},
        {"positions": "sinusoidal"},
    ],
    ids=str,
)
def test_a_field_of_the_model_changes_what_it_says(change):
    batch = random_batch(RECALL, (4,))
    base = logits_of(experiment_of(), batch)
    assert largest_gap(logits_of(experiment_of(**change), batch), base) > 1e-3


@pytest.mark.parametrize("kernel", [Softmax(), Linear()])
def test_a_gate_multiplies_every_channel_of_every_head(kernel):
    model = new_model(experiment_of(kernel=kernel, gate=True), 0)
    layer = next(b.layer for b in model.layers if hasattr(b.layer, "gate"))
    random = np.random.default_rng(0)
    x, out = random.normal(size=(2, 5, 16)), random.normal(size=(2, 5, 2, 8))
    x, out = (jnp.asarray(array, jnp.float32) for array in (x, out))
    gate = 1 / (1 + np.exp(-np.einsum("btd,dnh->btnh", x, layer.gate[...])))
    expected = np.einsum("btnh,nhd->btd", gate * out, layer.o[...])
    np.testing.assert_allclose(layer.read_out(out, x), expected, rtol=1e-5, atol=1e-5)


def test_the_width_of_a_short_convolution_is_how_far_it_sees():
    batch = random_batch(RECALL, (1,))
    batch["positions"] = np.arange(16, dtype=np.int32)[None]
    tokens = batch["tokens"].copy()
    tokens[:, 5] = (tokens[:, 5] + 1) % RECALL.vocab_size
    for width in (1, 2, 4):
        experiment = experiment_of(pattern=("short_conv",), conv_width=width)
        gap = logits_of(experiment, batch | {"tokens": tokens}) - logits_of(
            experiment, batch
        )
        assert np.nonzero(np.abs(gap[0]).max(axis=-1) > 1e-6)[0].tolist() == list(
            range(5, 5 + width)
        )


def test_an_implementation_that_is_named_is_the_one_that_runs(monkeypatch):
    from attn.kernels import softmax

    def refuse(*_, **__):
        raise RuntimeError("dense ran")

    batch = random_batch(RECALL, (2,))
    wanted = logits_of(experiment_of(), batch)
    monkeypatch.setattr(softmax, "dense_attention", refuse)
    blockwise = experiment_of(attention_impl="blockwise")
    np.testing.assert_allclose(logits_of(blockwise, batch), wanted, atol=1e-5)
    with pytest.raises(RuntimeError, match="dense ran"):
        logits_of(experiment_of(attention_impl="dense", kernel=Softmax()), batch)


def test_a_decoder_is_scored_where_its_task_says():
    batch = random_batch(RECALL, (2,))
    every = batch | {"positions": np.tile(np.arange(16, dtype=np.int32), (2, 1))}
    whole = logits_of(experiment_of(), every)
    some = logits_of(experiment_of(), batch)
    wanted = whole[np.arange(2)[:, None], batch["positions"]]
    np.testing.assert_allclose(some, wanted, atol=1e-6)
    task = PyDoc(seq_len=16)
    everywhere = logits_of(experiment_of(task), random_batch(task, (2,)))
    assert everywhere.shape == (2, 16, task.vocab_size)


def test_an_encoder_is_scored_by_the_mean_of_its_real_states():
    experiment = encoder_for("softmax")
    model, params, features, call = parts(experiment)
    rows = random_batch(TREES, (3,))
    batch = place(rows, MESH, P("data"))

    @jax.jit
    def states(tokens, lengths):
        seen = jnp.arange(tokens.shape[1])[None] < lengths[:, None]
        info = TokenInfo(mask=seen)
        return model.merge(params, features).hidden(tokens, info)

    hidden = np.asarray(states(batch["tokens"], batch["lengths"]))
    means = np.stack([h[:n].mean(axis=0) for h, n in zip(hidden, rows["lengths"])])
    said = np.asarray(call(params, features, batch, None))
    np.testing.assert_allclose(
        said[:, 0], means @ np.asarray(params["out"]).T, atol=1e-5
    )


def test_more_random_features_change_the_estimate():
    batch = random_batch(RECALL, (2,))
    a, b = (
        logits_of(experiment_of(kernel=Performer(num_features=n)), batch)
        for n in (4, 8)
    )
    assert largest_gap(a, b) > 1e-3
