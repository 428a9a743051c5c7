"""Steps of decoding: what is decoded, how growth is judged, and what the table says."""

from dataclasses import replace

import jax.numpy as jnp
import numpy as np
import pytest

from attn.attention import attend
from attn.bench import command, decoding
from attn.bench.captions import DECODING_CAPTION
from attn.bench.cases import Case
from attn.bench.check import Inputs
from attn.bench.command import Benching
from attn.bench.measure import Spread
from attn.bench.ours import Mechanism
from attn.bench.panels import make_panels
from attn.bench.record import DecodingRecord, Record, Row, StepRecord
from attn.bench.run import total_work
from attn.bench.suite import DECODERS, Decoding
from attn.bench.table import to_markdown
from attn.bench.verdicts import judge
from attn.errors import UserError
from attn.kernels import KERNELS
from attn.masks import Causal
from attn.plots.style import LIGHT
from experiments.benchmarks import RESULTS, SUITES
from experiments.benchmarks.mechanisms import KNOBS

CASE = Case(16, N=2, K=2, H=4)
TINY = Decoding((8, 16), ("softmax", "linear"), heads=2, head_dim=4, steps=3)
STEPS = SUITES["decoding"]


class Silent:
    def begin(self, name, steps, work=None):
        self.steps, self.work, self.notes = steps, work, []

    def note(self, text):
        self.notes.append(text)

    def advance(self, step, steps, values):
        assert 1 <= step <= steps == self.steps


def test_the_steps_are_those_of_the_whole_sequence_and_a_call_can_be_repeated():
    one = Mechanism("window", {"width": 4})
    built = decoding.build(one, CASE, 3)
    q, k, v = map(jnp.asarray, Inputs.make(CASE).arrays[:3])
    whole = attend(one.spec(16), q, k, v, mask=Causal())
    (out,) = built.outputs
    np.testing.assert_allclose(out[:, :, 0], whole.swapaxes(0, 1)[-3:], atol=1e-5)
    for _ in range(2):
        (again,) = built.call()
    # The last query sees the three keys of this call, and one from before that is kept.
    np.testing.assert_array_equal(again[-1], out[-1])
    assert built.note == "width 4"


def test_all_that_decode_are_timed_at_all_lengths_in_one_race():
    watch = Silent()
    found = decoding.run_decoding(TINY, 5, watch)
    assert [one.mechanism for one in found] == ["softmax", "linear"]
    assert watch.steps == 2 * 2 * 5
    assert watch.work == total_work(replace(STEPS, decoding=TINY), 5)
    assert [note.partition(" ")[0] for note in watch.notes] == ["softmax", "linear"]
    for one in found:
        assert [x.tokens for x in one.steps] == [8, 16]
        assert [len(x.row.samples_ms) for x in one.steps] == [5, 5]
        assert one.apart == {}
    softmax, linear = ([x.cache_bytes for x in one.steps] for one in found)
    # Two heads of T keys and values, or of one state of H x (H + 1), in float32.
    assert softmax == [2 * T * (4 + 4) * 4 for T in (8, 16)]
    assert linear == [2 * 4 * 5 * 4] * 2


def test_a_step_takes_the_share_of_its_call_and_growth_is_paired_within_a_round():
    one = Mechanism("linear", {})
    names = [decoding.named(one, case) for case in TINY.cases]
    rows = dict.fromkeys(names, Row("linear", "ok", "a knob"))
    samples = dict(zip(names, ([3e-3, 6e-3, 12e-3], [4.5e-3, 6e-3, 24e-3])))
    found = decoding.summary(one, TINY, rows, samples)
    assert found.growth == pytest.approx(Spread(1.5, 1.0, 2.0))
    assert [x.row.ms.median for x in found.steps] == [2.0, 2.0]
    assert found.note == "a knob"
    assert decoding.said(found) == "linear 2, 2 ms a step"
    del samples[names[1]]
    rows[names[1]] = Row("linear", "failed", "no memory")
    absent = decoding.summary(one, TINY, rows, samples)
    assert absent.growth is None
    assert absent.note == "a knob; no memory"
    assert decoding.said(absent) == "linear 2, failed ms a step"


@pytest.mark.parametrize("name", DECODERS)
def test_every_cache_has_the_bytes_that_its_layer_declares(name):
    one = Mechanism(name, KNOBS.get(name, {}))
    case = Case(1024, N=4, K=4, H=64)
    assert decoding.cache_bytes(one, case) == decoding.declared_bytes(one, case)


