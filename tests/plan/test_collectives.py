"""What a program sends is read off its text: kinds, mesh axes, bytes, loops."""

import numpy as np
import pytest

from attn.plan.collectives import collectives
from attn.plan.groups import groups_of

MESH = {"data": 2, "fsdp": 1, "heads": 4, "seq": 1}
DATA = [[0, 4], [1, 5], [2, 6], [3, 7]]
HEADS = [[0, 1, 2, 3], [4, 5, 6, 7]]
ALL = [[0, 1, 2, 3, 4, 5, 6, 7]]
SUM = "%r = f32[8,16]{1,0:T(8,128)} all-reduce(%x), channel_id=1, GROUPS, to_apply=%add"


@pytest.mark.parametrize(
    ("groups", "expected"),
    [
        ("replica_groups={{0,1,2,3},{4,5,6,7}}", HEADS),
        ("replica_groups={{0,4},{1,5},{2,6},{3,7}}", DATA),
        ("replica_groups={}", ALL),
        ("replica_groups=[2,4]<=[8]", HEADS),
        ("replica_groups=[4,2]<=[2,4]T(1,0)", DATA),
        ("replica_groups=[2,4]<=[2,2,2]T(1,0,2)", [[0, 1, 4, 5], [2, 3, 6, 7]]),
        ("replica_groups=mesh['a'=2,'b'=1,'c'=4] {'c'}", HEADS),
        ("replica_groups=mesh['a'=2,'c'=4] {'a'}", DATA),
        ("replica_groups=mesh['a'=4,'b'=2], device_ids=([2,4]T(1,0)) {'a'}", HEADS),
        ("replica_groups=mesh['a'=2,'b'=4] {'b':(1)2}", [[0, 2], [1, 3], [4, 6], [5, 7]]),
        ("source_target_pairs={{0,1},{1,0}}", [[0, 1], [1, 0]]),
    ],
)  # fmt: skip
def test_groups_are_read_in_every_form(groups, expected):
    line = SUM.replace("GROUPS", groups)
    np.testing.assert_array_equal(groups_of(line, 8), expected)


def test_groups_in_an_unknown_form_are_no_guess():
    with pytest.raises(ValueError, match="no groups that are known"):
        groups_of(SUM.replace("GROUPS", "replica_groups=V3[2,4]"), 8)


def entry(line):
    return f"HloModule f\n\nENTRY %main (p: f32[8]) -> f32[8] {{\n  {line}\n}}\n"


OPERATIONS = {
    # A ring sends each of 512 bytes (n - 1) / n times, and a sum twice that.
    SUM.replace("GROUPS", "replica_groups=[2,4]<=[8]"): ("heads", 4, 512, 768),
    SUM.replace("GROUPS", "replica_groups={{0,4},{1,5},{2,6},{3,7}}"): (
        "data",
        2,
        512,
        512,
    ),
    SUM.replace("GROUPS", "replica_groups={}"): ("data+heads", 8, 512, 896),
    "%g = bf16[8,16]{1,0} all-gather(%x), replica_groups=[2,4]<=[8], dimensions={0}": (
        "heads",
        4,
        256,
        192,
    ),
    "%g = (f32[4]{0}, f32[16]{0}) all-gather-start(%x), replica_groups=[2,4]<=[8]": (
        "heads",
        4,
        64,
        48,
    ),
    "%g = ((f32[16]{0}), (f32[4]{0})) reduce-scatter-start(%x), replica_groups=[2,4]<=[8]": (
        "heads",
        4,
        64,
        48,
    ),
    "%g = f32[4]{0} reduce-scatter(%x), replica_groups=[2,4]<=[8], dimensions={0}": (
        "heads",
        4,
        64,
        48,
    ),
    "%g = (f32[4]{0}, pred[4]{0}) all-to-all(%x, %y), replica_groups=[2,4]<=[8]": (
        "heads",
        4,
        20,
        15,
    ),
    # In steps of its own, each gives its operands in front of its result.
    "%a = ((c64[4]{0}), c64[4]{0}) all-to-all-start(%x), replica_groups=[2,4]<=[8]": (
        "heads",
        4,
        32,
        24,
    ),
    "%b = ((f32[4]{0}), f32[4]{0}) collective-broadcast-start(%x), replica_groups=[2,4]<=[8]": (
        "heads",
        4,
        16,
        12,
    ),
    "%a = ((f32[4]{0}, f32[8]{0}, s64[4]{0}, s64[4]{0}, s64[4]{0}, s64[4]{0}), f32[8]{0}) "
    "ragged-all-to-all-start(%x), replica_groups=[2,4]<=[8]": ("heads", 4, 32, 24),
    "%p = (f32[4]{0}, f32[4]{0}, u32[], u32[]) collective-permute-start(%x), "
    "source_target_pairs={{0,4},{4,0},{1,5},{5,1}}": ("data", 2, 16, 16),
}


