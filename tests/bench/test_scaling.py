"""Exponents and crossings with answers known by hand, and a small suite run."""

import json
import math
import time
from dataclasses import dataclass, replace
from typing import ClassVar

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn.attention.choose import DENSE_SCORES
from attn.bench import command
from attn.bench.cases import Case
from attn.bench.cells import exponent, overtaken
from attn.bench.command import Benching
from attn.bench.measure import Spread, Warm, measure, rounds_within
from attn.bench.ours import Mechanism, runners
from attn.bench.race import timed
from attn.bench.record import Crossover, Fit, GrowthRecord, Record, Row
from attn.bench.run import run_suite, total_work
from attn.bench.scaling import crossover, fit
from attn.bench.suite import Scaling, Suite, Target
from attn.bench.table import write
from attn.bench.verdicts import judge
from attn.errors import UserError
from attn.kernels import KERNELS, Kernel
from experiments.benchmarks import RESULTS, SUITES
from experiments.benchmarks.mechanisms import KNOBS, TARGETS

LENGTHS = (1024, 2048, 4096, 8192)


@pytest.mark.parametrize("power", [0.0, 1.0, 1.5, 2.0])
def test_a_fit_gives_back_the_exponent(power):
    found = fit({t: 3.0 * t**power for t in LENGTHS})
    assert found is not None
    assert found.tokens == LENGTHS
    assert found.exponent == pytest.approx(power, abs=1e-9)
    assert found.error == pytest.approx(0, abs=1e-7)


def test_the_standard_error_is_that_of_a_slope():
    random = np.random.default_rng(0)
    values = {t: 2.0 * t**1.3 * math.exp(0.1 * random.normal()) for t in LENGTHS}
    (slope, _), spread = np.polyfit(
        np.log(LENGTHS), np.log(list(values.values())), 1, cov=True
    )
    found = fit(values)
    assert found is not None
    assert found.exponent == pytest.approx(slope)
    assert found.error == pytest.approx(math.sqrt(spread[0, 0]))


def test_a_line_needs_two_lengths_an_error_three_and_no_cost_is_nothing():
    assert fit({}) is None
    assert fit({64: 1.0}) is None
    assert fit({64: 0.0, 128: 5.0}) is None
    found = fit({64: 1.0, 128: 2.0})
    assert found is not None
    assert (round(found.exponent, 9), found.error) == (1.0, None)


CROSSINGS = {
    "half way on the log scale": ((2.0, 0.5, 0.1, 0.1), Crossover("at", 1448)),
    "a third of the way": ((2.0, 0.25, 0.1, 0.1), Crossover("at", 1290)),
    "the last time counts": ((2.0, 0.5, 2.0, 0.5), Crossover("at", 5793)),
    "as fast is not faster": ((2.0, 1.0, 0.5, 0.4), Crossover("at", 2048)),
    "always": ((0.9, 0.5, 0.5, 0.4), Crossover("below", 1024)),
    "later": ((8.0, 4.0, 2.0, 1.1), Crossover("beyond", 8192)),
    "never": ((3.0, 3.1, 2.9, 3.0), Crossover("never", 8192)),
    "ever slower": ((0.5, 2.0, 4.0, 8.0), Crossover("never", 8192)),
}


@pytest.mark.parametrize("title", CROSSINGS)
def test_a_crossing_is_read_between_lengths(title):
    ratios, expected = CROSSINGS[title]
    assert crossover(dict(zip(LENGTHS, ratios))) == expected


def test_one_length_tells_no_crossing():
    assert crossover({}) is crossover({1024: 0.5}) is None


def test_numbers_are_written_for_a_reader():
    assert exponent(Fit(1.016, 0.034, LENGTHS), 4) == "1.02 ± 0.03"
    assert exponent(Fit(1.016, None, LENGTHS[:2]), 4) == "1.02 (2 lengths)"
    assert exponent(None, 4) == overtaken(None) == "-"
    said = [overtaken(Crossover(kind, 1730)) for kind in ("below", "at", "beyond")]
    assert said == ["below 1,730", "1,730", "beyond 1,730"]
    assert overtaken(Crossover("never", 1730)) == "never seen"


WRONG = {
    "two or more, rising": {"lengths": (64,)},
    "scaling needs two": {"lengths": (128, 64), "mark": 64},
    "mark = 96": {"mark": 96},
    "fit_from = 128; a line needs two": {"fit_from": 128},
}


@pytest.mark.parametrize("said", WRONG)
def test_a_scaling_that_tells_nothing_is_refused(said):
    with pytest.raises(UserError, match=said):
        Scaling(**{"lengths": (64, 128), "fit_from": 64, "mark": 128, **WRONG[said]})


