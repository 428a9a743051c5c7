"""Two documents are read alone and compared by the head, on any mesh and in any run."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from tiny import (
    TRAIN,
    TREES,
    experiment_of,
    full_compiles,
    largest_gap,
    logits,
    place,
    random_batch,
)
from twins import TWINS

from attn.config import ModelConfig
from attn.config.cost import count_params, forward_flops
from attn.errors import UserError
from attn.kernels import TokenInfo
from attn.model.batch import mean_state
from attn.objectives.match import unfold
from attn.parallel.mesh import MeshShape, make_mesh
from attn.records.run import read_metrics
from attn.train.run import run
from attn.train.signals import StopSignal
from attn.train.state import build, model_def

MESH, S = make_mesh(), TWINS.document_len
EXPERIMENT = experiment_of(TWINS, positions="learned", num_heads=4)
BATCH = random_batch(TWINS, (4,))


@pytest.fixture(scope="module")
def said():
    """The parameters, and functions of a batch: logits, and one document's state."""
    with jax.set_mesh(MESH):
        params, features = build(EXPERIMENT, jax.random.key(0))
        model = model_def(EXPERIMENT)

        def alone(tokens, lengths, params):
            real = jnp.arange(tokens.shape[1])[None] < lengths[:, None]
            hidden = model.merge(params, features).hidden(tokens, TokenInfo(mask=real))
            return mean_state(hidden, real)[:, 0]

        whole = jax.jit(lambda b, p: logits(EXPERIMENT, model.merge(p, features), b))

        def run(batch, params=params):
            return np.asarray(whole(place(batch, MESH, P("data")), params))

        yield params, run, jax.jit(alone)


def of(which):
    """One of both documents of every row: tokens and lengths."""
    tokens = BATCH["tokens"].reshape(4, 2, S)[:, which]
    return place((tokens, BATCH["lengths"][:, which]), MESH, P("data"))


def swapped(batch):
    tokens = np.roll(batch["tokens"], S, axis=1)
    return batch | {"tokens": tokens, "lengths": batch["lengths"][:, ::-1]}


def test_logits_are_the_heads_formula_of_documents_read_alone(said):
    params, run, alone = said
    u, v = (np.asarray(alone(*of(which), params)) for which in (0, 1))
    both = np.concatenate([u, v, u * v, u - v], axis=1)
    hidden = np.maximum(both @ np.asarray(params["compare"]), 0)
    wanted = hidden @ np.asarray(params["out"]).T
    assert hidden.shape == (4, 32)
    np.testing.assert_allclose(run(BATCH)[:, 0], wanted, atol=1e-5)


def test_swapped_documents_are_told_apart_by_the_order_of_the_weights_alone(said):
    params, run, _ = said
    D = EXPERIMENT.model.d_model
    u, v, product, difference = np.split(np.asarray(params["compare"]), 4)
    assert u.shape == (D, 2 * D)
    mirrored = params | {"compare": jnp.concatenate([v, u, product, -difference])}
    np.testing.assert_allclose(run(swapped(BATCH), mirrored), run(BATCH), atol=1e-5)
    assert np.abs(run(swapped(BATCH)) - run(BATCH)).max() > 1e-2


@pytest.mark.parametrize("which", [0, 1])
def test_padding_of_either_document_changes_nothing_and_its_last_token_does(
    said, which
):
    _, run, _ = said
    batch = BATCH | {"lengths": np.full((4, 2), S - 3, np.int32)}
    before = run(batch)
    for place_, changes in ((S - 3, False), (S - 1, False), (S - 4, True)):
        tokens = batch["tokens"].copy()
        tokens[:, which * S + place_] = (tokens[:, which * S + place_] + 1) % 6
        gap = np.abs(run(batch | {"tokens": tokens}) - before).max(axis=(1, 2))
        assert (gap > 1e-6).all() if changes else (gap == 0).all()


