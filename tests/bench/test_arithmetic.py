"""From made-up samples to ratios, verdicts and tables, with answers known by hand."""

import json
import time
from dataclasses import replace

import pytest

from attn.bench.cases import Case
from attn.bench.measure import (
    Spread,
    Warm,
    calls_a_sample,
    measure,
    paired,
    rotated,
    settle,
)
from attn.bench.panels import times_by_case
from attn.bench.plot import draw
from attn.bench.race import timed
from attn.bench.record import CaseRecord, CompileRecord, DensityRecord, Record, Row
from attn.bench.suite import Target
from attn.bench.table import make_tables, to_markdown, write
from attn.bench.verdicts import judge
from attn.errors import UserError
from attn.masks import FULL, Causal, Window
from attn.plots.style import LIGHT
from experiments.benchmarks import SUITES

CASE, OTHER = Case(8), Case(16)


def record_of(case: Case, **ratios: float) -> CaseRecord:
    rows = tuple(
        Row(name, "ok", ms=Spread(2.0, 1.0, 3.0), ratio=Spread(x, x / 2, 2 * x))
        for name, x in ratios.items()
    )
    shape = (case.name, case.mask_name, case.dtype, case.shape, case.backward)
    return CaseRecord(*shape, case.T, case.density, case.useful_flops, rows)


def compiled(tokens: int, temp: int | None, *seconds: float) -> CompileRecord:
    return CompileRecord(f"c{tokens}", tokens, seconds or (0.5,), temp)


def test_useful_flops_count_visible_pairs_only():
    # Causal on 4 tokens shows 10 pairs; each costs 2 products of H = 2 terms, 2 heads.
    assert Case(4, Causal(), N=2, K=1, H=2).useful_flops == 10 * 2 * 2 * 2 * 2
    assert Case(4, FULL, N=2, K=2, H=2).useful_flops == 16 * 16
    # A window of 2 on 4 tokens shows 1 + 2 + 2 + 2.
    assert Case(4, Window(1, 0), B=3, N=1, K=1, H=5).useful_flops == 7 * 4 * 5 * 3
    assert Case(3, FULL, N=1, K=1, H=1, keys=7).useful_flops == 21 * 4


def test_backward_counts_two_and_a_half_times_forward():
    forward, both = Case(64), Case(64, backward=True)
    assert both.useful_flops == 3.5 * forward.useful_flops


def test_ratios_are_paired_within_the_round():
    # The machine slows down fivefold in the middle: no ratio sees it.
    ours, theirs = [1.0, 5.0, 2.0], [3.0, 10.0, 8.0]
    assert paired(theirs, ours) == Spread(3.0, 2.0, 4.0)
    with pytest.raises(ValueError, match="longer than"):
        paired([1.0], ours)


def test_a_row_gets_its_times_rate_and_share():
    samples, ours = (0.2, 0.1, 0.4), (0.1, 0.1, 0.1)
    row = timed(Row("x", "ok"), samples, ours, flops=4e9, rate=80.0)
    assert row.ms == Spread(200.0, 100.0, 400.0)
    assert row.ratio == Spread(2.0, 1.0, 4.0)
    assert row.gflops == pytest.approx(20.0)
    assert row.share == pytest.approx(0.25)
    assert timed(Row("x", "ok"), samples, None, flops=4e9, rate=80.0).ratio is None


def test_short_calls_are_repeated_and_long_ones_are_not():
    assert calls_a_sample(0.005) == 1
    assert calls_a_sample(0.004) == 5
    assert calls_a_sample(1e-5) == 2000


def test_every_round_runs_everybody_and_nobody_is_always_first():
    heard = []
    calls = {name: Warm(lambda n=name: heard.append(n), 1.0) for name in "abc"}
    found = measure(calls, rounds=3, each=lambda: heard.append("|"))
    assert "".join(heard) == "a|b|c|b|c|a|c|a|b|"
    assert [len(samples) for samples in found.values()] == [3, 3, 3]
    assert rotated("abc", 4) == ["b", "c", "a"]
    assert measure({}, rounds=3) == {}


