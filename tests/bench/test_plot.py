"""The picture of a suite: an axis always tells its scale, and titles do not touch."""

import itertools
import math

import numpy as np
import pytest

from attn.bench.cases import MASKS, Case
from attn.bench.measure import Spread
from attn.bench.plot import draw, log_ticks
from attn.bench.record import CaseRecord, Record, Row
from attn.masks import Causal, Window
from attn.plots.style import LIGHT

LENGTHS = (4096, 16_384)
LONG = MASKS["causal & (global 64 | window 1024)"]


def record_of(times: dict[Case, tuple[float, ...]]) -> Record:
    """A record of cases at two lengths, with milliseconds of each rival at each."""
    cases = []
    for case, ms in times.items():
        spreads = [Spread(x, x, x) for x in ms]
        rows = [Row(f"rival {i}", "ok", ms=one) for i, one in enumerate(spreads)]
        shape = (case.name, case.mask_name, case.dtype, case.shape, case.backward)
        cost = case.T, case.density, case.useful_flops
        cases.append(CaseRecord(*shape, *cost, tuple(rows)))
    return Record("quick", 3, {}, tuple(cases), (), (), ())


def at_both(*, ms: tuple[float, float], **knobs) -> dict[Case, tuple[float, ...]]:
    return {Case(T, **knobs): (one,) for T, one in zip(LENGTHS, ms, strict=True)}


def panels(record: Record):
    figure = draw(record, LIGHT)
    assert figure is not None
    figure.draw_without_rendering()
    return [axes for axes in figure.axes if axes.get_visible()]


@pytest.mark.parametrize("ms", [(1.5, 9.0), (2.1, 4.9), (2.2, 2.9), (30.0, 31.0)])
def test_times_within_a_decade_have_ticks_with_labels(ms):
    (axes,) = panels(record_of(at_both(ms=ms)))
    low, high = axes.get_ylim()
    ticks = dict(zip(axes.get_yticks(), axes.get_yticklabels(), strict=True))
    shown = [text.get_text() for at, text in ticks.items() if low <= at <= high]
    assert len({*shown} - {""}) >= 2


def test_ticks_are_decades_or_closer_where_few_are_shown():
    assert log_ticks(0.5, 600.0) == [1, 10, 100]
    assert log_ticks(0.4, 40.0) == [0.5, 1, 2, 5, 10, 20]
    assert log_ticks(1.4, 9.5) == [2, 3, 5, 7]
    assert log_ticks(2.5, 6.5) == [3, 4, 5, 6]
    for low, ratio in itertools.product(np.geomspace(0.01, 1, 50), (1.05, 1.3, 2, 8)):
        ticks = log_ticks(low, low * ratio)
        assert 2 <= len(ticks) <= 8
        assert low <= min(ticks) < max(ticks) <= low * ratio
    assert math.isclose(log_ticks(0.02, 0.09)[0], 0.02)


@pytest.mark.parametrize("mask", [Causal(), LONG, LONG & Window(5, 5)], ids=repr)
def test_titles_touch_neither_the_next_panel_nor_the_edge(mask):
    knobs = {"dtype": "bfloat16", "backward": True, "B": 4, "N": 16, "K": 4}
    times: dict[Case, tuple[float, ...]] = {}
    for width in (64, 128):
        times |= at_both(ms=(1.5, 9.0), mask=mask, H=width, **knobs)
    left, right = panels(record_of(times))
    titles = [axes._left_title for axes in (left, right)]
    ends = [title.get_window_extent().x1 for title in titles]
    assert ends[0] < right.get_window_extent().x0 - 10
    assert ends[1] <= right.figure.bbox.x1
    tops = [title.get_window_extent().y1 for title in titles]
    assert max(tops) < right.figure._suptitle.get_window_extent().y0