@pytest.mark.parametrize("line", OPERATIONS, ids=lambda line: line[:60])
def test_an_operation_has_its_axis_its_bytes_and_what_a_device_sends(line):
    axis, devices, size, sent = OPERATIONS[line]
    (one,) = collectives(entry(line), MESH, on_a_host=8)
    assert (one.axis, one.devices, one.bytes, one.sent) == (axis, devices, size, sent)
    assert one.count == 1
    assert not one.hosts


def test_a_group_of_one_device_sends_nothing():
    line = SUM.replace("GROUPS", "replica_groups=[8,1]<=[8]")
    assert collectives(entry(line), MESH, on_a_host=8) == ()


def test_a_permute_of_each_device_to_itself_sends_nothing():
    line = "%p = f32[4]{0} collective-permute(%x), source_target_pairs="
    assert collectives(entry(f"{line}{{{{0,0}},{{1,1}}}}"), MESH, on_a_host=8) == ()
    (one,) = collectives(entry(f"{line}{{{{0,0}},{{1,5}}}}"), MESH, on_a_host=8)
    assert one.axis == "data"


def test_a_group_over_two_hosts_says_so():
    rows = [
        collectives(entry(SUM.replace("GROUPS", groups)), MESH, on_a_host=4)[0].hosts
        for groups in ("replica_groups=[2,4]<=[8]", "replica_groups=[4,2]<=[2,4]T(1,0)")
    ]
    assert rows == [False, True]


LOOP = """HloModule f

%turn (p: f32[8]) -> f32[8] {
  SUM
}

%done (p: f32[8]) -> pred[] {
  %c = pred[] compare(%a, %b), direction=LT
}

ENTRY %main (p: f32[8]) -> f32[8] {
  %w = f32[8]{0} while(%t), condition=%done, body=%turnTIMES
  %last = f32[8]{0} fusion(%w), kind=kCustom, calls=%turn
}
""".replace("SUM", SUM.replace("GROUPS", "replica_groups=[2,4]<=[8]"))


def test_a_loop_counts_as_often_as_it_turns_where_the_text_says_it():
    known = ', backend_config={"known_trip_count":{"n":"5"}}'
    (one,) = collectives(LOOP.replace("TIMES", known), MESH, on_a_host=8)
    assert (one.count, one.bytes, one.endless) == (6, 6 * 512, False)


def test_a_loop_of_unknown_length_counts_one_turn_and_says_so():
    (one,) = collectives(LOOP.replace("TIMES", ""), MESH, on_a_host=8)
    assert (one.count, one.endless) == (2, True)


