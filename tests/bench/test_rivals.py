"""Every rival computes attention, or says why it does not."""

import importlib.util
import json
import math
import os
import re
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from attn.attention.backends import BACKENDS
from attn.bench import check, command, rival
from attn.bench.cases import MASKS, Case
from attn.bench.check import (
    TOLERANCE,
    Inputs,
    checked_heads,
    definition,
    largest_error,
)
from attn.bench.command import Benching
from attn.bench.libraries import JaxNN, all_rivals
from attn.bench.race import prepare
from attn.bench.rival import Unsupported, require_memory
from attn.errors import UserError
from attn.masks import FULL, Causal, Global, Window
from experiments.benchmarks import RESULTS, SUITES

ROOT = Path(__file__).parents[2]
SMALL = dict(B=2, N=4, K=2, H=8)
CASES = [
    Case(24, Causal(), backward=True, **SMALL),
    Case(24, Global(2) | Window(3, 0), backward=True, **SMALL),
    Case(24, Window(5, 3), dtype="bfloat16", keys=20, **SMALL),
]


def by_loops(case: Case, inputs: Inputs) -> np.ndarray:
    """softmax(q k^T / sqrt(H)) v, one query at a time, in float64."""
    out = np.zeros(inputs.q.shape)
    for b, t, n in np.ndindex(case.B, case.T, case.N):
        head = n // (case.N // case.K)
        seen = [s for s in range(case.S) if case.mask.predicate(t, s)]
        scores = inputs.k[b, seen, head].astype(float) @ inputs.q[b, t, n]
        weights = np.exp(scores / math.sqrt(case.H))
        out[b, t, n] = weights @ inputs.v[b, seen, head] / weights.sum()
    return out


@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_the_definition_is_the_definition(case):
    inputs = Inputs.make(case)
    np.testing.assert_allclose(
        definition(case, inputs)[0], by_loops(case, inputs), atol=2e-6
    )


def test_the_definition_has_the_gradients_of_finite_differences():
    case = Case(6, Causal(), backward=True, N=2, K=1, H=3)
    inputs = Inputs.make(case)
    found = definition(case, inputs)[1:]
    for which, gradient in enumerate(found):
        for index in [(0, 1, 0, 2), (0, 4, 0, 0)]:
            ends = []
            for step in (1e-3, -1e-3):
                moved = [x.astype(float) for x in inputs.arrays]
                moved[which][index] += step
                ends.append((by_loops(case, Inputs(*moved)) * inputs.g).sum())
            slope = (ends[0] - ends[1]) / 2e-3
            assert gradient[index] == pytest.approx(slope, abs=1e-5)


JAX_RIVALS = [n for n in all_rivals() if n not in ("torch flex", "fla")]


@pytest.mark.parametrize("name", JAX_RIVALS)
@pytest.mark.parametrize("case", CASES, ids=lambda case: case.name)
def test_every_rival_gives_the_definition_or_a_reason(name, case):
    one = all_rivals()[name]
    reason = one.why_unsupported(case)
    if reason is not None:
        fused = name.removeprefix("attn ") in BACKENDS
        known = ("not installed", "attn chose", "takes as many")
        assert fused or reason.startswith(known)
        return
    inputs = Inputs.make(case)
    built = one.build(case, inputs)
    assert largest_error(case, built.outputs, definition(case, inputs)) < (
        0.1 * TOLERANCE[case.dtype] if case.dtype == "float32" else 2e-2
    )
    assert len(built.outputs) == (4 if case.backward else 1)


def test_long_cases_are_checked_on_the_first_and_the_last_head(monkeypatch):
    case = Case(40, Window(1, 0), N=6, K=3, H=2)
    assert checked_heads(case) == [0, 1, 2]
    monkeypatch.setattr(check, "MANY_SCORES", 1599)
    assert checked_heads(case) == [0, 2]
    inputs = Inputs.make(case)
    expected = definition(case, inputs)
    right = by_loops(case, inputs)
    np.testing.assert_allclose(expected[0], right[:, :, [0, 1, 4, 5]], atol=2e-6)
    assert largest_error(case, [right], expected) < 1e-6
    right[0, 0, 5, 0] += 1
    assert largest_error(case, [right], expected) > 0.1


def test_an_error_is_relative_to_the_largest_value_and_never_hidden():
    case = Case(2, N=1, K=1, H=2)
    right = [np.full((1, 2, 1, 2), 4.0, np.float32)]
    off = right[0].copy()
    off[0, 1, 0, 1] = 3.0
    assert largest_error(case, [off], right) == 0.25
    assert largest_error(case, [off * np.nan], right) == math.inf
    assert largest_error(case, [], right) == math.inf


class Broken(JaxNN):
    name = "broken"

    def function(self, case):
        return lambda q, k, v, mask=None: q * 0.5


class Raising(JaxNN):
    name = "raising"

    def function(self, case):
        raise RuntimeError("no such\nkernel")


