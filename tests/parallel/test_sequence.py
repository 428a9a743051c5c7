"""The certificate: sequences over devices give what one device gives, or a refusal."""

from dataclasses import replace
from functools import partial

import jax
import naive
import pytest
from meshes import make
from one_device import H, N, arrays_of, assert_as_one_device, laid
from sent import assert_meant
from tiny import exhaustive

from attn.attention import attend, recording
from attn.errors import UserError
from attn.kernels import KERNELS, Softmax
from attn.masks import FULL, Causal, Window
from attn.parallel.strategies import STRATEGIES
from attn.parallel.support import MASKS, support, table

RICH = Softmax(sinks=True, softcap=4.0)


def cells():
    """Every mechanism, mask and strategy that the table knows, and whether it serves."""
    for name in naive.SPECS:
        for mask in MASKS:
            row = support(naive.SPECS[name], mask)
            for strategy in STRATEGIES if row else ():
                yield name, mask, strategy, strategy in row.strategies


SHOWN = {
    ("linear", "full", "scan"),
    ("performer", "causal", "scan"),
    ("retention", "causal", "scan"),
    ("gated_delta", "causal", "scan"),
    ("rglru", "causal", "scan"),
    ("softmax", "causal", "ring"),
    ("softmax", "per_head", "all_gather"),
    ("differential", "causal", "all_to_all"),
    ("linformer", "full", "all_gather"),
}
"""Cells that stand for the others, which are exhaustive."""
DECLARED = [
    case[:3] if case[:3] in SHOWN else exhaustive(*case[:3])
    for case in cells()
    if case[3]
]


@pytest.mark.parametrize(("name", "mask", "strategy"), DECLARED)
def test_a_declared_cell_gives_what_one_device_gives(name, mask, strategy):
    spec = naive.SPECS[name]
    found = assert_as_one_device(spec, MASKS[mask], strategy)
    assert_meant(found, strategy, spec, MASKS[mask], H)


WITH_SINKS = [
    exhaustive(name, mask, strategy)
    for name, mask, strategy, _ in cells()
    if strategy in support(naive.SPECS[name], mask).sinks
]


@pytest.mark.parametrize(("name", "mask", "strategy"), WITH_SINKS)
def test_a_cell_with_sinks_gives_what_one_device_gives(name, mask, strategy):
    spec = replace(naive.SPECS[name], sinks=True)
    found = assert_as_one_device(spec, MASKS[mask], strategy)
    assert_meant(found, strategy, spec, MASKS[mask], H)


RINGS = [
    exhaustive(FULL, 4, 6 * 4),
    exhaustive(Causal(), 4, 6 * 4 + 8 * 2),  # to zig-zag order and back, by halves
    exhaustive(Window(2, 0), 8, 6 * 2 + 2),  # the gradients go home
    exhaustive(Window(0, 2), 8, 6 * 2 + 2 + 4),  # and begin at the next device
]


@pytest.mark.parametrize(("mask", "P", "count"), RINGS, ids=str)
def test_a_longer_ring_sends_at_the_steps_that_the_mask_needs(mask, P, count):
    found = assert_as_one_device(Softmax(), mask, "ring", shape=(1, 1, P))
    assert found == {"collective-permute": count, "all-reduce": 1}


REFUSED = [
    c[:3] if c[0] in naive.PATHS else exhaustive(c[:3]) for c in cells() if not c[3]
]


@pytest.mark.parametrize("case", REFUSED, ids="-".join)
def test_a_cell_that_is_not_declared_is_refused_by_name(case):
    name, mask, strategy = case
    spec = naive.SPECS[name]
    moving = arrays_of(spec, N)
    with jax.set_mesh(make((1, 1, 2))):
        moving = {n: laid(n, x, 1) for n, x in moving.items()}
        words = f"strategy = '{strategy}' for kernel '{name}'"
        with pytest.raises(UserError, match=words) as refused:
            attend(spec, **moving, mask=MASKS[mask], strategy=strategy)
    able = support(spec, mask).strategies
    assert (f"{able[0]}" if able else "no other can serve") in str(refused.value)