GROUPS = "replica_groups=[2,4]<=[8], to_apply=%add"
GATHERED = """HloModule f

%write (param_0: f32[8,16], param_1: f32[8,PART], param_2: u32[]) -> f32[8,16] {
  %param_0 = f32[8,16]{1,0:T(8,128)} parameter(0)
  %param_1 = f32[8,PART]{1,0:T(8,128)} parameter(1)
  %param_2 = u32[]{:T(128)S(6)} parameter(2)
  ROOT %put = f32[8,16]{1,0:T(8,128)} dynamic-update-slice(%param_0, %param_1, %param_2)
}

ENTRY %main (x: f32[8,PART], y: f32[1,4]) -> f32[8,16] {
  %y = f32[1,4]{1,0} parameter(1)
  %a = f32[8,16]{1,0:T(8,128)} fusion(%zeros, %x, %at), kind=kLoop, calls=%write
  %b = f32[4,4]{1,0} dynamic-update-slice(%more, %y, %at)
  %c = f32[8,16]{1,0} fusion(%grad), kind=kLoop, calls=%sum
  OPERATION
}
"""
WHOLE = "(f32[8,16]{1,0:T(8,128)}, f32[4,4]{1,0})"
RUN = {
    f"%g = f32[8,16]{{1,0}} all-reduce(%a), {GROUPS}": (1, 512, 2),
    f"%g = {WHOLE} all-reduce(%a, %b), {GROUPS}": (1, 512 + 64, 2),
    f"%g = {WHOLE} all-reduce-start(%a, %b), {GROUPS}": (1, 512 + 64, 2),
    # A CPU's compiler, and a TPU's of wider parts, leave it as it is.
    "%g = f32[8,16]{1,0} all-gather(%x), channel_id=5, replica_groups=mesh['axis_0'=2,"
    "'axis_1'=4] {'axis_1'}, dimensions={1}, use_global_device_ids=true": (1, 512, 1),
}


@pytest.mark.parametrize("line", RUN, ids=lambda line: line[-60:])
def test_a_gather_counts_once_whichever_way_it_runs(line):
    text = GATHERED.replace("PART", "4").replace("OPERATION", line)
    (one,) = collectives(text, MESH, on_a_host=8)
    times, size, directions = RUN[line]
    assert (one.kind.split(" ")[0], one.axis) == ("all-gather", "heads")
    # The sum of mostly zeros sends what a sum sends: twice a gather.
    assert (one.count, one.bytes, one.sent) == (times, size, directions * size * 3 / 4)


@pytest.mark.parametrize(
    ("part", "operands"), [("4", "%c"), ("4", "%a, %c"), ("8", "%a")]
)
def test_a_sum_of_anything_else_is_a_sum(part, operands):
    line = f"%s = {WHOLE if ',' in operands else 'f32[8,16]{1,0}'} all-reduce({operands}), {GROUPS}"
    text = GATHERED.replace("PART", part).replace("OPERATION", line)
    (one,) = collectives(text, MESH, on_a_host=8)
    assert one.kind == "all-reduce"


SCATTERED = """HloModule f

%all-reduce-scatter.3 (input: f32[8,16]) -> f32[2,16] {
  %input = f32[8,16]{1,0} parameter(0)
  SUM
  %at = u32[] partition-id()
  ROOT %part = f32[2,16]{1,0} dynamic-slice(%r, %at), dynamic_slice_sizes={2,16}
}

ENTRY %main (p: f32[8,16]) -> f32[2,16] {
  %f = f32[2,16]{1,0} fusion(%p), kind=kCustom, calls=%all-reduce-scatter.3
}
""".replace("SUM", SUM.replace("GROUPS", "replica_groups=[2,4]<=[8]"))


def test_a_sum_of_which_a_device_keeps_its_part_sends_half_of_a_sum():
    (one,) = collectives(SCATTERED, MESH, on_a_host=8)
    assert (one.kind, one.axis, one.count) == ("reduce-scatter", "heads", 1)
    assert (one.bytes, one.sent) == (512, 384)


STEPS = """HloModule f

%fused_computation.7 (p: f32[8,4]) -> f32[8,16] {
  ROOT GATHER
}

%async_collective_fusion.8 (p: f32[8,4]) -> f32[8,16] {
  GATHER
}

ENTRY %main (p: f32[8,4]) -> f32[8,16] {
  %first = f32[8,16]{1,0} fusion(%p), kind=kCustom, calls=%fused_computation.7
  %next = f32[8,16]{1,0} fusion(%first), kind=kCustom, calls=%async_collective_fusion.8
  %last = f32[8,16]{1,0} fusion(%first), kind=kCustom, calls=%async_collective_fusion.8
}
"""


def test_a_gather_that_runs_in_steps_beside_products_counts_once():
    gather = (
        "%g = f32[8,16]{1,0} all-gather(%p), channel_id=3, replica_groups=[2,4]<=[8]"
    )
    (one,) = collectives(STEPS.replace("GATHER", gather), MESH, on_a_host=8)
    assert (one.count, one.bytes) == (1, 512)