def test_settling_waits_for_busy_threads_and_not_for_ever(monkeypatch):
    def waited(**limits):
        start = time.perf_counter()
        settle(**limits)
        return time.perf_counter() - start

    monkeypatch.setattr(time, "process_time", time.perf_counter)  # always busy
    assert waited(limit=0.02) >= 0.02
    monkeypatch.setattr(time, "process_time", lambda: 0.0)  # never busy
    assert waited(limit=10.0) < 1.0
    readings = iter([0.0, 1.0, 1.0, 1.0])  # busy for one nap
    monkeypatch.setattr(time, "process_time", lambda: next(readings))
    assert 0.008 <= waited(limit=10.0, nap=0.004) < 1.0


@pytest.mark.parametrize(
    "ratio, verdict", [(8.0, "aim met"), (7.9, "met"), (4.0, "met"), (3.9, "missed")]
)
def test_speed_is_judged_by_its_median(ratio, verdict):
    target = Target("t", "speed", 4.0, 8.0, "jax.nn", (CASE,))
    found = judge(target, [record_of(CASE, **{"jax.nn": ratio})], [], [])
    assert found.verdict == verdict
    assert found.found == Spread(ratio, ratio / 2, 2 * ratio)


def test_the_worst_case_counts():
    target = Target("t", "speed", 1.0, 2.0, "rival", (CASE, OTHER))
    records = [record_of(CASE, rival=3.0), record_of(OTHER, rival=0.5)]
    found = judge(target, records, [], [])
    assert (found.verdict, found.where) == ("missed", OTHER.name)


def test_a_rival_without_times_leaves_the_target_unmeasured():
    target = Target("t", "speed", 1.0, 2.0, "rival", (CASE, OTHER))
    refused = replace(record_of(CASE), rows=(Row("rival", "unsupported", "no torch"),))
    found = judge(target, [refused, record_of(OTHER, rival=9.0)], [], [])
    assert (found.verdict, found.found) == ("not measured", None)
    assert found.where == f"{CASE.name}: rival: no torch"
    assert judge(target, [], [], []).where == f"{CASE.name}: not run"


def test_the_worst_mask_counts_and_the_dense_one_does_not():
    def under(density, excess):
        spread = Spread(excess, excess, excess)
        return DensityRecord(
            f"d{density}", density, (1.0,), Spread(1.0, 1.0, 1.0), spread
        )

    target = Target("t", "density", 1.3, 1.1)
    records = [under(1.0, 7.0), under(0.5, 1.05), under(0.1, 1.2)]
    found = judge(target, [], records, [])
    assert (found.found, found.where) == (Spread(1.2, 1.2, 1.2), "d0.1")
    assert found.verdict == "met"
    assert judge(target, [], records[:1], []).verdict == "not measured"


def test_scratch_and_growth_are_of_the_greatest_length():
    records = [compiled(64, 30_000_000), compiled(4, 1000), compiled(16, 6_000_000)]
    scratch = judge(Target("t", "scratch", 64.0, 16.0), [], [], records)
    growth = judge(Target("t", "growth", 4.5, 4.0), [], [], records)
    assert (scratch.found.median, scratch.verdict) == (30.0, "met")
    assert (growth.found.median, growth.verdict) == (5.0, "missed")
    assert growth.where == "16 to 64 tokens"
    silent = [compiled(64, None)]
    assert judge(Target("t", "scratch", 64.0, 16.0), [], [], silent).found is None
    assert judge(Target("t", "growth", 4.5, 4.0), [], [], silent).found is None


def test_the_slowest_compilation_counts():
    records = [compiled(64, 1, 0.4, 0.9, 0.3), compiled(16, 1, 1.2, 0.1, 0.1)]
    found = judge(Target("t", "compile", 3.0, 1.0), [], [], records)
    assert (found.found, found.where) == (Spread(1.2, 0.1, 1.2), "c16")
    assert found.verdict == "met"


MACHINE = {
    "platform": "cpu",
    "cpu": "Intel(R) Xeon(R) Processor",
    "cores": 2,
    "matmul_gflops": {"float32": 300.0},
    "glibc_tunables": "",
    "git_commit": "0123456789abcdef",
    "git_dirty": True,
    "jax": "1.2.3",
    "torch": None,
    "date": "2026-01-02 03:04 UTC",
}


