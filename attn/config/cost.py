"""Costs of an experiment, computed from its config alone.

One definition of each quantity that tables and plots show. FLOPs count the
multiplications and additions of matrix products; a training step is three forward
passes (Kaplan et al. 2020, section 2.1).
"""

from attn.config.experiment import Experiment
from attn.config.model import ModelConfig
from attn.objectives import Head, TokenHead


def count_params(experiment: Experiment) -> int:
    """The number of trained parameters of the model."""
    return model_params(experiment.resolved_model, experiment.head)


def model_params(model: ModelConfig, head: Head) -> int:
    """The number of trained parameters of a model with this head."""
    D, V = model.d_model, model.vocab_size or 0
    total = model.embedding.num_params(D, V, model.norm) + head.num_params(D, V)
    if isinstance(head, TokenHead) and not model.embedding.tied:
        total += V * D
    if model.positions == "learned":
        total += (model.max_len or 0) * D
    encoder = 0 if model.encoder is None else _stack_params(model.encoder)
    return total + encoder + _stack_params(model)


def _stack_params(model: ModelConfig) -> int:
    """Trained parameters of a model's layers and norms."""
    D, L, norm = model.d_model, model.max_len or 0, model.norm
    each = sum(
        layer.num_params(D, L) + norm.params_around(D) for layer in model.one_block
    )
    return model.repeats * each + norm.params_after(D)


def forward_flops(experiment: Experiment) -> float:
    """Forward FLOPs of one row, with each of its documents, or its source."""
    model, task = experiment.resolved_model, experiment.task
    T, S = experiment.lengths
    total = experiment.head.flops(task.num_scored, model.d_model, model.vocab_size or 0)
    if model.encoder is not None:
        total += _stack_flops(model.encoder, S)
    return total + task.objective.num_documents * _stack_flops(model, T, S)


def _stack_flops(model: ModelConfig, T: int, S: int = 0) -> float:
    """Forward FLOPs of a model's layers on one sequence."""
    D = model.d_model
    each = sum(layer.flops(D, T, model.mask, S) for layer in model.one_block)
    return model.repeats * each


def train_flops(experiment: Experiment) -> float:
    """FLOPs of one training step of one seed."""
    return 3 * experiment.train.batch_size * forward_flops(experiment)


def decode_state(experiment: Experiment) -> int | None:
    """Bytes of the decoding state after a whole sequence; None for an encoder."""
    if not experiment.task.objective.causal:
        return None
    model, (T, S) = experiment.resolved_model, experiment.lengths
    size = 2 if model.dtype == "bfloat16" else 4
    each = sum(
        layer.state_size(model.d_model, T, S) * (4 if layer.state_is_float32 else size)
        for layer in model.one_block
    )
    return model.repeats * each
