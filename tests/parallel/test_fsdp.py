"""Parameters divided over devices, layers computed again: the same numbers in less memory."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from jax.sharding import PartitionSpec as P
from meshes import collectives
from tiny import RECALL, TRAIN, calls, exhaustive, experiment_of, random_batch

from attn.config import ModelConfig
from attn.model.products import product
from attn.model.transformer import Transformer
from attn.model.weights import gathered
from attn.parallel.fsdp import divided, gather, lay_weight
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
        weights = build(experiment, KEY)
        tokens = jax.device_put(
            np.tile(np.arange(8, dtype=np.int32), (4, 1)), spec("B")
        )
        maps = jax.jit(lambda weights, tokens: model.merge(*weights).maps(tokens))
        return jax.device_get(maps(weights, tokens))


@pytest.mark.exhaustive
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


def test_a_product_gathers_its_weight_and_scatters_the_gradient():
    with jax.set_mesh(make_mesh(MeshShape(fsdp=4))):
        x = jax.device_put(np.ones((8, 2, 4), np.float32), spec("B T D"))
        w = lay_weight(jnp.arange(32.0).reshape(4, 2, 4), "D N H")
        loss = lambda x, w: jnp.square(product(x, w, "B T N H")).sum()  # noqa: E731
        grads = jax.jit(jax.grad(loss, (0, 1)))(x, w)
        whole = jax.jit(jax.grad(loss, (0, 1)))(x, gather(w))
    for own, expected, given in zip(grads, whole, (x, w), strict=True):
        np.testing.assert_allclose(own, expected, rtol=1e-6)
        assert own.sharding.is_equivalent_to(given.sharding, given.ndim)


def test_vectors_of_a_layer_are_gathered_before_it_and_matrices_are_not():
    with jax.set_mesh(make_mesh(MeshShape(fsdp=4))):
        config = ModelConfig(vocab_size=16, max_len=8, pattern=("short_conv", "mlp"))
        layer = Transformer(config, rngs=nnx.Rngs(0)).layers[0]
        taps, out = layer.layer.taps, gathered(layer).layer
        assert "fsdp" in taps[...].sharding.spec
        assert "fsdp" not in out.taps[...].sharding.spec
        assert "fsdp" in out.out[...].sharding.spec