def test_a_mechanism_that_there_is_not_is_refused():
    scaling = Scaling((64, 128), 64, 128, mechanisms=("windw",))
    with pytest.raises(UserError, match="did you mean 'window'"):
        runners(scaling)
    with pytest.raises(UserError, match="a part of a mechanism's name"):
        command.check(Benching(suite="mechanisms", only="no such"), SUITES, RESULTS)


def test_a_part_of_the_scaling_is_by_name():
    part, out = command.check(
        Benching(suite="mechanisms", only="linear"), SUITES, RESULTS
    )
    assert part.scaling is not None
    assert set(part.scaling.mechanisms) == {
        name for name in KERNELS if "linear" in name
    }
    assert (out, part.targets) == (None, TARGETS)
    assert command.check(Benching(suite="mechanisms"), SUITES, RESULTS) == (
        SUITES["mechanisms"],
        RESULTS,
    )


def test_a_suite_that_there_is_not_is_refused_with_the_nearest_name():
    with pytest.raises(UserError, match="did you mean 'mechanisms'"):
        command.check(Benching(suite="mechanism"), SUITES, RESULTS)


@pytest.mark.parametrize("name", KERNELS)
def test_every_mechanism_has_a_meaning_at_every_length_of_the_suite(name):
    scaling = SUITES["mechanisms"].scaling
    assert scaling is not None
    for case in scaling.cases:
        assert Mechanism(name, KNOBS.get(name, {})).why_unsupported(case) is None


def test_knobs_stay_but_where_the_paper_lets_them_grow():
    for name in KNOBS.keys() & KERNELS.keys():
        spec = Mechanism(name, KNOBS[name]).spec
        assert (spec(1024) == spec(16384)) == (name not in ("strided", "fixed"))
    assert Mechanism("strided", KNOBS["strided"]).spec(4096).stride == 64  # pyright: ignore


def test_who_is_slow_sits_out_and_is_paired_within_its_own_rounds():
    assert [rounds_within(6.0, once, 5) for once in (1.2, 1.6, 9.0)] == [5, 3, 3]
    heard = []
    calls = {
        name: Warm(lambda n=name: heard.append(n), once)
        for name, once in {"a": 0.1, "b": 2.0}.items()
    }
    found = measure(calls, rounds=5, budget=6.0)
    assert [len(found[name]) for name in "ab"] == [5, 3]
    assert "".join(heard) == "abbaabaa"
    slow, fast = (4.0, 6.0, 8.0), (1.0, 2.0, 4.0, 9.0, 9.0)
    row = timed(Row("x", "ok"), slow, fast, None, 80.0)
    assert (row.ratio, row.gflops, row.share) == (Spread(3.0, 2.0, 4.0), None, None)
    assert timed(Row("x", "ok"), fast, slow, None, 80.0).ratio == Spread(
        1 / 3, 0.25, 0.5
    )


def grown(mechanism, power, backward=True, ratio=0.5, **others):
    one = Fit(power, 0.1, LENGTHS)
    record = GrowthRecord(
        mechanism, "sparse", mechanism, backward, one, one,
        Spread(ratio, ratio, ratio), None, 1.0, "",
    )  # fmt: skip
    return replace(record, **others)


def test_the_worst_of_those_named_counts():
    records = [grown("a", 1.1), grown("b", 1.2, family="f"), grown("c", 2.0)]
    target = Target("t", "time exponent", 1.3, 1.0, who=("a", "f"))
    found = judge(target, [], [], [], records)
    assert (found.verdict, found.where) == ("met", "b, forward + backward")
    assert found.found is not None
    assert (found.found.low, found.found.high) == pytest.approx((1.1, 1.3))
    everyone = judge(replace(target, who=()), [], [], [], records)
    assert (everyone.verdict, everyone.where[0]) == ("missed", "c")
    silent = [*records, grown("a", 1.0, backward=False, time=None, note="it broke")]
    unknown = judge(target, [], [], [], silent)
    assert (unknown.verdict, unknown.where) == (
        "not measured",
        "a, forward: no number: it broke",
    )
    assert judge(target, [], [], [], []).where == "not run"


def test_ratios_are_judged_with_gradients_alone():
    records = [grown("a", 1.0, ratio=0.7), grown("a", 1.0, backward=False, ratio=3.0)]
    found = judge(Target("t", "time ratio", 1.0, 0.5), [], [], [], records)
    assert (found.found, found.verdict) == (Spread(0.7, 0.7, 0.7), "met")
    slow = [grown("a", 1.0, compile_seconds=5.1), grown("b", 1.0)]
    found = judge(Target("t", "compile each", 5.0, 2.0), [], [], [], slow)
    assert (found.verdict, found.where) == ("missed", "a, forward + backward")


@dataclass(frozen=True)
class Odd(Kernel):
    name = "odd"
    family = "recurrent"
    can: ClassVar = frozenset({"causal"})

    def __call__(self, q, k, v, *, mask):
        raise RuntimeError("no such\nkernel")


