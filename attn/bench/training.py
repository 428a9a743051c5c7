"""Steps of training by our own program, and by a plain loop of PyTorch."""

import time
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Float, Int

from attn.bench.models import TrainingSteps
from attn.bench.ours import OURS
from attn.bench.rival import Built, Runner
from attn.parallel.mesh import MeshShape, make_mesh
from attn.train.state import State, init_state, model_def
from attn.train.step import make_train_step

SEED = 0
TORCH = "torch"


def runners(case: TrainingSteps) -> tuple[Runner, ...]:
    """The runners of training, our own first."""
    return (
        Runner(OURS, partial(_ours, case)),
        Runner(TORCH, partial(_theirs, case), ("torch",)),
    )


def batches(case: TrainingSteps) -> dict[str, Int[np.ndarray, "C B T"]]:
    """The batches of one call: the first rows of the task's train split."""
    task, B = case.experiment.task, case.experiment.train.batch_size
    rows = task.rows("train")
    shape = (case.steps, B, task.seq_len)
    return {
        name: np.ascontiguousarray(rows[name][: case.steps * B], np.int32).reshape(
            shape
        )
        for name in ("tokens", "targets")
    }


def first_state(case: TrainingSteps) -> State:
    """The state of one replica before the first step."""
    with jax.set_mesh(make_mesh(MeshShape())):
        return init_state(case.experiment, (SEED,))


def _ours(case: TrainingSteps) -> Built:
    state = first_state(case)
    given = {name: jnp.asarray(x[:, None]) for name, x in batches(case).items()}
    start = time.perf_counter()
    with jax.set_mesh(make_mesh(MeshShape())):
        step = make_train_step(case.experiment, model_def(case.experiment))
        compiled = step.lower(state, given).compile()
    memory = compiled.memory_analysis()

    def call() -> list[Float[np.ndarray, " C"]]:
        nonlocal state
        state, metrics = compiled(state, given)
        return [np.asarray(jax.block_until_ready(metrics["loss"]))[:, 0]]

    temp = memory.temp_size_in_bytes if memory else None
    first = call()
    return Built(call, first, time.perf_counter() - start, temp)


def _theirs(case: TrainingSteps) -> Built:
    from attn.bench.torch_gpt import GPT

    params = first_state(case).params
    arrays = {name: np.asarray(x[0]) for name, x in params.items()}
    gpt = GPT(case.experiment, arrays)
    given = gpt.batches(batches(case))

    def call() -> list[Float[np.ndarray, " C"]]:
        return [np.asarray([gpt.step(*batch) for batch in given])]

    start = time.perf_counter()
    first = call()
    return Built(call, first, time.perf_counter() - start)
