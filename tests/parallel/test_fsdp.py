"""Parameters divided over devices, layers computed again: the same numbers in less memory."""

from dataclasses import replace
from functools import cache

import jax
import numpy as np
import pytest
from flax import nnx
from jax.sharding import PartitionSpec as P
from meshes import collectives
from tiny import RECALL, TRAIN, calls, exhaustive, experiment_of, random_batch

from attn.config import ModelConfig
from attn.model.transformer import Transformer
from attn.model.weights import whole
from attn.parallel.fsdp import divided
from attn.parallel.mesh import MeshShape, make_mesh
from attn.parallel.rules import spec
from attn.train.state import build, init_state, model_def
from attn.train.step import make_train_step

SEEDS, STEPS = (5, 6, 7), 4
MIXED = ("short_conv", "attention", "mlp")
WHOLE, KEY = MeshShape(), jax.random.key(0)


@cache
def trained(shape, remat=False):
    """Losses of some steps, bytes of state on a device, and the compiled program."""
    experiment = experiment_of(
        RECALL,
        train=replace(TRAIN, steps=STEPS, warmup_steps=0),
        num_heads=4,
        remat=remat,
    )
    experiment.check_mesh(shape)
    mesh = make_mesh(shape)
    with jax.set_mesh(mesh):
        state = init_state(experiment, SEEDS)
        held = sum(x.addressable_shards[0].data.nbytes for x in jax.tree.leaves(state))
        batch = random_batch(experiment.task, (1, 3, 8))
        batch = {key: np.repeat(rows, STEPS, axis=0) for key, rows in batch.items()}
        batch = calls(batch, mesh)
        step = make_train_step(experiment, model_def(experiment))
        compiled = step.lower(state, batch).compile()
        state, metrics = compiled(state, batch)
    return np.asarray(metrics["loss"]), held, compiled, state


@pytest.mark.parametrize(
    "shape", [exhaustive(MeshShape(fsdp=4)), MeshShape(2, 2, fsdp=2)], ids=str
)
def test_divided_parameters_give_the_losses_of_one_device_and_take_their_share(shape):
    (losses, held, compiled, state), (alone, whole, *_) = trained(shape), trained(WHOLE)
    assert (losses[-1] < losses[0]).all()
    np.testing.assert_allclose(losses, alone, rtol=1e-5, atol=0)
    parts = shape.fsdp * shape.heads
    assert held < whole / parts * 1.25
    assert state.params["layers/0/layer/q"].sharding.spec[1] == "fsdp"
    assert set(collectives(compiled)) <= {"all-reduce", "all-gather", "reduce-scatter"}


def maps_on(shape, experiment):
    with jax.set_mesh(make_mesh(shape)):
        model = model_def(experiment)
        weights = jax.jit(build, static_argnums=0)(experiment, KEY)
        tokens = jax.device_put(
            np.tile(np.arange(8, dtype=np.int32), (4, 1)), spec("B")
        )
        maps = jax.jit(lambda weights, tokens: model.merge(*weights).maps(tokens))
        return jax.device_get(maps(weights, tokens))


def test_maps_of_divided_parameters_are_those_of_one_device():
    experiment = experiment_of(RECALL, num_heads=4, pattern=MIXED)
    alone = maps_on(WHOLE, experiment)
    assert alone
    for name, found in maps_on(MeshShape(2, 2, fsdp=2), experiment).items():
        np.testing.assert_allclose(found, alone[name], atol=1e-6)


def test_layers_that_are_computed_again_give_the_same_losses():
    np.testing.assert_allclose(trained(WHOLE, True)[0], trained(WHOLE)[0], rtol=1e-6)


def kept_bytes(remat, shape):
    """What the forward pass keeps for the backward pass, beside the parameters."""
    experiment = experiment_of(RECALL, num_heads=4, remat=remat)
    with jax.set_mesh(make_mesh(shape)):
        model = model_def(experiment)

        def forward(params, features, tokens):
            return jax.vjp(lambda p: model.merge(p, features)(tokens), params)

        one = jax.eval_shape(lambda: build(experiment, jax.random.key(0)))
        tokens = jax.ShapeDtypeStruct((8, RECALL.seq_len), "int32")
        _, pull = jax.eval_shape(forward, *one, tokens)
    return sum(leaf.size * leaf.dtype.itemsize for leaf in jax.tree.leaves(pull))


def test_layers_that_are_computed_again_keep_their_inputs_alone():
    assert kept_bytes(True, WHOLE) < 0.25 * kept_bytes(False, WHOLE)


def test_the_largest_free_dimension_is_divided():
    with jax.set_mesh(make_mesh(MeshShape(heads=2, fsdp=4))):
        assert divided("V D", (10, 64)) == P("heads", "fsdp")
        assert divided("V D", (11, 64)) == P(None, "fsdp")
        assert divided("D N H", (8, 4, 12)) == P(None, "heads", "fsdp")
        assert divided("D D", (6, 7)) == P(None, None)
        assert divided("F", (8,)) == P("heads")


def test_matrices_are_gathered_in_the_dtype_of_products_and_vectors_as_they_are():
    with jax.set_mesh(make_mesh(MeshShape(fsdp=4))):
        model = Transformer(ModelConfig(vocab_size=16, max_len=8), rngs=nnx.Rngs(0))
        weights = nnx.split(model.layers[0])[1]
        kept = {path: x[...] for path, x in nnx.to_flat_state(weights)}
        for path, x in nnx.to_flat_state(whole(weights, "bfloat16")):
            matrix = kept[path].ndim > 1
            assert x[...].dtype == ("bfloat16" if matrix else "float32")
            assert "fsdp" in kept[path].sharding.spec or not matrix
            assert "fsdp" not in x[...].sharding.spec