class Wild(Odd):
    name = "wild"

    def __call__(self, q, k, v, *, mask):
        return v / 0.0


class Late(Odd):
    name = "late"

    def __call__(self, q, k, v, *, mask):
        shape = jax.ShapeDtypeStruct(v.shape, v.dtype)

        def wait(v):
            time.sleep(1.2)
            return np.asarray(v)

        return jax.pure_callback(wait, shape, v, vmap_method="expand_dims")


TINY = Scaling(
    (256, 512),
    256,
    512,
    ("window", "linformer", "odd", "wild", "late"),
    KNOBS,
    2,
    8,
    1.0,
)


class Silent:
    """A display that shows nothing, and counts."""

    def __init__(self):
        self.work = 0.0

    def begin(self, name, steps, work=None):
        self.work += work or steps

    def note(self, text):
        pass

    def advance(self, step, steps, values):
        assert 0 <= step <= steps


@pytest.fixture(scope="module")
def measured() -> Record:
    suite = Suite((), targets=TARGETS, scaling=TINY)
    with pytest.MonkeyPatch.context() as patch:
        for kernel in (Odd, Wild, Late):
            patch.setitem(KERNELS, kernel.name, kernel)
        # So that softmax takes the tiles, and its definition is another rival.
        patch.setitem(DENSE_SCORES, "cpu", 0)
        watch = Silent()
        record = run_suite("mechanisms", suite, 5, watch)
        # Who was slow is not run at the other lengths.
        assert 0.8 < watch.work / total_work(suite, 5) <= 1.0
        return record


@pytest.mark.slow
def test_everyone_is_run_and_who_cannot_says_why(measured):
    assert [(case.tokens, case.backward) for case in measured.cases] == [
        *((256, False), (256, True), (512, False), (512, True))
    ]
    first, second, *_, last = measured.cases
    for case in measured.cases:
        for name in ("attn", "attn dense", "window", "linformer"):
            row = case.row(name)
            assert (row.status, len(row.samples_ms)) == ("ok", 5)
            assert row.temp_bytes > 0
        assert case.row("attn").ratio.median == 1.0
        assert case.row("attn").error < 1e-5
        assert case.row("window").error is case.row("window").gflops is None
        assert case.row("linformer").reason == "rank 256, over all keys"
        assert case.row("odd").reason == "RuntimeError: no such kernel"
        assert case.row("wild").status == "wrong"
    assert first.row("late").status == "slow"
    assert second.row("late").status == last.row("late").status == "unsupported"
    assert last.row("late").reason == "one call took 1 s at 256 tokens, forward"


@pytest.mark.slow
def test_growth_has_a_line_for_everyone_in_both_directions(measured):
    assert [one.mechanism for one in measured.growth[::2]] == [
        *("softmax", "softmax by definition", "window", "linformer"),
        *("odd", "wild", "late"),
    ]
    by_name = {(one.mechanism, one.backward): one for one in measured.growth}
    dense = by_name["softmax by definition", True]
    assert dense.time.tokens == dense.scratch.tokens == (256, 512)
    assert dense.scratch.exponent == pytest.approx(2.0, abs=0.2)
    assert by_name["softmax", True].crossover is None
    odd = by_name["odd", False]
    assert (odd.time, odd.scratch, odd.ratio, odd.crossover) == (None,) * 4
    assert odd.note == "256 tokens: failed: RuntimeError: no such kernel"
    assert by_name["late", False].note.startswith("256 tokens: slow: one call took")
    verdicts = {target.title: target.verdict for target in measured.targets}
    assert verdicts["scratch exponent, softmax by definition"] == "aim met"
    # The recurrent ones here gave no numbers.
    assert list(verdicts.values()).count("not measured") == 4


@pytest.mark.slow
def test_a_scaling_is_written_as_data_page_and_picture(measured, tmp_path):
    data, page, picture = write(measured, tmp_path)
    assert json.loads(data.read_text())["growth"][0]["mechanism"] == "softmax"
    text = page.read_text()
    assert "exponents fitted to 256, 512 tokens" in text
    assert "| time over softmax at 512, forward | forward + backward |" in text
    assert "| odd | recurrent | - | - | - | - | - | - | - | - | - |" in text
    assert "| window | sparse | " in text
    assert picture.read_bytes()[:4] == b"\x89PNG"


def test_weights_that_are_trained_get_gradients_too():
    case = Case(256, N=2, K=2, H=8, backward=True)
    one = Mechanism("linformer", KNOBS["linformer"])
    assert one.trains_extras(case)
    assert not Mechanism("performer", {}).trains_extras(case)
    (weights,) = one.extras(case)
    assert jax.tree.map(jnp.shape, weights) == {"E": (2, 256, 256), "F": (2, 256, 256)}
