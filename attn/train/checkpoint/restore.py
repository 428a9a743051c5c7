"""Restores the newest good state of a run, or its model, on the devices here."""

from pathlib import Path

import jax
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from attn.config import Experiment
from attn.errors import UserError
from attn.model import Transformer
from attn.parallel.mesh import make_mesh, shape_of
from attn.records.folder import RunFolder
from attn.records.identity import experiment_of, identity
from attn.records.run import read_result
from attn.records.seeds import MORE_SEEDS
from attn.train.checkpoint.checkpoints import Checkpoints, Restored
from attn.train.state import init_state, model_def


def checkpoints_of(experiment: Experiment, folder: Path) -> Checkpoints:
    """Opens the checkpoints of an experiment in its run folder."""
    return Checkpoints(folder / "checkpoints", experiment=identity(experiment))


def restore_state(
    experiment: Experiment, checkpoints: Checkpoints, mesh: Mesh
) -> Restored | None:
    """Restores the newest good checkpoint of this experiment; None without one.

    Its `state` are the fields of a `State`, replicas in front. Needs its mesh set.

    Raises:
        UserError: there are checkpoints, and none is good or of this experiment.
    """

    def on_mesh(leaf: jax.ShapeDtypeStruct) -> jax.ShapeDtypeStruct:
        spec = P() if leaf.sharding is None else leaf.sharding.spec
        sharding = NamedSharding(mesh, spec)
        return jax.ShapeDtypeStruct(leaf.shape, leaf.dtype, sharding=sharding)

    fresh = jax.eval_shape(lambda: init_state(experiment, experiment.seed_numbers))
    return checkpoints.restore(jax.tree.map(on_mesh, vars(fresh)))


def restore_model(folder: Path, seed: int, mesh: Mesh | None = None) -> Transformer:
    """Restores the model of the run in `folder`, with the newest weights of a seed.

    Args:
        mesh: where the weights are laid out; the first device unless given.

    Raises:
        UserError: there is no such seed, no good checkpoint, or only one from before
            the end of a finished run; or the mesh does not divide the model.
    """
    config = RunFolder(folder).config()
    if config is None:
        raise UserError(f"{folder} is not the folder of a run: it has no config.json")
    experiment = experiment_of(config)
    if seed not in experiment.seed_numbers:
        known = [*experiment.seed_numbers]
        for more in sorted(folder.glob(MORE_SEEDS)):
            config = RunFolder(more).config()
            own = experiment_of(config).seed_numbers if config else ()
            if seed in own:
                return restore_model(more, seed, mesh)
            known += own
        numbers = ", ".join(map(str, known))
        raise UserError(f"seed = {seed}; {folder} trained the seeds {numbers}")
    experiment.resolved_model.check_mesh(shape_of(mesh), *experiment.lengths)
    mesh = make_mesh() if mesh is None else mesh
    with jax.set_mesh(mesh):
        checkpoints = checkpoints_of(experiment, folder)
        restored = restore_state(experiment, checkpoints, mesh)
        if restored is None:
            raise UserError(
                f"{folder} holds no checkpoint; run {experiment.name} again"
            )
        require_end(folder, restored)
        params, features = (
            jax.tree.map(lambda leaf: leaf[seed - experiment.first_seed], state)
            for state in (restored.state["params"], restored.state["features"])
        )
        return model_def(experiment).merge(params, features)


def require_end(folder: Path, restored: Restored) -> None:
    """Raises `UserError` unless a finished run's newest good weights are its last."""
    if not (folder / "result.json").exists():
        return
    result, _ = read_result(folder)
    if result.status == "done" and restored.step != result.steps:
        reasons = "".join(f"; {line}" for line in restored.skipped)
        raise UserError(
            f"{folder} ended at step {result.steps}, and its newest good checkpoint is of "
            f"step {restored.step}{reasons}; run the experiment again"
        )
