"""The memory of a step as the compiler plans it: no array is made and nothing runs."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from jax.sharding import NamedSharding

from attn.config import Experiment
from attn.config.compiled import CompiledStep
from attn.errors import UserError
from attn.parallel.mesh import make_mesh
from attn.parallel.rules import spec
from attn.records.compiled import Planned
from attn.train.state import State, init_state, model_def
from attn.train.step import make_eval_step, make_train_step


@dataclass(frozen=True)
class Shapes:
    """The arguments of a step as shapes with shardings, and the step lowered for them."""

    state: State
    batch: dict[str, jax.ShapeDtypeStruct]
    lowered: jax.stages.Lowered


def lower(
    experiment: Experiment, seeds: tuple[int, ...], backward: bool = True
) -> Shapes:
    """Lowers one step of these seeds for the current mesh, which need not be here.

    Args:
        backward: whether it trains; else it evaluates.
    """
    model = model_def(experiment)
    state = jax.eval_shape(lambda: init_state(experiment, seeds))
    if backward:
        run = make_train_step(experiment, model)
    else:
        run = make_eval_step(experiment.task.objective, model)
    batch = _batch(experiment, (1, len(seeds)) if backward else ())
    return Shapes(state, batch, run.lower(state, batch))


def planned(step: CompiledStep) -> Planned:
    """Compiles a step on the first device, and adds up all that it holds at once.

    Raises:
        UserError: the device's compiler does not say.
    """
    with jax.set_mesh(make_mesh()):
        compiled = lower(step.experiment, (0,), step.backward).lowered.compile()
    memory = memory_of(compiled)
    return Planned(
        held(memory), f"jaxlib {jax.lib.__version__} for {jax.default_backend()}"
    )


def memory_of(compiled: jax.stages.Compiled) -> Any:
    """The compiler's account of a program's memory, a device.

    Raises:
        UserError: it gives none.
    """
    memory = compiled.memory_analysis()
    if memory is None:
        raise UserError(
            f"the compiler for {jax.default_backend()} does not say what memory a step "
            "needs; set JAX_PLATFORMS=cpu"
        )
    return memory


def held(memory: Any) -> int:
    """The bytes that a program holds: its arguments, its outputs and its scratch memory.

    An output that takes the place of an argument counts once.
    """
    held = memory.argument_size_in_bytes + memory.output_size_in_bytes
    return held + memory.temp_size_in_bytes - memory.alias_size_in_bytes


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