def steps_of(mechanism, family, *ratios, gap=0, **others):
    row = Row(mechanism, "ok", "width 8", ms=Spread(0.5, 0.25, 1.0))
    found = (StepRecord(8, row, 2048, 2048), StepRecord(16, row, 2048 + gap, 2048))
    growth = Spread(*ratios) if ratios else None
    return replace(
        DecodingRecord(mechanism, family, found, growth, "width 8"), **others
    )


WINDOW = steps_of("window", "sparse", 1.2, 1.0, 1.5)
FAMILY = steps_of("rglru", "recurrent", 1.1, 1.0, 1.2)
DENSE = steps_of("softmax", "dense", 9.0, 8.0, 9.5)


def test_the_mechanism_that_grows_most_of_those_named_counts():
    target, bytes_apart = STEPS.targets
    found = judge(target, decoding=(DENSE, WINDOW, FAMILY))
    assert (found.verdict, found.where) == ("met", "window")
    assert found.found == Spread(1.2, 1.0, 1.5)
    worse = replace(FAMILY, growth=Spread(1.31, 1.3, 1.4))
    found = judge(target, decoding=(WINDOW, worse))
    assert (found.verdict, found.where) == ("missed", "rglru")
    silent = replace(WINDOW, growth=None)
    found = judge(target, decoding=(silent, FAMILY))
    assert found.verdict == "not measured"
    assert found.where == "window: no number: width 8"
    assert judge(bytes_apart, decoding=(WINDOW,)).verdict == "aim met"
    assert judge(bytes_apart).verdict == "not measured"


def test_a_cache_that_is_not_what_its_formula_says_is_in_the_table_and_misses():
    smaller = steps_of("window", "sparse", 1.0, 1.0, 1.0, gap=-64)
    found = judge(STEPS.targets[1], decoding=(DENSE, smaller))
    assert (found.verdict, found.where) == ("missed", "window, 16 tokens")
    assert found.found == Spread(64.0, 64.0, 64.0)
    machine = {"platform": "cpu", "matmul_gflops": {}, "glibc_tunables": "", "date": ""}
    record = Record(
        *("decoding", 5, machine, (), (), (), (found,)), decoding=(DENSE, smaller)
    )
    page = to_markdown(record)
    assert "| ms a step at 8 | ms a step at 16 | growth | cache at 8 |" in page
    ms, sizes = "0.500 (0.250 to 1.00)", "2.00 KiB"
    line = f"| softmax | dense | {ms} | {ms} | 9.00 (8.00 to 9.50) | {sizes} | {sizes} | equal | width 8 |"
    assert line in page
    assert "| off by -64 B at 16 | width 8 |" in page
    assert page.rstrip().endswith(DECODING_CAPTION)


def test_a_panel_a_family_has_softmax_beside_its_mechanisms():
    record = Record("decoding", 5, {}, (), (), (), (), decoding=(DENSE, WINDOW, FAMILY))
    panels = make_panels(record, LIGHT)
    names = [[line.name for line in panel.lines] for panel in panels]
    assert names == [["softmax"], ["window", "softmax"], ["rglru", "softmax"]]
    assert panels[1].lines[0].times == {T: Spread(0.5, 0.25, 1.0) for T in (8, 16)}


WRONG = {
    "two or more, rising": {"lengths": (16, 8)},
    "steps = 8; it must be below the shortest": {"steps": 8},
    "Decoding.heads = 0; it must be at least 1": {"heads": 0},
    "unknown mechanism that decodes 'moba'": {"mechanisms": ("moba",)},
}


@pytest.mark.parametrize("said", WRONG)
def test_steps_that_tell_nothing_are_refused(said):
    with pytest.raises(UserError, match=said):
        Decoding(**{"lengths": (8, 16), "steps": 3, **WRONG[said]})


def test_a_part_of_the_suite_is_by_the_names_of_mechanisms():
    asked = Benching(suite="decoding", only="linear")
    part, out = command.check(asked, SUITES, RESULTS)
    assert part.decoding.names == ("linear",)
    assert (out, part.targets) == (None, STEPS.targets)
    with pytest.raises(UserError, match="a part of a mechanism's name"):
        command.check(replace(asked, only="moba"), SUITES, RESULTS)
    assert STEPS.decoding.names == tuple(
        name for name, spec in KERNELS.items() if "decoding" in spec.can
    )
