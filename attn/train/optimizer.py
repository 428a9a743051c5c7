"""Optimizers and schedules as `optax` computes them."""

from collections.abc import Mapping
from functools import singledispatch
from typing import Any

import jax
import jax.numpy as jnp
import optax
from jax.sharding import PartitionSpec as P
from jax.sharding import reshard
from jaxtyping import Array
from optax.contrib import MuonDimensionNumbers, muon

from attn.config import TrainConfig, schedules
from attn.config import optimizers as rules
from attn.model.weights import Role
from attn.parallel.shard import explicit_spec

Roles = Mapping[str, Role]
"""The role of each parameter, by its path."""


def make_optimizer(config: TrainConfig, roles: Roles) -> optax.GradientTransformation:
    """Makes the update of `config`: clip, rule, weight decay, learning rate."""
    decay = optax.add_decayed_weights(
        config.weight_decay, {name: role.decays for name, role in roles.items()}
    )
    rule = update_rule(config.optimizer, roles)
    last = optax.scale_by_learning_rate(learning_rate(config))
    if isinstance(config.optimizer, rules.LAMB):
        last = optax.chain(optax.scale_by_trust_ratio(), last)
    clip = optax.clip_by_global_norm(config.clip_norm)
    if config.optimizer.decoupled:
        return optax.chain(clip, rule, decay, last)
    return optax.chain(clip, decay, rule, last)


@singledispatch
def update_rule(
    optimizer: rules.Optimizer, roles: Roles
) -> optax.GradientTransformation:
    """Makes the rule that turns gradients into directions, before decay and rate."""
    raise NotImplementedError(optimizer)


@update_rule.register
def _(optimizer: rules.AdamW, roles: Roles) -> optax.GradientTransformation:
    return optax.scale_by_adam(b1=optimizer.b1, b2=optimizer.b2, eps=optimizer.eps)


@update_rule.register
def _(optimizer: rules.Lion, roles: Roles) -> optax.GradientTransformation:
    return optax.scale_by_lion(b1=optimizer.b1, b2=optimizer.b2)


@update_rule.register
def _(optimizer: rules.SGD, roles: Roles) -> optax.GradientTransformation:
    if not optimizer.momentum:
        return optax.identity()
    return optax.trace(decay=optimizer.momentum, nesterov=optimizer.nesterov)


@update_rule.register
def _(optimizer: rules.Adafactor, roles: Roles) -> optax.GradientTransformation:
    return optax.chain(
        optax.scale_by_factored_rms(
            decay_rate=optimizer.decay, min_dim_size_to_factor=optimizer.least_factored
        ),
        optax.clip_by_block_rms(optimizer.threshold),
        optax.scale_by_param_block_rms(),
    )


@update_rule.register
def _(optimizer: rules.Muon, roles: Roles) -> optax.GradientTransformation:
    def dimensions(params: Any) -> Any:
        return {name: _axes(roles[name], leaf) for name, leaf in params.items()}

    rule = muon(
        -1.0,  # the sign and the rate come last, after weight decay
        ns_steps=optimizer.iterations,
        beta=optimizer.beta,
        eps=optimizer.eps,
        adam_b1=optimizer.b1,
        adam_b2=optimizer.b2,
        muon_weight_dimension_numbers=dimensions,
        consistent_rms=0.2,
    )
    return _on_whole_weights(rule)


def _axes(role: Role, leaf: Any) -> MuonDimensionNumbers | None:
    """The contracted axes of a matrix and its others; None for what is no matrix."""
    if role.inputs is None:
        return None
    others = range(role.inputs, leaf.ndim)
    return MuonDimensionNumbers(tuple(range(role.inputs)), tuple(others))


def _on_whole_weights(
    rule: optax.GradientTransformation,
) -> optax.GradientTransformation:
    """Gathers the weights that a mesh divides, for a rule that reshapes them."""

    def whole(tree: Any) -> Any:
        return jax.tree.map(lambda x: _laid(x, P(*[None] * x.ndim)), tree)

    def update(updates: Any, state: Any, params: Any = None) -> tuple[Any, Any]:
        found: Any
        found, state = rule.update(whole(updates), state, params)
        return {n: _laid(x, explicit_spec(updates[n])) for n, x in found.items()}, state

    return optax.GradientTransformation(lambda params: rule.init(whole(params)), update)


def _laid(x: Array, spec: P | None) -> Array:
    """Shards an array anew; leaves it alone where there is no mesh."""
    return x if None in (spec, explicit_spec(x)) else reshard(x, spec)


def learning_rate(config: TrainConfig) -> optax.Schedule:
    """The learning rate by step: a linear warm-up, then the schedule."""
    after = after_warmup(config.schedule, config)
    if not config.warmup_steps:
        return after
    warmup = optax.linear_schedule(0.0, config.peak_lr, config.warmup_steps)
    return optax.join_schedules([warmup, after], [config.warmup_steps])


@singledispatch
def after_warmup(schedule: schedules.Schedule, config: TrainConfig) -> optax.Schedule:
    """The learning rate by steps since the warm-up ended."""
    raise NotImplementedError(schedule)


@after_warmup.register
def _(schedule: schedules.Constant, config: TrainConfig) -> optax.Schedule:
    return optax.constant_schedule(config.peak_lr)


@after_warmup.register
def _(schedule: schedules.Cosine, config: TrainConfig) -> optax.Schedule:
    steps = config.steps - config.warmup_steps
    return optax.cosine_decay_schedule(config.peak_lr, steps, alpha=schedule.final)


@after_warmup.register
def _(schedule: schedules.Linear, config: TrainConfig) -> optax.Schedule:
    steps = config.steps - config.warmup_steps
    last = schedule.final * config.peak_lr
    return optax.linear_schedule(config.peak_lr, last, steps)


@after_warmup.register
def _(schedule: schedules.WarmupStableDecay, config: TrainConfig) -> optax.Schedule:
    steps = config.steps - config.warmup_steps
    falling = min(steps, max(1, round(schedule.decay * config.steps)))
    last = schedule.final * config.peak_lr
    fall = optax.linear_schedule(config.peak_lr, last, falling)
    flat = optax.constant_schedule(config.peak_lr)
    return optax.join_schedules([flat, fall], [steps - falling])


@after_warmup.register
def _(schedule: schedules.InverseSqrt, config: TrainConfig) -> optax.Schedule:
    start = max(1, config.warmup_steps)
    return lambda step: config.peak_lr * jnp.sqrt(start / jnp.maximum(start + step, 1))
