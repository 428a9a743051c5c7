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
    "%p = (f32[4]{0}, f32[4]{0}, u32[], u32[]) collective-permute-start(%x), "
    "source_target_pairs={{0,4},{4,0},{1,5},{5,1}}": ("data", 2, 16, 16),
}


@pytest.mark.parametrize("line", OPERATIONS, ids=lambda line: line.split(" ")[3][:30])
def test_an_operation_has_its_axis_its_bytes_and_what_a_device_sends(line):
    axis, devices, size, sent = OPERATIONS[line]
    (one,) = collectives(entry(line), MESH, on_a_host=8)
    assert (one.axis, one.devices, one.bytes, one.sent) == (axis, devices, size, sent)
    assert one.count == 1
    assert not one.hosts


def test_a_group_of_one_device_sends_nothing():
    line = SUM.replace("GROUPS", "replica_groups=[8,1]<=[8]")
    assert collectives(entry(line), MESH, on_a_host=8) == ()


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
