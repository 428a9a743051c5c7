"""The memory of a step as the compiler plans it: no array is made and nothing runs."""

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from attn.config import Experiment
from attn.config.compiled import CompiledStep
from attn.errors import UserError
from attn.parallel.mesh import make_mesh
from attn.parallel.rules import spec
from attn.records.compiled import Planned
from attn.train.state import init_state, model_def
from attn.train.step import make_eval_step, make_train_step


def planned(step: CompiledStep) -> Planned:
    """Compiles a step on the first device, and adds up all that it holds at once.

    That is its arguments, its outputs and its scratch memory; an output that takes the
    place of an argument counts once.

    Raises:
        UserError: the device's compiler does not say.
    """
    experiment = step.experiment
    with jax.set_mesh(make_mesh()):
        model = model_def(experiment)
        state = jax.eval_shape(lambda: init_state(experiment, (0,)))
        if step.backward:
            run = make_train_step(experiment, model)
        else:
            run = make_eval_step(experiment.task.objective, model)
        lead = (1, 1) if step.backward else ()
        compiled = run.lower(state, _batch(experiment, lead)).compile()
    memory, platform = compiled.memory_analysis(), jax.default_backend()
    if memory is None:
        raise UserError(
            f"the compiler for {platform} does not say what memory a step needs; set "
            "JAX_PLATFORMS=cpu"
        )
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes
    held += memory.temp_size_in_bytes - memory.alias_size_in_bytes
    return Planned(held, f"jaxlib {jax.lib.__version__} for {platform}")


def _batch(
    experiment: Experiment, lead: tuple[int, ...]
) -> dict[str, jax.ShapeDtypeStruct]:
    """The shapes of a batch, below some leading dimensions."""
    task, B = experiment.task, experiment.train.batch_size
    shapes: dict[str, tuple[int, ...]] = {
        "tokens": (task.seq_len,),
        "targets": (task.num_scored,),
    }
    if task.padded:
        documents = task.objective.num_documents
        shapes["lengths"] = () if documents == 1 else (documents,)
    if task.objective.reads_source:
        shapes |= {"source": (task.source_len,), "source_lengths": ()}
    if getattr(task.objective, "scored", "all") == "positions":
        shapes["positions"] = (task.num_scored,)
    sharding = NamedSharding(jax.sharding.get_mesh(), spec("C R B" if lead else "B"))
    return {
        name: jax.ShapeDtypeStruct((*lead, B, *shape), jnp.int32, sharding=sharding)
        for name, shape in shapes.items()
    }
