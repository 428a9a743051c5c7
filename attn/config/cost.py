"""Costs of an experiment, computed from its config alone.

One definition of each quantity that tables and plots show. FLOPs count the
multiplications and additions of matrix products; a training step is three forward
passes (Kaplan et al. 2020, section 2.1).
"""

from attn.config.experiment import Experiment


def count_params(experiment: Experiment) -> int:
    """The number of trained parameters of the model."""
    model = experiment.resolved_model
    D, V, L = model.d_model, model.vocab_size or 0, model.max_len or 0
    total = V * D + D + experiment.head.num_params(D, V)
    if model.positions == "learned":
        total += L * D
    each = sum(layer.num_params(D, L) + D for layer in model.one_block)
    return total + model.repeats * each


def forward_flops(experiment: Experiment) -> float:
    """Forward FLOPs of one row, with each of its documents."""
    model, task = experiment.resolved_model, experiment.task
    D, T = model.d_model, task.document_len
    total = experiment.head.flops(task.num_scored, D, model.vocab_size or 0)
    each = sum(layer.flops(D, T, model.mask) for layer in model.one_block)
    return total + task.objective.num_documents * model.repeats * each


def train_flops(experiment: Experiment) -> float:
    """FLOPs of one training step of one seed."""
    return 3 * experiment.train.batch_size * forward_flops(experiment)


def decode_state(experiment: Experiment) -> int | None:
    """Bytes of the decoding state after `seq_len` tokens; None for an encoder."""
    if not experiment.task.objective.causal:
        return None
    model, T = experiment.resolved_model, experiment.task.seq_len
    each = sum(layer.state_size(model.d_model, T) for layer in model.one_block)
    return model.repeats * each * (2 if model.dtype == "bfloat16" else 4)
