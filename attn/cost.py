"""What an experiment costs, from its config alone, and configs of equal cost.

One definition of each quantity that tables and plots show. FLOPs count the
multiplications and additions of matrix products; a training step is three forward
passes (Kaplan et al. 2020, section 2.1).
"""

from collections.abc import Callable
from dataclasses import replace
from typing import Literal, get_args

from attn.config import Experiment
from attn.errors import UserError, unknown
from attn.kernels.base import matmul_flops

Match = Literal["params", "flops", "kv_cache", "none"]


def count_params(experiment: Experiment) -> int:
    """Trained numbers of the model."""
    model, task = experiment.model, experiment.task
    D, N, K, H = model.d_model, model.num_heads, model.kv_heads, model.head_width
    total = task.vocab_size * D + D
    if model.positions == "learned":
        total += task.seq_len * D
    if task.kind == "encoder":
        total += task.num_classes * D
    for layer in model.layers:
        kernel = model.kernel_of(layer)
        if kernel is not None:
            total += 2 * (N + K) * D * H + N * kernel.num_weights(H, task.seq_len)
        elif layer == "short_conv":
            total += model.conv_width * D + D * D
        else:
            total += 2 * D * model.hidden_width
        total += D
    return total


def forward_flops(experiment: Experiment) -> float:
    """Of one sequence."""
    model, task = experiment.model, experiment.task
    D, N, K, H = model.d_model, model.num_heads, model.kv_heads, model.head_width
    T = task.seq_len
    total = matmul_flops(task.num_scored, D, task.num_classes)
    for layer in model.layers:
        kernel = model.kernel_of(layer)
        if kernel is not None:
            total += matmul_flops(T, D, 2 * (N + K), H)
            total += N * kernel.flops(T, T, H, H, experiment.mask)
        elif layer == "short_conv":
            total += matmul_flops(T, D, D + model.conv_width)
        else:
            total += 2 * matmul_flops(T, D, model.hidden_width)
    return total


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
            H = model.head_width
            numbers += model.kv_heads * kernel.state_size(T, H, H)
        elif layer == "short_conv":
            numbers += (model.conv_width - 1) * model.d_model
    return numbers * (2 if model.dtype == "bfloat16" else 4)


_SOLVED: dict[str, tuple[str, Callable[[Experiment], float | None]]] = {
    "params": ("d_ff", count_params),
    "flops": ("d_ff", forward_flops),
    "kv_cache": ("head_dim", decode_state),
}
"""What is matched -> the field that is solved for, and the cost to make equal."""


def match(experiment: Experiment, reference: Experiment, by: Match) -> Experiment:
    """`experiment` with `d_ff` or `head_dim` set so that it costs what `reference` does.

    The cost is a straight line in the field, so two readings give the answer, rounded
    to a whole number. Shazeer 2019 (Fast Transformer Decoding, section 4) sizes its
    models so.

    Raises:
        UserError: no size of at least 1 reaches the cost, or the model has no such
            layer.
    """
    if by not in get_args(Match):
        raise unknown("match", by, get_args(Match))
    if by == "none":
        return experiment
    field, cost = _SOLVED[by]

    def at(size: int) -> float:
        value = cost(replace(experiment, model=replace(experiment.model, **{field: size})))
        if value is None:
            raise UserError(f"match = {by!r}: an encoder keeps no cache; match params")
        return value

    # Even sizes keep rotary positions possible whatever the reading.
    slope = (at(4) - at(2)) / 2
    if slope == 0:
        raise UserError(
            f"match = {by!r} changes {field}, and {experiment.name!r} has no layer that "
            f"uses it: pattern = {experiment.model.pattern}"
        )
    target = cost(reference)
    assert target is not None
    size = round(2 + (target - at(2)) / slope)
    if size < 1:
        raise UserError(
            f"match = {by!r}: {experiment.name!r} costs more than {reference.name!r} even "
            f"with {field} = 1"
        )
    return replace(experiment, model=replace(experiment.model, **{field: size}))
