"""The memory of a step is what its compiler plans, and nothing of it is made."""

from dataclasses import replace

from tiny import TRAIN, TREES, experiment_of

from attn.config import cost
from attn.config.compiled import CompiledStep
from attn.train.memory import planned


def test_a_step_holds_its_state_once_and_more_where_it_trains():
    one_row = replace(TRAIN, batch_size=1)
    experiment = experiment_of(TREES, train=one_row, d_model=64, d_ff=512)
    params = 4 * cost.count_params(experiment)
    trained = planned(CompiledStep(experiment))
    evaluated = planned(CompiledStep(experiment, backward=False))
    assert trained.by.endswith(" for cpu")
    # Weights and two moments, which the next ones replace; gradients and activations.
    assert 4 * params < trained.bytes < 7 * params
    # What only reads the weights has no moments among its arguments.
    assert params < evaluated.bytes < 2 * params
