"""A sweep is a grid of experiments that differ where they were asked to."""

from dataclasses import replace

import pytest

from attn.config import Experiment, ModelConfig, cost
from attn.config.sweep import parse_axis, set_field, sweep
from attn.errors import UserError
from attn.kernels import Linear, WindowAttention
from attn.tasks import MQAR, PyDoc

BASE = Experiment(name="base", claim="It varies.", task=PyDoc(seq_len=32))


def test_a_grid_is_swept_with_its_first_field_slowest():
    grid = {"model.num_heads": (1, 2), "train.peak_lr": (1e-3, 3e-3)}
    points = sweep(BASE, grid)
    assert [p.name for p in points] == [
        "base-num_heads=1-peak_lr=0.001",
        "base-num_heads=1-peak_lr=0.003",
        "base-num_heads=2-peak_lr=0.001",
        "base-num_heads=2-peak_lr=0.003",
    ]
    assert [p.model.num_heads for p in points] == [1, 1, 2, 2]
    assert [p.train.peak_lr for p in points] == [1e-3, 3e-3] * 2


@pytest.mark.parametrize(
    "by, measure", [("params", cost.count_params), ("flops", cost.forward_flops)]
)
def test_a_matched_sweep_costs_what_its_base_does(by, measure):
    points = sweep(BASE, {"model.num_kv_heads": (1, 2, 4)}, by=by)
    assert len({p.model.sizes["d_ff"] for p in points}) == 3
    for point in points:
        assert measure(point) == pytest.approx(measure(BASE), rel=0.01)


@pytest.mark.parametrize("by", ["params", "flops"])
def test_a_field_that_the_match_sets_itself_is_not_swept(by):
    with pytest.raises(UserError, match="d_ff = 64 cannot be swept at equal"):
        sweep(BASE, {"model.d_ff": (64, 128)}, by=by)


@pytest.mark.parametrize(
    "path, values",
    [
        ("model.act", ("relu", "silu", "gelu_tanh")),
        ("model.gated", (False, True)),
        ("model.bias", ("none", "qkv", "all")),
        ("model.kernel.width", (8, 16)),
    ],
)
def test_every_value_of_a_field_that_is_read_is_swept(path, values):
    window = replace(BASE.model, kernel=WindowAttention())
    points = sweep(replace(BASE, model=window), {path: values})
    assert len({point.model for point in points}) == len(values)


def test_a_kernel_is_swept_by_name():
    path, values = parse_axis(BASE, "model.kernel=softmax,linear")
    assert sweep(BASE, {path: values})[1].model.kernel == Linear()


def test_values_take_the_type_of_their_field():
    assert parse_axis(BASE, "model.num_kv_heads=none,2") == (
        "model.num_kv_heads",
        (None, 2),
    )
    assert parse_axis(BASE, "train.peak_lr=1,2e-3")[1] == (1.0, 2e-3)
    assert parse_axis(BASE, "model.positions=rotary,none")[1] == ("rotary", "none")
    assert parse_axis(BASE, "task.seq_len=16,32")[1] == (16, 32)
    assert parse_axis(BASE, "model.causal=true,false")[1] == (True, False)


@pytest.mark.parametrize(
    "text, message",
    [
        ("model.num_heads", "write a field and its values"),
        ("model.num_heds=1", "did you mean 'num_heads'"),
        ("modell.num_heads=1", "did you mean 'model'"),
        ("model.num_heads=two", "'two' is not int"),
        ("model.positions=spiral", "'spiral' is not"),
        ("model.causal=yes", "'yes' is not bool"),
        ("model.d_model.x=1", "has no fields"),
    ],
)
def test_a_wrong_axis_is_refused_by_name(text, message):
    with pytest.raises(UserError, match=message):
        parse_axis(BASE, text)


def test_setting_a_field_leaves_the_original_alone():
    experiment = Experiment(name="a", claim="b", task=MQAR(), model=ModelConfig())
    wider = set_field(experiment, "model.d_model", 32)
    assert (wider.model.d_model, experiment.model.d_model) == (32, 64)
    with pytest.raises(
        UserError, match="unknown kernel 'linea'; did you mean 'linear'"
    ):
        set_field(experiment, "model.kernel", "linea")
