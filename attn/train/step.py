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


def make_train_step(
    experiment: Experiment, model_def: ModelDef, rates: Sequence[float] = ()
) -> jax.stages.Wrapped:
    """Makes the jitted C steps of R replicas, on a state and batches [C, R, B, ...].

    With `rates`, the peak learning rate of each replica is its own, in place of the
    experiment's: every update rule here ends in a product with the rate.

    The state is donated. Metrics are [C, R]: `loss` in nats, `grad_norm` before the
    clip, and `finite`, which is 0 where the loss or the gradient was not. Such a step
    changes no parameter and no moment.
    """
    optimizer = make_optimizer(experiment.train, model_def.roles)
    objective = experiment.task.objective

    def loss_of(params, features, batch, key):
        return objective.loss(model_def.merge(params, features), batch, key)

    graded = in_parts(jax.value_and_grad(loss_of), experiment.train.accumulate)

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

    def steps(state: State, batches: Batch) -> tuple[State, Metrics]:
        over_replicas = jax.vmap(one, in_axes=(0, 0, None if scales is None else 0))
        return lax.scan(lambda s, b: over_replicas(s, b, scales), state, batches)

    return jax.jit(steps, donate_argnums=0)


def make_eval_step(
    objective: Objective, model_def: ModelDef
) -> Callable[[State, Batch], Metrics]:
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
