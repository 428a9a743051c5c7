"""A plan says what the compiler says of the run itself, and extends it by whole blocks."""

from dataclasses import replace

import jax
import numpy as np
import pytest
import tiny
from jax.sharding import NamedSharding, PartitionSpec
from tiny import TRAIN, experiment_of

from attn.cli import planning
from attn.config import cost
from attn.parallel.mesh import MeshShape, make_mesh
from attn.plan.advice import changes
from attn.plan.chips import CHIPS
from attn.plan.collectives import Collective
from attn.plan.estimate import Plan, extended, plan, with_blocks
from attn.plan.programs import Numbers, TooLarge, _compile, compile_training
from attn.plan.roofline import roofline
from attn.plan.tables import as_json, notes, ranked, ranking, tables
from attn.plan.topologies import topology
from attn.plots.plans import draw_plan
from attn.plots.style import LIGHT
from attn.train.memory import held
from attn.train.state import init_state, model_def
from attn.train.step import METRICS, make_slice, make_train_step

DEVICES = topology("cpu:4")
SHAPE = MeshShape(data=2, heads=2)
GIBI = 2**30


@pytest.fixture(scope="module")
def experiment():
    return experiment_of(seeds=2, repeats=1, train=replace(TRAIN, batch_size=4))


@pytest.fixture(scope="module")
def numbers(experiment):
    return compile_training(experiment, DEVICES, SHAPE)


def test_the_bytes_of_a_plan_are_those_of_the_step_that_runs(experiment, numbers):
    mesh = make_mesh(SHAPE)
    with jax.set_mesh(mesh):
        state = init_state(experiment, experiment.seed_numbers)
        step = make_train_step(experiment, model_def(experiment))
        batch = tiny.calls(tiny.random_batch(experiment.task, (1, 2, 4)), mesh)
        memory = step.lower(state, batch).compile().memory_analysis()
    assert numbers.total == held(memory)
    assert numbers.held["scratch"] == memory.temp_size_in_bytes
    assert numbers.held["padding"] == 0


def test_the_loop_of_a_run_holds_what_one_step_holds_and_little_more(
    experiment, numbers
):
    mesh = make_mesh(SHAPE)
    with jax.set_mesh(mesh):
        state = init_state(experiment, experiment.seed_numbers)
        batch = tiny.calls(tiny.random_batch(experiment.task, (1, 2, 4)), mesh)
        metrics = {n: np.zeros((1, 2), dtype) for n, dtype in METRICS.items()}
        metrics = jax.device_put(metrics, NamedSharding(mesh, PartitionSpec()))
        loop = make_slice(experiment, model_def(experiment))
        ends = np.int32(0), np.int32(1)
        memory = loop.lower(state, batch, metrics, *ends).compile().memory_analysis()
    extra = held(memory) - numbers.total
    assert 0 <= extra < 0.05 * numbers.total


def test_kinds_of_bytes_are_those_of_a_device(experiment, numbers):
    params = 2 * 4 * cost.count_params(experiment)
    # Half of the heads, and norms and an odd rest that both hold.
    assert params / 2 <= numbers.held["parameters"] < 0.6 * params
    assert numbers.held["optimizer"] == pytest.approx(
        2 * numbers.held["parameters"], rel=0.01
    )
    rows = 2 * 4 // 2  # of both seeds, on half of the devices
    task = experiment.task
    ints = task.seq_len + 2 * task.num_scored
    assert numbers.held["batch"] == 4 * rows * ints


def test_the_batch_is_summed_over_data_and_layers_over_heads(experiment, numbers):
    axes = {one.axis for one in numbers.collectives}
    assert axes == {"data", "heads"}
    (gradients,) = [one for one in numbers.collectives if one.axis == "data"]
    assert gradients.kind == "all-reduce"
    assert gradients.bytes >= numbers.held["parameters"]
    assert numbers.layers == {"softmax: dense": 1}