def test_no_document_has_a_gradient_in_the_vector_of_another(said):
    params, _, _ = said
    model = model_def(EXPERIMENT)
    halves = [np.arange(12) % 3, 3 + np.arange(12) % 3]  # with no token in common
    tokens = jnp.asarray(np.concatenate(halves)[None])

    def vector(embedding, which):
        whole = model.merge(params | {"embedding": embedding}, {})
        own = np.arange(2) == which
        return (whole.hidden(unfold(tokens, S)) * own[:, None, None]).sum()

    for which in (0, 1):
        slope = jax.jit(jax.grad(vector), static_argnums=1)(params["embedding"], which)
        moved = np.abs(np.asarray(slope)).max(axis=1) > 0
        assert moved.tolist() == [which == 0] * 3 + [which == 1] * 3


def test_a_mesh_gives_the_gradients_of_one_device_and_moves_no_row(said):
    model = model_def(EXPERIMENT)
    loss = lambda p, b: TWINS.objective.loss(model.merge(p, {}), b)  # noqa: E731
    slope, found = jax.jit(jax.grad(loss)), []
    for shape in (MeshShape(), MeshShape(data=4, heads=2)):
        EXPERIMENT.check_mesh(shape)
        mesh = make_mesh(shape)
        with jax.set_mesh(mesh):
            params, _ = build(EXPERIMENT, jax.random.key(0))
            compiled = slope.lower(
                params, batch := place(BATCH, mesh, P("data"))
            ).compile()
            found.append(jax.device_get(compiled(params, batch)))
    assert "all-to-all" not in (text := compiled.as_text())
    assert "collective-permute" not in text
    assert largest_gap(*found) < 1e-6
    for block in np.split(found[0]["compare"], 4):
        assert np.abs(block).max() > 1e-5
    assert np.abs(found[0]["position_embedding"]).max(axis=1).all()


def test_a_row_costs_two_documents_and_the_head():
    task = replace(TWINS, seq_len=128)
    pair = experiment_of(task, d_model=64, d_ff=64, positions="learned")
    single = replace(pair, task=replace(TREES, seq_len=64), model=replace(pair.model, vocab_size=16))  # fmt: skip
    head, other = (e.head.flops(1, 64, 0) for e in (pair, single))
    assert head == 2 * (256 * 128 + 128 * 2)
    assert forward_flops(pair) - head == 2 * (forward_flops(single) - other)
    with jax.set_mesh(MESH), full_compiles():
        params, features = jax.eval_shape(lambda: build(pair, jax.random.key(0)))
        assert params["position_embedding"].shape == (64, 64)
        assert sum(leaf.size for leaf in params.values()) == count_params(pair)
        batch = place(random_batch(task, (1,)), MESH, P("data"))
        model = model_def(pair)
        call = jax.jit(lambda p, b: logits(pair, model.merge(p, features), b))
        counted = call.lower(params, batch).compile().cost_analysis()["flops"]
    assert forward_flops(pair) == pytest.approx(counted, rel=0.2)


class Quiet:
    """Watches a run and says nothing."""

    def begin(self, name, steps): ...
    def note(self, text): ...
    def advance(self, step, steps, values): ...
    def within(self, step, steps): ...
    def end(self, result, seconds): ...


@pytest.mark.exhaustive
def test_a_run_learns_to_match_and_keeps_the_map_of_one_document(tmp_path, monkeypatch):
    monkeypatch.setenv("ATTN_DATA_DIR", str(tmp_path / "data"))
    train = replace(TRAIN, steps=20, eval_every=10, warmup_steps=0, peak_lr=3e-2)
    with StopSignal() as stop:
        result = run(
            replace(EXPERIMENT, train=train, seeds=2),
            tmp_path / "run",
            watcher=Quiet(),
            stop=stop,
            mesh_shape=MeshShape(data=2),
        )
    assert result.status == "done"
    losses = [np.mean(line.train_loss) for line in read_metrics(tmp_path / "run")]
    assert losses[-1] < 0.8 * losses[0]
    with np.load(tmp_path / "run" / "maps.npz") as maps:
        assert maps["layer_0"].shape == (4, S, S)


def test_documents_of_unequal_length_are_refused():
    with pytest.raises(UserError, match=r"Twins\.seq_len = 25.*multiple of 2"):
        replace(TWINS, seq_len=25)


def test_learned_positions_may_be_given_for_one_document_alone():
    assert EXPERIMENT.resolved_model.max_len == S
    with pytest.raises(UserError, match="max_len = 11 is below the 12"):
        replace(EXPERIMENT, model=ModelConfig(max_len=S - 1))
