"""The training step: replicas are apart, bad steps change nothing, no knob is silent."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from tiny import (
    RECALL,
    TRAIN,
    calls,
    copy,
    experiment_for,
    experiment_of,
    largest_gap,
    logits,
    place,
    random_batch,
)

from attn.data.pipeline import BatchSource
from attn.objectives import SequenceToSequence
from attn.objectives.base import score
from attn.parallel.mesh import make_mesh
from attn.tasks import MQAR, Dates, PyDoc
from attn.train.accumulate import in_parts
from attn.train.evaluate import rows_at_once
from attn.train.state import init_state, model_def
from attn.train.step import make_eval_step, make_train_step

MESH = make_mesh()
EXPERIMENT = experiment_for("performer", dropout=0.1)
ROWS = RECALL.rows("train")


@pytest.fixture(autouse=True)
def _on_one_device():
    with jax.set_mesh(MESH):
        yield


def batches(seeds, steps=4):
    source = BatchSource(ROWS, batch_size=8, seeds=seeds, calls=(steps,))
    return calls(source[0], MESH)


def train(experiment, seeds, steps=4, step=None):
    step = step or make_train_step(experiment, model_def(experiment))
    return step(init_state(experiment, seeds), batches(seeds, steps))


@pytest.fixture(scope="module")
def three():
    with jax.set_mesh(MESH):
        start = init_state(EXPERIMENT, (0, 1, 2))
        step = make_train_step(EXPERIMENT, model_def(EXPERIMENT))
        end, metrics = step(copy(start), batches((0, 1, 2)))
    return start, step, end, metrics


def test_a_replica_is_the_run_of_its_seed_alone(three):
    start, _, end, metrics = three
    step = make_train_step(EXPERIMENT, model_def(EXPERIMENT))
    fresh = init_state(EXPERIMENT, (2,))
    for part in ("params", "features"):
        mine = jax.tree.map(lambda x: x[2:3], getattr(start, part))
        assert largest_gap(getattr(fresh, part), mine) < 1e-6
    alone, losses = train(EXPERIMENT, (2,), step=step)
    mine = jax.tree.map(lambda x: x[2:3], end.params)
    assert largest_gap(alone.params, mine) < 1e-5
    np.testing.assert_allclose(losses["loss"][:, 0], metrics["loss"][:, 2], rtol=1e-5)


def test_replicas_begin_and_train_apart(three):
    start, _, end, metrics = three
    for leaves in (start.params, end.params, start.features):
        for name, leaf in leaves.items():
            if not (name.endswith("scale") and leaves is start.params):
                assert largest_gap(leaf[0], leaf[1]) > 1e-4, name
    keys = jax.random.key_data(start.key)
    assert len(np.unique(np.asarray(keys), axis=0)) == 3
    assert len(np.unique(np.asarray(metrics["loss"][0]))) == 3


def test_a_step_moves_every_parameter_and_no_feature(three):
    start, _, end, _ = three
    for name, leaf in start.params.items():
        moved = np.abs(np.asarray(leaf - end.params[name])).reshape(3, -1)
        assert (moved.max(axis=1) > 0).all(), name
    assert largest_gap(start.features, end.features) == 0
    assert end.step.tolist() == [4, 4, 4]


def test_a_step_that_is_not_finite_changes_nothing_of_its_replica(three):
    start, step, end, _ = three
    poisoned = copy(start)
    broken = poisoned.params["embedding"].at[1].set(jnp.inf)
    poisoned = replace(poisoned, params=poisoned.params | {"embedding": broken})
    after, metrics = step(copy(poisoned), batches((0, 1, 2)))
    assert metrics["finite"].tolist() == [[1, 0, 1]] * 4
    for part in ("params", "opt_state"):
        one = [
            jax.tree.map(lambda x: np.asarray(x)[1], getattr(s, part))
            for s in (after, poisoned)
        ]
        jax.tree.map(np.testing.assert_array_equal, *one)
        for r in (0, 2):
            jax.tree.map(
                lambda a, b, r=r: np.testing.assert_array_equal(
                    np.asarray(a)[r], np.asarray(b)[r]
                ),
                getattr(after, part),
                getattr(end, part),
            )
    assert after.step.tolist() == [4, 4, 4]


def test_a_batch_in_parts_has_the_gradient_of_the_whole():
    experiment = experiment_of(train=replace(TRAIN, clip_norm=100.0))
    parts = replace(experiment, train=replace(experiment.train, accumulate=4))
    _, whole = train(experiment, (0, 1))
    _, added = train(parts, (0, 1))
    for name in ("loss", "grad_norm"):
        np.testing.assert_allclose(added[name], whole[name], rtol=2e-5)


def test_parts_of_padded_targets_count_by_their_tokens():
    objective = SequenceToSequence()
    lengths = np.array([1, 1, 5, 6, 2, 6, 1, 3])
    rng = np.random.default_rng(0)
    losses = rng.random((8, 6)).astype(np.float32)
    batch = {"targets": np.zeros((8, 6), np.int32), "lengths": lengths, "at": losses}

    def graded(params, features, rows, key):
        real = jnp.arange(6)[None] < rows["lengths"][:, None]
        mean = jnp.where(real, rows["at"], 0).sum() / real.sum()
        return params * mean, mean

    whole = losses[np.arange(6) < lengths[:, None]].mean()
    batch = {name: jnp.asarray(x) for name, x in batch.items()}
    own = in_parts(graded, 4, objective.weight)
    found = jax.jit(own)(jnp.float32(1), (), batch, jax.random.key(0))
    np.testing.assert_allclose(found, [whole, whole], rtol=1e-6)
    assert RECALL.objective.weight(batch) == 1


def test_one_call_of_four_steps_is_four_calls_of_one(three):
    start, step, end, _ = three
    state = copy(start)
    source = BatchSource(ROWS, batch_size=8, seeds=(0, 1, 2), calls=(1,) * 4)
    for i in range(4):
        state, _ = step(state, calls(source[i], MESH))
    assert largest_gap(state.params, end.params) < 1e-6


def test_scores_count_real_rows_alone(three):
    start, *_ = three
    model = model_def(EXPERIMENT)
    batch = random_batch(RECALL, (8,)) | {"weights": np.float32([1] * 5 + [0] * 3)}
    sums = make_eval_step(RECALL.objective, model)(start, place(batch, MESH, P("data")))
    real = {k: v[:5] for k, v in batch.items() if k != "weights"}
    real = place(real, MESH, P("data"))
    assert sums["count"].tolist() == [10, 10, 10]

    @jax.jit
    def scores(params, features):
        said = logits(EXPERIMENT, model.merge(params, features), real)
        return score(said, real["targets"])

    for r in range(3):
        loss, right = scores(
            *jax.tree.map(lambda x, r=r: x[r], (start.params, start.features))
        )
        np.testing.assert_allclose(sums["loss"][r], np.sum(loss), rtol=1e-5)
        assert sums["accuracy"][r] == np.sum(right)


def test_a_score_is_the_cross_entropy_in_nats():
    logits = jnp.log(jnp.array([[[0.5, 0.25, 0.25], [0.1, 0.2, 0.7]]]))
    loss, right = score(logits, jnp.array([[1, 2]]))
    np.testing.assert_allclose(loss, [[np.log(4), -np.log(0.7)]], rtol=1e-6)
    assert right.tolist() == [[0, 1]]


def test_a_batch_of_evaluation_holds_fewer_long_rows_than_short_ones():
    sizes = (PyDoc(seq_len=64), PyDoc(seq_len=4_096), MQAR(seq_len=2**20))
    assert [*map(rows_at_once, sizes)] == [256, 16, 1]
    assert rows_at_once(Dates(seq_len=16, source_len=1_008)) == 64
