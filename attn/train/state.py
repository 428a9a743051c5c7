"""The training state, and how a model becomes one."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import PartitionSpec
from jaxtyping import Array

from attn.config import Experiment
from attn.model import Transformer
from attn.model.weights import VECTOR, Features, Role
from attn.train.optimizer import make_optimizer

Leaf = Any
"""An array, or what takes its role: a tracer, a shape, a sharding."""
Leaves = dict[str, Leaf]
"""Arrays by their path in the model, as in `layers/0/layer/q`."""


@jax.tree_util.register_dataclass
@dataclass(frozen=True)
class State:
    """The state of one replica; or of R, with every array stacked."""

    step: Leaf
    params: Leaves
    features: Leaves
    """Random features of kernels, which are not trained."""
    opt_state: Any
    key: Leaf
    """The random key of training; a step folds its number in."""


@dataclass(frozen=True)
class ModelDef:
    """A model without its arrays."""

    graph: nnx.GraphDef
    paths: dict[str, tuple]
    roles: dict[str, Role]
    """The role of each parameter."""

    def merge(self, params: Leaves, features: Leaves) -> Transformer:
        """Rebuilds the model with these arrays."""
        leaves = params | features
        flat = [(path, leaves[name]) for name, path in self.paths.items()]
        return nnx.merge(self.graph, nnx.from_flat_state(flat))


def _name(path: tuple) -> str:
    return "/".join(map(str, path))


def _named(state: Any) -> Leaves:
    return {_name(path): leaf[...] for path, leaf in nnx.to_flat_state(state)}


def new_model(experiment: Experiment, key: Array | int) -> Transformer:
    """Makes the experiment's model with new weights, sharded on the mesh if any."""
    rngs = nnx.Rngs(params=key)
    return Transformer(experiment.resolved_model, experiment.head, rngs=rngs)


def build(experiment: Experiment, key: Array) -> tuple[Leaves, Leaves]:
    """Makes parameters and features of a new model; traceable, needs a mesh."""
    model = new_model(experiment, key)
    _, params, features = nnx.split(model, nnx.Param, Features)
    return _named(params), _named(features)


def model_def(experiment: Experiment) -> ModelDef:
    """The model's structure, without making an array; needs a mesh."""
    model = nnx.eval_shape(lambda: new_model(experiment, 0))
    graph, state = nnx.split(model)
    paths = {_name(path): path for path, _ in nnx.to_flat_state(state)}
    _, params, _ = nnx.split(model, nnx.Param, Features)
    flat = nnx.to_flat_state(params)
    roles = {_name(path): p.get_metadata().get("role", VECTOR) for path, p in flat}
    return ModelDef(graph, paths, roles)


def init_state(experiment: Experiment, seeds: tuple[int, ...]) -> State:
    """Makes the states of all replicas at step 0, a seed each; needs a mesh."""
    optimizer = make_optimizer(experiment.train, model_def(experiment).roles)

    def one(seed: Array) -> State:
        init, later = jax.random.split(jax.random.key(seed))
        params, features = build(experiment, init)
        step = jnp.zeros((), jnp.int32)
        return State(step, params, features, optimizer.init(params), later)

    seeds_array = jax.device_put(jnp.asarray(seeds, jnp.uint32), PartitionSpec())
    return jax.jit(jax.vmap(one))(seeds_array)