def row(axis, count, size):
    return Collective("all-reduce", axis, 2, 2, count, size)


ONE = Numbers(
    {"parameters": 10.0, "scratch": 100.0},
    50.0,
    None,
    (row("data", 1, 10), row("heads", 4, 40)),
    {"softmax: dense": 1},
    2.0,
)
TWO = Numbers(
    {"parameters": 14.0, "scratch": 130.0},
    60.0,
    None,
    (row("data", 1, 14), row("heads", 6, 60)),
    {"softmax: dense": 2},
    3.0,
)


def test_each_further_block_adds_what_the_second_added():
    deep = extended(ONE, TWO, (1, 2), 32)
    assert deep.held == {"parameters": 10 + 31 * 4, "scratch": 100 + 31 * 30}
    assert (deep.flops, deep.traffic) == (50 + 31 * 10, None)
    assert deep.collectives == (row("data", 1, 134), row("heads", 66, 660))
    assert deep.layers == {"softmax: dense": 32}
    assert deep.seconds == 5.0


def test_scratch_that_fell_with_more_blocks_is_not_extended_below_theirs():
    less = replace(TWO, held=TWO.held | {"scratch": 90.0})
    assert extended(ONE, less, (1, 2), 32).held["scratch"] == 90


def made(numbers, *, memory, mesh=SHAPE, name="v5e:2x2", **model):
    experiment = experiment_of(num_heads=4, train=replace(TRAIN, batch_size=8), **model)
    return Plan(experiment, topology(name), mesh, numbers, (1,), memory)


LARGE = Numbers(
    {"parameters": 4.0 * GIBI, "optimizer": 8.0 * GIBI, "scratch": 20.0 * GIBI},
    1e12,
    1e11,
    (row("data", 1, 4.0 * GIBI),),
    {"softmax: splash": 1},
    1.0,
)


def test_a_step_is_bound_by_the_longest_of_three_roofs():
    chip = CHIPS["v5e"]
    roof = roofline(LARGE, chip, 2e12, "bfloat16")
    assert roof.compute == 2e12 / 197e12
    assert roof.memory == 1e11 / (800 * GIBI)
    assert roof.network == 4 * GIBI / 200e9
    assert (roof.bound, roof.seconds) == ("memory", roof.memory)


def test_what_crosses_hosts_takes_the_slower_network():
    away = replace(LARGE, collectives=(replace(row("data", 1, 1e9), on_a_host=1),))
    assert roofline(away, CHIPS["h100"], 0, "bfloat16").network == 1e9 / 50e9


def test_what_is_too_large_is_told_what_would_make_it_fit():
    found = {change.option: change.bytes for change in changes(made(LARGE, memory=1))}
    # Parameters and two moments are halved by two parts; of scratch nothing is known.
    assert found["--mesh fsdp=2,heads=2"] == found["--mesh heads=4"] == 12 / 2 * GIBI
    # Four rows a device, one at a time: a quarter of the activations.
    assert found["--train.accumulate 4"] == (32 - 16 * 3 / 4) * GIBI
    assert found["--model.remat"] == pytest.approx((32 - 16 / 2) * GIBI, rel=1e-4)
    again = changes(made(LARGE, memory=1, remat=True, mesh=MeshShape(fsdp=4)))
    assert {change.option for change in again} == {"--train.accumulate 2"}


@pytest.mark.parametrize(("room", "said"), [(8, "may fit"), (5, "does not fit")])
def test_a_mesh_that_divides_parameters_promises_a_lower_bound_alone(room, said):
    note = tables(made(LARGE, memory=room * GIBI))[0].note
    assert f"--mesh fsdp=2,heads=2: at least 6.00 GiB, {said} (parameters" in note
    assert "--model.remat: at least about 24" in note


def test_the_fewest_parts_that_fit_are_offered():
    options = [c.option for c in changes(made(LARGE, memory=25 * GIBI))]
    assert "--train.accumulate 2" in options