def test_a_wrong_rival_is_reported_and_not_timed():
    case = Case(16, N=1, K=1, H=4)
    inputs = Inputs.make(case)
    row, call = prepare(Broken(), case, inputs, definition(case, inputs))
    assert (row.status, call) == ("wrong", None)
    assert row.error > 0.1
    assert "not timed" in row.reason
    row, call = prepare(Raising(), case, inputs, definition(case, inputs))
    assert (row.status, row.reason) == ("failed", "RuntimeError: no such kernel")
    assert call is None


def test_refusals_say_why(monkeypatch):
    every = all_rivals()
    assert every["torch flex"].why_unsupported(Case(8, backward=True)) == (
        "has no backward pass on the CPU"
    )
    assert "1024 tiles" in every["attnax"].why_unsupported(Case(16384))
    assert "key/value heads" in every["attnax"].why_unsupported(Case(8, N=4, K=2))
    assert "attn chose dense" in every["attn dense"].why_unsupported(Case(8))
    monkeypatch.setattr(rival, "find_spec", lambda name: None)
    for name in ("torch sdpa", "attnax", "flax"):
        package = every[name].package
        assert (
            every[name].why_unsupported(Case(8))
            == f"not installed: pip install {package}"
        )
    # Its own requirements undo those of the command line.
    assert "CONTRIBUTING.md" in every["tokamax"].why_unsupported(Case(8))


def test_a_call_that_memory_cannot_hold_is_refused(monkeypatch):
    monkeypatch.setattr(rival, "free_memory", lambda: 2.0 * 2**30)
    require_memory(1.5 * 2**30)
    with pytest.raises(
        Unsupported, match=r"needs 1\.7 GiB of scratch; 2\.0 GiB are free"
    ):
        require_memory(1.7 * 2**30)


def test_masks_go_by_flags_where_a_library_has_them():
    for mask in (FULL, Causal(), Window(7, 0), Causal() & Window(7, 2)):
        assert not JaxNN().wants_mask(Case(16, mask))
    for mask in (Window(7, 2), Causal(offset=1), Global(2)):
        assert JaxNN().wants_mask(Case(16, mask))


def test_masks_have_names_of_their_own():
    assert len(set(MASKS.values())) == len(MASKS)
    assert Case(8, Window(255, 0)).mask_name == "window 256"
    assert Case(8, Window(3, 0)).mask_name == "Window(3, 0)"


def test_a_case_of_nothing_is_refused():
    with pytest.raises(UserError, match="T = 0"):
        Case(0)


def launch(*words):
    return subprocess.run(
        [sys.executable, str(ROOT / "launch.py"), "bench", *words],
        cwd=ROOT,
        env={k: v for k, v in os.environ.items() if k != "XLA_FLAGS"}
        | {"JAX_PLATFORMS": "cpu"},
        capture_output=True,
        text=True,
        timeout=250,
    )


@pytest.mark.slow
@pytest.mark.exhaustive
def test_the_door_runs_a_bench_and_writes_what_it_prints(tmp_path):
    words = ("--suite", "quick", "--only", "256 x 8 x 64, forward", "--json")
    done = launch(*words, "--out", str(tmp_path))
    assert done.returncode == 0, done.stderr
    record = json.loads(done.stdout)
    (case,) = record["cases"]
    rows = {row["rival"]: row for row in case["rows"]}
    assert rows["attn"]["ratio"] == {"median": 1.0, "low": 1.0, "high": 1.0}
    assert len(rows["jax.nn"]["samples_ms"]) == record["rounds"] == 5
    assert rows["jax.nn"]["error"] < 1e-5
    if importlib.util.find_spec("torch") is None:
        assert rows["torch sdpa"]["reason"] == "not installed: pip install torch"
    if sys.platform == "linux":
        assert "hugetlb" in record["machine"]["glibc_tunables"]
    (data,) = tmp_path.glob("*-quick.json")
    assert json.loads(data.read_text()) == record
    assert "| jax.nn |" in data.with_suffix(".md").read_text()


WRONG = {
    "need at least 5": Benching(rounds=4),
    "'causel' is in no name": Benching(only="causel"),
}


@pytest.mark.parametrize("said", WRONG)
def test_what_is_typed_wrong_is_said_before_anything_runs(said):
    with pytest.raises(UserError, match=re.escape(said)):
        command.check(WRONG[said], SUITES, RESULTS)


def test_a_part_of_a_suite_is_not_written_unless_told_where(tmp_path):
    whole = SUITES["targets"]
    assert command.check(Benching(), SUITES, RESULTS) == (whole, RESULTS)
    part, out = command.check(Benching(only="window 256, float32"), SUITES, RESULTS)
    assert out is None
    assert [race.case for race in part.races] == [
        Case(16384, Window(255, 0), backward=True)
    ]
    assert [t.title for t in part.targets] == [
        "window 256 forward + backward, 16,384 tokens"
    ]
    part, out = command.check(
        Benching(only="compiling", out=str(tmp_path / "new")), SUITES, RESULTS
    )
    assert out == tmp_path / "new"
    assert (part.races, part.density, part.lengths) == ((), (), whole.lengths)
    assert [t.kind for t in part.targets] == ["scratch", "growth", "compile"]