@pytest.fixture
def record():
    rows = (
        Row(
            "attn", "ok", "blockwise", (20.0, 10.0, 40.0), temp_bytes=3 << 20, error=0.0
        ),
        Row("torch sdpa", "unsupported", "not installed: pip install torch"),
        Row("odd", "wrong", "off by 3.0e-01", error=0.3),
        Row("old", "slow", "one call took 70 s", (70_000.0,), error=1e-6),
    )
    ms, one = Spread(20.0, 10.0, 40.0), Spread(1.0, 1.0, 1.0)
    timed_row = replace(rows[0], ms=ms, ratio=one, gflops=12.345, share=0.04)
    case = replace(record_of(CASE), rows=(timed_row, *rows[1:]))
    masks = DensityRecord("a | b", 0.25, (1.0, 2.0), ms, Spread(1.2, 1.1, 1.3))
    target = Target("fast", "speed", 4.0, 8.0, "torch sdpa", (CASE,))
    compiling = (compiled(64, 2 << 20, 0.5, 0.7),)
    judged = (judge(target, [case], [masks], compiling),)
    return Record("quick", 3, MACHINE, (case,), (masks,), compiling, judged)


def test_markdown_says_what_the_record_holds(record):
    page = to_markdown(record)
    assert "| attn | 20.0 (10.0 to 40.0) | 1.00 | 12.3 | 4% | 3.00 MiB | 0 |" in page
    assert "unsupported: not installed: pip install torch |" in page
    assert "| odd | - | - | - | - | - | 3e-01 | wrong: off by 3.0e-01 |" in page
    assert "| old | 70000 once |" in page
    assert "| a \\| b | 25.00% | 20.0 (10.0 to 40.0) | 1.20 (1.10 to 1.30) |" in page
    assert "| c64 | 0.600 (0.500 to 0.700) | 2.00 MiB |" in page
    assert "| fast | torch sdpa | >= 4x | 8x | - | not measured |" in page
    assert "commit 0123456789 (dirty) · GLIBC_TUNABLES=unset · 3 rounds" in page
    assert "torch None" not in page
    assert all(
        len(r.cells) == len(t.columns) for t in make_tables(record) for r in t.rows
    )


def test_results_are_written_by_machine_and_suite(record, tmp_path):
    data, page = write(record, tmp_path / "new")
    assert data.name == "intel-xeon-processor-2-cores-quick.json"
    assert page.read_text() == to_markdown(record)
    kept = json.dumps(record.to_json(), allow_nan=False)
    assert json.loads(data.read_text()) == json.loads(kept)
    write(record, tmp_path / "new")
    (tmp_path / "file").touch()
    with pytest.raises(UserError, match="choose another --out"):
        write(record, tmp_path / "file")


def test_the_targets_hold_every_case_that_they_judge():
    for suite in SUITES.values():
        cases = {race.case for race in suite.races} | {*suite.models}
        assert all(cases.issuperset(target.cases) for target in suite.targets)
        names = [case.name for case in cases]
        assert len(set(names)) == len(names)
        for backward in (False, True):
            group = [c for c in suite.density if c.backward == backward]
            assert [c.density for c in group].count(1.0) == bool(group)
    assert {t.kind for t in SUITES["targets"].targets} == {
        *("speed", "density", "scratch", "growth", "compile")
    }


def test_a_panel_holds_what_differs_in_tokens_alone(record, tmp_path):
    short, long = record_of(Case(8), a=1.0, b=2.0), record_of(Case(32), a=1.0)
    odd = [record_of(Case(8, backward=True), a=1.0), record_of(Case(64, H=8), a=1.0)]
    many = replace(record, cases=(short, long, *odd))
    ms = Spread(2.0, 1.0, 3.0)
    lines = {"a": {8: ms, 32: ms}, "b": {8: ms}}
    assert times_by_case(many) == {"causal, forward\nfloat32, 1 x T x 8 x 64": lines}
    assert draw(record, LIGHT) is None
    assert [path.suffix for path in write(many, tmp_path)] == [".json", ".md", ".png"]