EVERYTHING = ("padding", "lengths", "segments", "alibi", "scale", "lse")


@pytest.mark.parametrize(
    ("spec", "mask", "strategy", "asked", "shape", "K"),
    [
        (RICH, "window", "ring", EVERYTHING, (2, 2, 2), 2),
        (RICH, "window", "all_gather", EVERYTHING, (2, 2, 2), 2),
        (RICH, "window", "all_to_all", EVERYTHING, (2, 2, 2), 2),
        (Softmax(), "causal", "ring", ("bias",), (1, 1, 4), 1),
        (RICH, "causal", "ring", ("tiles", "padding", "lse"), (1, 1, 2), 2),
        exhaustive(RICH, "window", "ring", ("tiles", *EVERYTHING), (2, 2, 2), 2),
        exhaustive(Softmax(), "causal", "ring", ("lse",), (1, 1, 4), 4),
        exhaustive(Softmax(), "causal", "ring", ("positions",), (1, 1, 4), 4),
        exhaustive(Softmax(), "full", "ring", ("segments",), (1, 1, 8), 2),
        exhaustive(Softmax(), "causal", "all_gather", ("positions",), (1, 1, 4), 1),
        exhaustive(Softmax(), "causal", "all_gather", ("bias",), (1, 2, 4), 2),
        exhaustive(Softmax(), "causal", "all_to_all", ("bias",), (1, 2, 2), 1),
        exhaustive(RICH, "causal", "ring", (), (1, 1, 4), 2),
    ],
    ids=lambda x: getattr(x, "name", str(x)),
)
def test_options_of_softmax_give_what_one_device_gives(
    spec, mask, strategy, asked, shape, K
):
    assert_as_one_device(spec, MASKS[mask], strategy, asked, shape, K)


SCANS = [
    (n, mask) for n, mask, strategy, able in cells() if able and strategy == "scan"
]


@pytest.mark.parametrize(
    ("name", "mask"),
    [c if c == ("gated_delta", "causal") else exhaustive(*c) for c in SCANS],
)
def test_a_scan_with_padding_and_groups_gives_what_one_device_gives(name, mask):
    asked, shape = ("padding", "lengths"), (2, 2, 2)
    assert_as_one_device(naive.SPECS[name], MASKS[mask], "scan", asked, shape, 2)


def test_scan_has_one_implementation_and_says_so():
    spec = naive.SPECS["linear"]
    moving = arrays_of(spec, N)
    with jax.set_mesh(make((1, 1, 2))):
        moving = {n: laid(n, x, 1) for n, x in moving.items()}
        with pytest.raises(UserError, match=r"impl = 'recurrent' .* is 'chunked'"):
            attend(spec, **moving, mask=Causal(), impl="recurrent", strategy="scan")


def test_what_a_divided_call_chose_is_recorded():
    moving = arrays_of(Softmax(), N)
    with jax.set_mesh(make((1, 1, 2))), recording() as found:
        moving = {n: laid(n, x, 1) for n, x in moving.items()}
        jax.eval_shape(partial(attend, Softmax(), strategy="ring"), **moving)
    assert [(x.implementation, x.reason) for x in found] == [
        ("ring of dense", "asked for by name; 512 scores are within 1,048,576")
    ]


def test_the_table_has_every_mechanism_and_a_strategy_for_each():
    assert {row.kernel for row in table()} == set(KERNELS)
    assert all(row.strategies for row in table() if row.mask != "per_head")


def test_every_cell_of_the_table_is_held_to_one_device():
    rows = [(row.kernel, row.mask, row) for row in table()]
    served = {(*cell, s) for *cell, row in rows for s in row.strategies}
    with_sinks = {(*cell, s) for *cell, row in rows for s in row.sinks}
    assert {getattr(case, "values", case) for case in DECLARED} == served
    assert {case.values for case in WITH_SINKS} == with_sinks
    family = {name for name, kind in KERNELS.items() if issubclass(kind, Softmax)}
    assert {name for name, *_ in with_sinks} == family
