"""Experiments of equal cost: solves for one width, so that a comparison is fair."""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import replace
from functools import cache
from math import ceil, lcm
from typing import Literal, get_args

from attn.config.cost import count_params, decode_state, forward_flops
from attn.config.experiment import Experiment
from attn.errors import UserError, unknown

Match = Literal["params", "flops", "kv_cache", "none"]

_SOLVED: dict[str, tuple[str, Callable[[Experiment], float | None]]] = {
    "params": ("d_ff", count_params),
    "flops": ("d_ff", forward_flops),
    "kv_cache": ("head_dim", decode_state),
}
"""What is matched -> the field that is solved for, and the cost to make equal."""


def match(experiment: Experiment, reference: Experiment, by: Match) -> Experiment:
    """Sets one width of `experiment` so that it costs what `reference` does.

    That is `d_ff`, or for the cache `head_dim`, or `kv_rank` where keys come from it.

    The nearest whole number is taken; of heads, the nearest even one where rotary
    positions rotate pairs, and a multiple of what the kernel asks. Shazeer 2019 (Fast
    Transformer Decoding, section 4) sizes its models so.

    Raises:
        UserError: no size of at least 1 reaches the cost, or the model has no such
            layer.
    """
    if by not in get_args(Match):
        raise unknown("match", by, get_args(Match))
    if by == "none":
        return experiment
    field = _SOLVED[by][0]
    if by == "kv_cache" and experiment.model.kv_rank is not None:
        field = "kv_rank"
    step = _head_step(experiment) if field == "head_dim" else 1

    @cache
    def resized(size: int) -> Experiment:
        return replace(experiment, model=replace(experiment.model, **{field: size}))

    def at(size: int) -> float:
        return _cost(resized(size), by)

    if at(step) == at(2 * step):
        raise UserError(
            f"match = {by!r} changes {field}, and {experiment.name!r} has no layer that "
            f"uses it: pattern = {experiment.model.pattern}"
        )
    size = _nearest(at, _cost(reference, by), step)
    if size < 1:
        raise UserError(
            f"match = {by!r}: {experiment.name!r} costs more than {reference.name!r} even "
            f"with {field} = {step}"
        )
    return resized(size)


def _head_step(experiment: Experiment) -> int:
    """The step of head widths that the positions and the kernels allow."""
    layers = experiment.model.attention_layers
    pairs = 2 if any(layer.positions == "rotary" for layer in layers) else 1
    return lcm(pairs, *(layer.mechanism.head_multiple for layer in layers))


def _cost(experiment: Experiment, by: str) -> float:
    value = _SOLVED[by][1](experiment)
    if value is None:
        raise UserError(
            f"match = {by!r}: {experiment.name!r} is an encoder, which keeps no cache; "
            "match params"
        )
    return float(value)


def _nearest(cost: Callable[[int], float], target: float, step: int) -> int:
    """The multiple of `step` whose cost is nearest the target; 0 if all exceed it."""
    above = _least(cost, target, step)
    below = above - step
    if below == 0:
        return above if cost(above) == target else 0
    return above if cost(above) - target < target - cost(below) else below


def _least(cost: Callable[[int], float], target: float, step: int) -> int:
    """The smallest multiple of `step` that costs at least the target."""
    slope = cost(2 * step) - cost(step)
    # Most costs are affine in the width, and then the first guess is right.
    high = max(1, ceil((target - cost(step)) / slope) + 1)
    while cost(high * step) < target:
        high *= 2
    low = high - 1 if high > 1 and cost((high - 1) * step) < target else 1
    sizes = range(low * step, high * step + 1, step)
    return sizes[bisect_left(sizes, target, key=cost)]