def test_meshes_that_fit_come_before_those_that_do_not_then_the_quickest():
    slow = replace(LARGE, traffic=2e11)
    tight = made(LARGE, memory=GIBI, mesh=MeshShape(data=4))
    ok, slower = made(LARGE, memory=99 * GIBI), made(slow, memory=99 * GIBI)
    assert ranked([tight, slower, ok]) == [ok, slower, tight]
    assert ranking([tight, ok]).note == "best: --mesh data=2,heads=2"


def test_tables_json_and_picture_say_the_same(tmp_path):
    one = made(LARGE, memory=16 * GIBI)
    first, sent, times = tables(one)
    assert first.rows[-2].cells[1].value == as_json(one)["total_bytes"] == 32 * GIBI
    assert first.note.startswith("It does not fit: 16.0 GiB too much.")
    assert [cell.text for cell in sent.rows[0].cells[:3]] == ["all-reduce", "data", "2"]
    assert [r.cells[3].strong for r in times.rows] == [False, True, False]
    assert "bound by memory" in notes(one)[0]
    drawn = draw_plan("a plan", one.numbers.held, one.memory, one.roofline.roofs, LIGHT)
    left, right = drawn.axes
    assert [bar.get_width() for bar in left.patches] == [4, 8, 20]
    assert [t.get_text() for t in right.get_yticklabels()] == ["compute", "memory", "network"]  # fmt: skip


def test_a_deep_model_is_compiled_with_two_blocks_and_with_five(
    monkeypatch, experiment
):
    asked = []

    def compiled(experiment, devices, mesh):
        asked.append(experiment.model.repeats)
        return (ONE, TWO)[len(asked) - 1]

    monkeypatch.setattr("attn.plan.estimate.compile_training", compiled)
    deep = with_blocks(experiment, 32)
    assert (
        plan(deep, DEVICES, SHAPE, memory=None).numbers.held["parameters"]
        == 10 + 30 / 3 * 4
    )
    assert asked == [2, 5]
    asked.clear()
    assert plan(deep, DEVICES, SHAPE, memory=None, whole=True).numbers == ONE
    assert asked == [32]


def refusing(error):
    """Makes a lowered program whose compiler gives this error."""

    def compile_it(options=None):
        raise jax.errors.JaxRuntimeError(error)

    program = jax.jit(lambda x: x).lower(1.0)
    program.compile = compile_it
    return program


def test_a_program_without_room_is_one_line_that_names_the_way_out():
    refused = refusing("RESOURCE_EXHAUSTED: needs 1.16T of 95.74G.\nThe largest: x.")
    with pytest.raises(TooLarge) as told:
        _compile(refused, DEVICES, SHAPE)
    assert str(told.value) == (
        "cpu:4, mesh data=2,heads=2: needs 1.16T of 95.74G; divide more (--mesh with "
        "fsdp or heads, or more devices), or train with seq, --model.remat or "
        "--train.accumulate"
    )
    with pytest.raises(jax.errors.JaxRuntimeError, match="INTERNAL"):
        _compile(refusing("INTERNAL: other"), DEVICES, SHAPE)


def test_a_sweep_leaves_out_meshes_without_room(experiment, monkeypatch, capsys):
    shapes = [MeshShape(data=4), SHAPE]

    def planned(_, devices, mesh, asked):
        if mesh == shapes[0] or asked == "none":
            raise TooLarge(f"{mesh} has none")
        return mesh

    monkeypatch.setattr(planning, "_plan", planned)
    assert list(planning._plans(experiment, DEVICES, shapes, "sweep")) == [SHAPE]
    assert capsys.readouterr().err == "no room: data=4 has none\n"
    with pytest.raises(TooLarge, match="heads=2"):
        list(planning._plans(experiment, DEVICES, shapes, "none"))
