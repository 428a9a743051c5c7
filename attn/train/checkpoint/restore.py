"""The newest good state of a run, on the devices there are."""

import jax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from attn.config import Experiment
from attn.train.checkpoint.checkpoints import Checkpoints, Restored
from attn.train.state import init_state


def restore_state(
    experiment: Experiment, checkpoints: Checkpoints, mesh: Mesh
) -> Restored | None:
    """What `Checkpoints.restore` gives for this experiment; None where there is none.

    Its `state` are the fields of a `State`, replicas in front. Needs its mesh set.

    Raises:
        UserError: there are checkpoints, and none is good or of this experiment.
    """

    def on_mesh(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        spec = P() if leaf.sharding is None else leaf.sharding.spec
        sharding = NamedSharding(mesh, spec)
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    seeds = tuple(range(experiment.seeds))
    fresh = jax.eval_shape(lambda: init_state(experiment, seeds))
    return checkpoints.restore(jax.tree.map(on_mesh, vars(fresh)))
