"""The roofs of a plan: networks that hosts share, and memory that every program moves."""

from dataclasses import replace

import pytest
from tiny import TRAIN, experiment_of

from attn.parallel.mesh import MeshShape
from attn.plan.chips import CHIPS
from attn.plan.collectives import Collective, collectives
from attn.plan.estimate import Plan
from attn.plan.programs import Numbers
from attn.plan.roofline import least_traffic, roofline
from attn.plan.tables import as_json, notes, tables
from attn.plan.text import Program
from attn.plan.topologies import topology

SIZE = 1 << 20


def row(kind, devices=16, on_a_host=8):
    return Collective(kind, "data", devices, on_a_host, 1, SIZE)


@pytest.mark.parametrize(
    ("kind", "away", "inside"),
    [
        ("all-reduce", 1 / 8, 7 / 4),
        ("all-gather as all-reduce", 1 / 8, 7 / 4),
        ("all-gather", 1 / 16, 7 / 8),
        ("reduce-scatter", 1 / 16, 7 / 8),
        ("all-to-all", 8 / 16, 7 / 16),
        ("ragged-all-to-all", 8 / 16, 7 / 16),
        ("collective-permute", 1, 0),
    ],
)
def test_devices_of_a_host_share_what_two_hosts_send_each_other(kind, away, inside):
    one = row(kind)
    assert (one.away, one.inside) == (away * SIZE, inside * SIZE)
    assert one.sent == one.away + one.inside


@pytest.mark.parametrize(("hosts", "near"), [(1, 8), (2, 8), (32, 8), (8, 1), (4, 2)])
def test_a_host_takes_in_once_what_it_lacks_whatever_its_devices(hosts, near):
    gather = row("all-gather", hosts * near, near)
    assert gather.away * near == pytest.approx(SIZE * (hosts - 1) / hosts)
    assert gather.sent == pytest.approx(SIZE * (1 - 1 / (hosts * near)))
    exchange = row("all-to-all", hosts * near, near)
    assert exchange.away == pytest.approx(SIZE * (hosts - 1) / hosts)
    assert exchange.sent == pytest.approx(gather.sent)
    if near == 1:
        assert gather.inside == exchange.inside == 0


@pytest.mark.parametrize(
    ("groups", "near"),
    [
        ("replica_groups={}", 4),
        ("replica_groups=[2,4]<=[8]", 4),
        ("replica_groups=[4,2]<=[2,4]T(1,0)", 1),
        ("replica_groups={{0,1,4,5},{2,3,6,7}}", 2),
        ("replica_groups={{0,1,2,4},{3,5,6,7}}", 3),
        ("source_target_pairs={{0,1},{3,4}}", 1),
    ],
)
def test_the_devices_of_a_group_on_one_host_are_counted(groups, near):
    kind = "collective-permute" if "pairs" in groups else "all-reduce"
    line = f"%r = f32[8,16]{{1,0}} {kind}(%x), channel_id=1, {groups}"
    text = f"HloModule f\n\nENTRY %main (p: f32[8]) -> f32[8] {{\n  {line}\n}}\n"
    (one,) = collectives(text, {"data": 2, "heads": 4}, on_a_host=4)
    assert one.on_a_host == near


NUMBERS = Numbers(
    {"parameters": 1e9, "optimizer": 2e9, "outputs": 1e9, "scratch": 8e9},
    1e12,
    1e9,
    (row("all-reduce"), replace(row("all-gather", 8), bytes=2 * SIZE)),
    {"softmax: flash": 1},
    1.0,
)
AWAY, INSIDE = SIZE / 8, SIZE * 7 / 4 + 2 * SIZE * 7 / 8


def test_both_networks_are_busy_at_once_and_the_slower_one_counts():
    network = roofline(NUMBERS, CHIPS["h200"], 0, "bfloat16").network
    assert network == max(AWAY / 50e9, INSIDE / 450e9) == INSIDE / 450e9
    alone = replace(NUMBERS, collectives=NUMBERS.collectives[:1])
    slow = replace(CHIPS["h200"], network=1e9)
    assert roofline(alone, slow, 0, "bfloat16").network == AWAY / 1e9


def planned(name, numbers=NUMBERS):
    experiment = experiment_of(train=replace(TRAIN, batch_size=16))
    shape = MeshShape(data=topology(name).count)
    return Plan(experiment, topology(name), shape, numbers, (1,), 1)


def test_each_network_has_its_row_with_its_bytes_and_its_rate():
    many = replace(NUMBERS, collectives=(replace(row("all-gather"), bytes=1e12),))
    rows = {
        r.cells[0].text: r.cells[2:] for r in tables(planned("h200:16", many))[2].rows
    }
    assert [*rows] == ["compute", "memory", "network, inside hosts", "network, between hosts"]  # fmt: skip
    inside, between = [*rows.values()][2:]
    assert (inside[0].value, between[0].value) == (450e9, 50e9)
    assert inside[1].value == pytest.approx(1e12 * 7 / 8 / 450e9)
    assert between[1].value == pytest.approx(1e12 / 16 / 50e9)
    assert [cells[1].strong for cells in rows.values()] == [False, False, True, False]
    alone = tables(planned("h200:8"))[2]
    assert [r.cells[0].text for r in alone.rows] == ["compute", "memory", "network"]


def test_json_says_what_goes_where():
    one = as_json(planned("h200:16"))["collectives"][0]
    assert (one["hosts"], one["on_a_host"], one["devices"]) == (True, 8, 16)
    assert (one["away"], one["inside"]) == (AWAY, SIZE * 7 / 4)


def test_a_program_moves_at_least_its_arguments_and_outputs():
    assert least_traffic(NUMBERS) == 4e9  # which a kernel of a library moves uncounted
    assert least_traffic(replace(NUMBERS, traffic=9e9)) == 9e9
    assert least_traffic(replace(NUMBERS, traffic=None)) == 12e9
    assert as_json(planned("h200:8"))["traffic_bytes"] == 4e9


WHILE = """HloModule f

ENTRY %main (p: f32[8]) -> f32[8] {
  %w = f32[8]{0} while(%t), condition=%done, body=%turnTIMES
}
"""


@pytest.mark.parametrize(
    ("times", "more"),
    [('"known_trip_count":{"n":"8"}', True), ('"known_trip_count":{"n":"1"}', False), ("", True)],
)  # fmt: skip
def test_a_loop_that_turns_several_times_is_noticed(times, more):
    text = WHILE.replace("TIMES", f", backend_config={{{times}}}")
    assert Program.of(text).repeats is more


def test_a_count_of_one_turn_says_so():
    said = " ".join(notes(planned("h200:8", replace(NUMBERS, repeats=True))))
    assert "Of a loop that turns several times it counts one turn" in said
    assert "one turn" not in " ".join(notes(planned("h200:8")))
