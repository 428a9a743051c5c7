"""The training step: one pure function, mapped over replicas and scanned over steps."""

from collections.abc import Callable, Sequence

import jax
import jax.numpy as jnp
import optax
from jax import lax
from jaxtyping import Array

from attn.config import Experiment
from attn.objectives import Objective
from attn.train.accumulate import in_parts
from attn.train.optimizer import make_optimizer
from attn.train.state import ModelDef, State

Batch = dict[str, Array]
Metrics = dict[str, Array]
METRICS = {"loss": "float32", "grad_norm": "float32", "finite": "bool"}
"""The metrics of a step, with their dtypes."""


def make_train_step(
    experiment: Experiment, model_def: ModelDef, rates: Sequence[float] = ()
) -> jax.stages.Wrapped:
    """Makes the jitted C steps of R replicas, on a state and batches [C, R, B, ...].

    The state is donated. Metrics are [C, R]: `loss` in nats, `grad_norm` before the
    clip, and `finite`, which is 0 where the loss or the gradient was not. Such a step
    changes no parameter and no moment.

    With `rates`, the peak learning rate of each replica is its own, in place of the
    experiment's: every update rule here ends in a product with the rate.
    """
    step = _make_step(experiment, model_def, rates)

    def steps(state: State, batches: Batch) -> tuple[State, Metrics]:
        return lax.scan(step, state, batches)

    return jax.jit(steps, donate_argnums=0)


def make_slice(experiment: Experiment, model_def: ModelDef) -> jax.stages.Wrapped:
    """Makes the jitted steps `start` to `stop` of a call, for any of them.

    As `make_train_step`, with metrics [C, R] that have those of the steps before and get
    those of these. One program does every slice of a call, so where a call is cut moves
    no bit.
    """
    step = _make_step(experiment, model_def, ())

    def run(
        state: State, batches: Batch, metrics: Metrics, start: Array, stop: Array
    ) -> tuple[State, Metrics]:
        def body(i: Array, carry: tuple[State, Metrics]) -> tuple[State, Metrics]:
            state, metrics = carry
            at = lambda x: lax.dynamic_index_in_dim(x, i, keepdims=False)  # noqa: E731
            state, new = step(state, jax.tree.map(at, batches))
            put = lambda all_, x: lax.dynamic_update_index_in_dim(all_, x, i, 0)  # noqa: E731
            return state, jax.tree.map(put, metrics, new)

        return lax.fori_loop(start, stop, body, (state, metrics))

    return jax.jit(run, donate_argnums=(0, 2))


def _make_step(
    experiment: Experiment, model_def: ModelDef, rates: Sequence[float]
) -> Callable[[State, Batch], tuple[State, Metrics]]:
    """Makes one step of all replicas."""
    optimizer = make_optimizer(experiment.train, model_def.roles)
    objective = experiment.task.objective

    def loss_of(params, features, batch, key):
        return objective.loss(model_def.merge(params, features), batch, key)

    graded = in_parts(
        jax.value_and_grad(loss_of),
        experiment.train.accumulate,
        experiment.task.objective.weight,
    )

    def one(state: State, batch: Batch, scale: Array | None) -> tuple[State, Metrics]:
        key = jax.random.fold_in(state.key, state.step)
        loss, grads = graded(state.params, state.features, batch, key)
        norm = optax.tree.norm(grads)
        finite = jnp.isfinite(loss) & jnp.isfinite(norm)
        updates, opt_state = optimizer.update(grads, state.opt_state, state.params)
        if scale is not None:
            updates = jax.tree.map(lambda update: scale * update, updates)
        params = optax.apply_updates(state.params, updates)

        def guard(new, old):
            return jax.tree.map(lambda a, b: jnp.where(finite, a, b), new, old)

        new = State(
            state.step + 1,
            guard(params, state.params),
            state.features,
            guard(opt_state, state.opt_state),
            state.key,
        )
        metrics = {"loss": loss, "grad_norm": norm, "finite": finite}
        return new, metrics

    scales = jnp.asarray(rates) / experiment.train.peak_lr if rates else None
    over_replicas = jax.vmap(one, in_axes=(0, 0, None if scales is None else 0))
    return lambda state, batch: over_replicas(state, batch, scales)


def make_eval_step(objective: Objective, model_def: ModelDef) -> jax.stages.Wrapped:
    """Makes the jitted evaluation of one batch [B, ...], the same for all replicas.

    `weights` in the batch is 1 for a real row and 0 for filling, [B]. Gives sums over
    real rows, each [R]: `loss` in nats, `accuracy`, and their `count`.
    """

    def one(params, features, batch):
        return objective.sums(model_def.merge(params, features), batch)

    def evaluate(state: State, batch: Batch) -> Metrics:
        over_replicas = jax.vmap(one, in_axes=(0, 0, None))
        return over_replicas(state.params, state.features, batch)

    return jax.jit(evaluate)
