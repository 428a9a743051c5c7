"""Multi-head latent attention: both forms are equal, and it costs what it says."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from tiny import (
    DECODERS,
    RECALL,
    TREES,
    calls,
    experiment_for,
    experiment_of,
    largest_gap,
    logits,
    place,
    random_batch,
    some,
)

from attn.config import ModelConfig
from attn.config.cost import count_params, decode_state, forward_flops
from attn.config.match import match
from attn.errors import UserError
from attn.kernels import KERNELS, RGLRU, Longformer, Softmax, TokenInfo
from attn.objectives.base import score
from attn.parallel.mesh import MeshShape, make_mesh
from attn.train.state import build, init_state, model_def
from attn.train.step import make_train_step

LATENT = {"num_heads": 2, "head_dim": 6, "kv_rank": 5, "rope_dim": 4}
MESH = make_mesh()
MADE = ["softmax", "longformer", "linear", "performer", "linformer", "rglru"]
"""One of each way to be made: exact, under a mask, by features, random or learned."""


def latent_for(name, **model):
    rope_dim = LATENT["rope_dim"] if KERNELS[name].rotates else None
    return experiment_for(name, **LATENT | {"rope_dim": rope_dim} | model)


@cache
def parts(experiment, shape=MeshShape()):
    """Parameters, features and model_def on a mesh."""
    with jax.set_mesh(make_mesh(shape)):
        params, features = build(experiment, jax.random.key(0))
        return params, features, model_def(experiment)


@cache
def program(experiment):
    """The logits of a batch, compiled once for every test that asks for them."""
    _, features, model = parts(experiment)
    return jax.jit(lambda p, b: logits(experiment, model.merge(p, features), b))


def logits_of(experiment, batch):
    params, *_ = parts(experiment)
    with jax.set_mesh(MESH):
        run = program(experiment)
        return np.asarray(run(params, place(batch, MESH, P("data"))))


@cache
def layer_run(experiment, how, shape=MeshShape()):
    """Output and gradients, of weights and input, of the first attention layer."""
    params, features, model = parts(experiment, shape)
    mesh, (B, T, D) = make_mesh(shape), (2, 9, experiment.model.d_model)
    x = np.random.default_rng(1).normal(size=(B, T, D)).astype(np.float32)
    real = np.arange(T)[None] < np.array([[T], [6]])
    own = {n: p for n, p in params.items() if n.startswith("layers/0/layer/")}

    def loss(own, x, real):
        layer = model.merge(params | own, features).layers[0].layer
        info = TokenInfo(mask=real)
        out = layer(x, info)[0] if how == "expanded" else layer.absorbed(x, info)
        return jnp.sin(out).sum(), out

    with jax.set_mesh(mesh):
        run = jax.jit(jax.value_and_grad(loss, argnums=(0, 1), has_aux=True))
        data = [place(a, mesh, P("data")) for a in (x, real)]
        compiled = run.lower(own, *data).compile()
        (_, out), grads = compiled(own, *data)
    return (out, *grads), compiled.as_text()


@pytest.mark.parametrize(
    ("kernel", "positions"),
    [
        (Softmax(), "rotary"),
        (Softmax(), "learned"),
        (Softmax(softcap=1.5, sinks=True), "rotary"),
        (Longformer(width=3, num_global=1), "rotary"),
    ],
    ids=str,
)
def test_one_absorbed_head_is_all_expanded_heads(kernel, positions):
    model = LATENT | {"positions": positions, "kernel": kernel}
    if positions == "learned":
        del model["rope_dim"]
    experiment = experiment_of(**model)
    expanded, _ = layer_run(experiment, "expanded")
    absorbed, _ = layer_run(experiment, "absorbed")
    assert largest_gap(expanded, absorbed) < 5e-5  # of gradients up to 80
    assert np.abs(expanded[0]).max() > 0.1


def test_a_layer_is_its_equations():
    """DeepSeek-AI 2024, equations 9 to 11 and 14 to 19, one query at a time."""
    experiment = experiment_of(**LATENT)
    params, _, _ = parts(experiment)
    (out, *_), _ = layer_run(experiment, "expanded")
    w = {
        name.removeprefix("layers/0/layer/"): np.float64(p)
        for name, p in params.items()
        if name.startswith("layers/0/layer/")
    }
    x = np.random.default_rng(1).normal(size=(2, 9, 16)).astype(np.float32)
    H, U = 6, 4

    def rotate(y, t):
        a, b = np.split(y, 2)
        angle = t * 10_000.0 ** (-2 * np.arange(U // 2) / U)
        sin, cos = np.sin(angle), np.cos(angle)
        return np.concatenate([a * cos - b * sin, b * cos + a * sin])

    whole = 0.0
    for t, n in np.ndindex(9, 2):
        scores, values = [], []
        q = x[0, t] @ w["q"][:, n]
        q = np.concatenate([q[:H], rotate(q[H:], t)])
        for s in range(t + 1):
            c = x[0, s] @ w["down"]
            c = c / np.sqrt((c * c).mean() + 1e-6) * w["latent_norm/scale"]
            rotated = rotate(x[0, s] @ w["rope_k"], s)
            k = np.concatenate([c @ w["up_k"][:, n], rotated])
            scores.append(q @ k / np.sqrt(H + U))
            values.append(c @ w["up_v"][:, n])
        share = np.exp(scores) / np.exp(scores).sum()
        part = (share @ np.array(values)) @ w["o"][n]
        whole = part if n == 0 else whole + part
        if n == 1:
            np.testing.assert_allclose(out[0, t], whole, rtol=1e-4, atol=1e-5)


def test_what_does_not_score_by_products_alone_cannot_be_absorbed():
    with pytest.raises(UserError, match="'linear' cannot do 'exact'"):
        layer_run(latent_for("linear"), "absorbed")


@pytest.mark.parametrize("name", some(MADE))
def test_parameters_are_counted_as_they_are_and_a_gradient_reaches_each(name):
    experiment = latent_for(name)
    params, features, model = parts(experiment)
    assert sum(p.size for p in params.values()) == count_params(experiment)
    with jax.set_mesh(MESH):
        batch = place(random_batch(experiment.task, (8,)), MESH, P("data"))

        def loss(p):
            said = logits(experiment, model.merge(p, features), batch)
            return score(said, batch["targets"])[0].mean()

        grads = jax.jit(jax.grad(loss))(params)
    assert not [name for name, g in grads.items() if not np.asarray(g).any()]


@pytest.mark.parametrize("name", some([n for n in MADE if n in DECODERS]))
def test_no_logit_depends_on_a_later_token(name):
    experiment, T = latent_for(name), RECALL.seq_len
    batch = random_batch(RECALL, (2,))
    batch["positions"] = np.tile(np.arange(T, dtype=np.int32), (2, 1))
    before = logits_of(experiment, batch)
    tokens = batch["tokens"].copy()
    tokens[:, 8:] = (tokens[:, 8:] + 3) % RECALL.vocab_size
    after = logits_of(experiment, batch | {"tokens": tokens})
    np.testing.assert_allclose(after[:, :8], before[:, :8], atol=1e-6)
    assert np.abs(after[:, 8:] - before[:, 8:]).max() > 1e-3


def test_padding_of_an_encoder_changes_nothing():
    experiment = experiment_of(TREES, **LATENT)
    batch = random_batch(TREES, (4,))
    batch["lengths"] = np.full(4, 16, np.int32)
    tokens = batch["tokens"].copy()
    tokens[:, 16:] = (tokens[:, 16:] + 5) % TREES.vocab_size
    np.testing.assert_array_equal(
        logits_of(experiment, batch), logits_of(experiment, batch | {"tokens": tokens})
    )


@pytest.mark.parametrize(
    "change",
    [
        {"kv_rank": 7},
        {"rope_dim": 2},
        {"head_dim": 7},
        {"num_heads": 4},
        {"positions": "none", "rope_dim": None},
        {"dtype": "bfloat16"},
    ],
    ids=str,
)
def test_a_field_changes_the_output(change):
    batch = random_batch(RECALL, (4,))
    base = logits_of(experiment_of(**LATENT), batch)
    other = logits_of(experiment_of(**LATENT | change), batch)
    assert largest_gap(other, base) > 1e-3
    if "dtype" in change:
        assert largest_gap(other, base) < 0.05 * np.abs(base).max()


def test_a_few_steps_learn_and_stay_finite():
    experiment = experiment_of(**LATENT)
    with jax.set_mesh(MESH):
        state = init_state(experiment, (0,))
        batch = random_batch(RECALL, (1, 1, 8))
        batch = {key: np.repeat(rows, 12, axis=0) for key, rows in batch.items()}
        step = make_train_step(experiment, model_def(experiment))
        _, metrics = step(state, calls(batch, MESH))
    losses = np.asarray(metrics["loss"])
    assert np.isfinite(losses).all()
    assert losses[-1, 0] < losses[0, 0]


@pytest.mark.parametrize("how", ["expanded", "absorbed"])
def test_divided_heads_share_the_latent_by_all_reduce_alone(how):
    experiment = experiment_of(**LATENT | {"num_heads": 4})
    alone, _ = layer_run(experiment, how)
    divided, text = layer_run(experiment, how, MeshShape(2, 4))
    assert largest_gap(alone, divided) < 2e-5
    assert "all-reduce" in text
    for word in ("all-gather", "all-to-all", "collective-permute", "reduce-scatter"):
        assert f" {word}" not in text


@pytest.mark.parametrize("num_heads", [1, 2, 8])
def test_decoding_keeps_one_latent_and_one_rotated_key_a_token(num_heads):
    experiment = experiment_of(**LATENT | {"num_heads": num_heads})
    assert decode_state(experiment) == 4 * RECALL.seq_len * (5 + 4)
    params, features, model = parts(experiment)
    with jax.set_mesh(MESH):
        layer = model.merge(params, features).layers[0].layer
        x = place(np.ones((1, 16, 16), np.float32), MESH, P("data"))
        kept = layer.cached(x, TokenInfo())
    assert 4 * sum(x.size for x in kept) == decode_state(experiment)


@pytest.mark.parametrize("positions", ["rotary", "none"])
def test_flops_are_about_what_the_compiler_counts(positions):
    task = replace(TREES, seq_len=64)
    model = {"d_model": 64, "num_heads": 4, "kv_rank": 24, "positions": positions}
    experiment = experiment_of(task, **model)
    params, features, whole = parts(experiment)
    with jax.set_mesh(MESH):
        batch = place(random_batch(task, (1,)), MESH, P("data"))
        run = jax.jit(lambda p, b: logits(experiment, whole.merge(p, features), b))
        counted = run.lower(params, batch).compile().cost_analysis()["flops"]
    assert forward_flops(experiment) == pytest.approx(counted, rel=0.2)


def test_matching_the_cache_sets_the_latent():
    wanted = experiment_of(num_heads=2, head_dim=8, num_kv_heads=1)
    found = match(experiment_of(**LATENT), wanted, "kv_cache")
    assert found.model.kv_rank == 2 * 8 - 4
    assert decode_state(found) == decode_state(wanted)
    with pytest.raises(UserError, match="changes kv_rank, and"):
        match(latent_for("linear"), wanted, "kv_cache")


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"kv_rank": 8, "num_kv_heads": 2}, "leave out num_kv_heads = 2"),
        ({"rope_dim": 4, "positions": "none"}, "rope_dim = 4 rotates nothing"),
        ({"kv_rank": 8, "rope_dim": 4, "positions": "none"}, "rotates nothing"),
        ({"kv_rank": 8, "rope_dim": 3}, "rope_dim = 3 is odd"),
        ({"kv_rank": 8, "rope_dim": 4, "kernel": RGLRU()}, "rotates nothing"),
    ],
)
def test_fields_that_mean_nothing_together_are_refused(fields, words):
    with pytest.raises(UserError, match=words) as error:
        ModelConfig(**fields)
    assert "\n" not in str(error.value)


def test_a_kernel_that_compares_nothing_has_no_use_for_a_latent(monkeypatch):
    monkeypatch.setattr(Softmax, "reads", frozenset("v"))
    with pytest.raises(UserError, match="kernel 'softmax' reads v alone"):
        ModelConfig(kv_rank=8)


def test_the_rotated_part_is_half_a_head_unless_given():
    for width, rotated in ((16, 8), (6, 2), (7, 2), (2, 2)):
        layer, *_ = ModelConfig(head_dim=width, kv_rank=8).attention_layers
        assert layer.rope_width == rotated
        assert layer.key_width == width + rotated
    layer, *_ = ModelConfig(kv_rank=8, kernel=RGLRU()).attention_layers
    assert layer.rope_width == 0
    layer, *_ = ModelConfig().attention_layers
    assert layer.key_width == 16
