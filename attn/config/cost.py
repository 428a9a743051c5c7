"""What an experiment costs, from its config alone, and configs of equal cost.

One definition of each quantity that tables and plots show. FLOPs count the
multiplications and additions of matrix products; a training step is three forward
passes (Kaplan et al. 2020, section 2.1).
"""

from bisect import bisect_left
from collections.abc import Callable
from dataclasses import replace
from math import lcm
from typing import Literal, get_args

from attn.config import Experiment, ModelConfig
from attn.errors import UserError, unknown
from attn.kernels.base import Kernel, matmul_flops

Match = Literal["params", "flops", "kv_cache", "none"]


def count_params(experiment: Experiment) -> int:
    """Trained numbers of the model."""
    model, task = experiment.model, experiment.task
    D, N, H = model.d_model, model.num_heads, model.head_width
    total = task.vocab_size * D + D
    if model.positions == "learned":
        total += task.seq_len * D
    if task.kind == "encoder":
        total += task.num_classes * D
    for layer in model.layers:
        kernel = model.kernel_of(layer)
        if kernel is not None:
            total += _projections(model, kernel) + (model.kv_rank or 0)
            total += N * kernel.num_weights(model.key_width(kernel), task.seq_len)
            total += N * H * kernel.head_norm
        elif layer == "short_conv":
            total += model.conv_width * D + D * D
        else:
            total += 2 * D * model.hidden_width
        total += D
    return total


def forward_flops(experiment: Experiment) -> float:
    """Of one sequence."""
    model, task = experiment.model, experiment.task
    D, N, H, T = model.d_model, model.num_heads, model.head_width, task.seq_len
    total = matmul_flops(task.num_scored, D, task.num_classes)
    for layer in model.layers:
        kernel = model.kernel_of(layer)
        if kernel is not None:
            total += matmul_flops(T, _projections(model, kernel))
            width = model.key_width(kernel)
            total += N * kernel.flops(T, T, width, H, experiment.mask)
        elif layer == "short_conv":
            total += matmul_flops(T, D, D + model.conv_width)
        else:
            total += 2 * matmul_flops(T, D, model.hidden_width)
    return total


def _projections(model: ModelConfig, kernel: Kernel) -> int:
    """Weights of the matrices that make what the kernel reads, and of the one after."""
    D, N, H, R = model.d_model, model.num_heads, model.head_width, model.kv_rank
    if R is None:
        heads = {"q": N, "k": model.kv_heads, "v": model.kv_heads}
        return D * H * (sum(heads[name] for name in kernel.reads) + N)
    turned = model.rope_width(kernel)
    return D * (N * (H + turned) + R + turned) + 2 * R * N * H + N * H * D


def train_flops(experiment: Experiment) -> float:
    """Of one training step of one seed."""
    return 3 * experiment.train.batch_size * forward_flops(experiment)


def decode_state(experiment: Experiment) -> int | None:
    """Bytes kept to decode the token after `seq_len`; None for an encoder."""
    model, T = experiment.model, experiment.task.seq_len
    if experiment.task.kind == "encoder":
        return None
    numbers = 0
    for layer in model.layers:
        kernel = model.kernel_of(layer)
        if kernel is not None:
            numbers += _layer_state(model, kernel, T)
        elif layer == "short_conv":
            numbers += (model.conv_width - 1) * model.d_model
    return numbers * (2 if model.dtype == "bfloat16" else 4)


def _layer_state(model: ModelConfig, kernel: Kernel, T: int) -> int:
    """Numbers that a layer keeps of T tokens."""
    width, H = model.key_width(kernel), model.head_width
    if model.kv_rank is not None and "exact" in kernel.can:
        # One key for all heads, of which the latent is the value too.
        return kernel.state_size(T, model.kv_rank + model.rope_width(kernel), 0)
    # Query heads that own features cannot share sums over them.
    heads = model.kv_heads if kernel.owns == "nothing" else model.num_heads
    return heads * kernel.state_size(T, width, H)


_SOLVED: dict[str, tuple[str, Callable[[Experiment], float | None]]] = {
    "params": ("d_ff", count_params),
    "flops": ("d_ff", forward_flops),
    "kv_cache": ("head_dim", decode_state),
}
"""What is matched -> the field that is solved for, and the cost to make equal."""


def match(experiment: Experiment, reference: Experiment, by: Match) -> Experiment:
    """`experiment` with one width set so that it costs what `reference` does.

    That is `d_ff`, or for the cache `head_dim`, or `kv_rank` where keys come from it.

    The nearest whole number is taken; of heads, the nearest even one where rotary
    positions turn pairs, and a multiple of what the kernel asks. Shazeer 2019 (Fast
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

    def resized(size: int) -> Experiment:
        return replace(experiment, model=replace(experiment.model, **{field: size}))

    def at(size: int) -> float:
        return _cost(resized(size), by)

    if at(2 * step) == at(4 * step):
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
    """What divides the width of a head, by its positions and by its kernels."""
    model = experiment.model
    kernels = (model.kernel_of(layer) for layer in model.layers)
    each = [kernel.head_multiple for kernel in kernels if kernel is not None]
    return lcm(2 if model.positions == "rotary" else 1, *each)


def _cost(experiment: Experiment, by: str) -> float:
    value = _SOLVED[by][1](experiment)
    if value is None:
        raise UserError(
            f"match = {by!r}: {experiment.name!r} is an encoder, which keeps no cache; "
            "match params"
        )
    return float(value)


def _nearest(cost: Callable[[int], float], target: float, step: int) -> int:
    """The multiple of `step` whose cost is nearest the target; 0 if all are above it."""
    high = step
    while cost(high) < target:
        high *= 2
    sizes = range(step, high + 1, step)
    above = sizes[bisect_left(sizes, target, key=cost)]
    below = above - step
    if below == 0:
        return above if cost(above) == target else 0
    return above if cost(above) - target < target - cost(below) else below
