"""Races of whole models: who is timed, what must be equal, and what is said of it."""

from dataclasses import replace
from importlib.util import find_spec
from types import SimpleNamespace

import numpy as np
import pytest

from attn.bench import generation, training
from attn.bench.captions import MODELS_CAPTION
from attn.bench.measure import Spread
from attn.bench.model_race import difference, raced, run_model
from attn.bench.models import Generation, Llama, TrainingSteps
from attn.bench.record import ModelRecord, Record, Row
from attn.bench.rival import Built, Runner
from attn.bench.suite import Target
from attn.bench.table import to_markdown
from attn.bench.torch_gpt import converted
from attn.bench.verdicts import judge
from attn.config.cost import count_params, model_params
from attn.objectives import TokenHead
from attn.pretrained import load
from attn.tasks import PyDoc
from experiments.benchmarks.models import MODELS, NANO_GPT, SMOLLM

TINY = Generation("written", Llama(16, 8, 12, 1, 2, 1, 32), 3, 5)
TRAINED = TrainingSteps(
    "trained",
    replace(
        NANO_GPT,
        task=PyDoc(seq_len=8),
        model=replace(NANO_GPT.model, d_model=8, repeats=1, num_heads=2),
        train=replace(NANO_GPT.train, batch_size=3),
    ),
)


class Silent:
    def begin(self, name, steps, work=None):
        self.steps = steps

    def note(self, text):
        self.text = text

    def advance(self, step, steps, values):
        assert 1 <= step <= steps


def gives(tokens, note=""):
    outputs = [np.asarray(tokens)]
    return lambda: Built(lambda: outputs, outputs, 0.5, note=note)


def fails():
    raise RuntimeError("no such\nmodel")


def test_what_gives_other_tokens_is_not_timed_and_what_is_absent_says_so():
    everyone = (
        Runner("attn", gives([[4, 0, 2]])),
        Runner("same", gives([[4, 0, 2]], "a note")),
        Runner("other", gives([[4, 0, 1]])),
        Runner("short", gives([[4, 0]])),
        Runner("broken", fails),
        Runner("absent", fails, ("attn", "no_such_package")),
    )
    rows = raced(TINY, everyone, 5, Silent())
    assert [row.status for row in rows.values()] == [
        *("ok", "ok", "wrong", "wrong", "failed", "unsupported")
    ]
    assert rows["attn"].ratio.median == 1
    assert len(rows["same"].samples_ms) == 5
    assert rows["other"].error == 0.25
    assert rows["other"].ms is None
    assert rows["broken"].reason == "RuntimeError: no such model"
    assert rows["absent"].reason == "not installed: pip install no_such_package"


def test_losses_may_differ_by_rounding_and_no_more():
    ours = Runner("attn", gives([4.0, 2.0]))
    near, far = (Runner("torch", gives([4.0, 2.0 + x])) for x in (3e-4, 5e-4))
    assert raced(TRAINED, (ours, near), 5, Silent())["torch"].status == "ok"
    assert raced(TRAINED, (ours, far), 5, Silent())["torch"].status == "wrong"
    assert difference([np.array([np.nan])], [np.ones(1)]) == np.inf


def test_the_table_has_tokens_a_second_and_the_target_the_ratio():
    ms, one = Spread(2.0, 1.0, 4.0), Spread(1.0, 1.0, 1.0)
    ours = Row("attn", "ok", ms=ms, ratio=one, error=0.0, compile_seconds=0.5)
    theirs = replace(ours, rival="torch", ratio=Spread(0.8, 0.7, 1.1))
    record = ModelRecord("written", 5, (ours, theirs))
    target = Target("t", "speed", 0.9, 1.0, "torch", (TINY,))
    judged = judge(target, (record,))
    assert (judged.verdict, judged.found.median) == ("missed", 0.8)
    machine = {"platform": "cpu", "matmul_gflops": {}, "glibc_tunables": "", "date": ""}
    page = to_markdown(
        Record("models", 5, machine, (), (), (), (judged,), models=(record,))
    )
    # 5 tokens in 2 ms.
    assert "| attn | 2.00 (1.00 to 4.00) | 1.00 | 2,500 | 0.50 | 0 |  |" in page
    assert page.rstrip().endswith(MODELS_CAPTION)


def test_weights_that_were_not_fetched_are_a_line_and_no_end(monkeypatch, tmp_path):
    monkeypatch.setenv("ATTN_DATA_DIR", str(tmp_path))
    watch = Silent()
    record = run_model(SMOLLM, 5, watch)
    assert watch.text.startswith("attn unsupported, transformers")
    assert all("launch.py fetch smollm2" in row.reason for row in record.rows)
    (target, *_) = (t for t in MODELS.targets if t.cases == (SMOLLM,))
    assert judge(target, (record,)).verdict == "not measured"


def test_a_random_checkpoint_is_whole_and_the_same_each_time(tmp_path):
    folders = [tmp_path / "a", tmp_path / "b"]
    for folder in folders:
        folder.mkdir()
        generation.write_random(folder, TINY.weights)
    one, two = ((f / "model.safetensors").read_bytes() for f in folders)
    assert one == two
    first = generation.prompt(TINY, 16)
    model = load(folders[0]).transformer.model
    # 8 values of 16 tokens; each layer q, k, v, o, three products and two norms.
    layer = 2 * 8 * 8 + 2 * 4 * 8 + 3 * 12 * 8 + 2 * 8
    assert model_params(model, TokenHead()) == 16 * 8 + layer + 8
    assert first.shape == (1, 3)
    assert first.max() < 16


def test_a_call_trains_on_the_first_rows_and_targets_are_the_next_tokens():
    found = training.batches(TRAINED)
    assert found["tokens"].shape == (2, 3, 8)
    assert (found["tokens"][..., 1:] == found["targets"][..., :-1]).all()
    assert TRAINED.tokens == 2 * 3 * 8
    text = PyDoc(seq_len=8).rows("train")["tokens"]
    assert (found["tokens"][1, 0] == text[3]).all()


def test_our_first_call_counts_as_that_of_pytorch_does(monkeypatch):
    clock = SimpleNamespace(now=0.0)

    def spend(seconds, value):
        clock.now += seconds
        return value

    loss = {"loss": np.zeros((2, 1))}
    compiled = Compiled(lambda state, given: spend(3.0, (state, loss)))
    lowered = SimpleNamespace(compile=lambda: spend(20.0, compiled))
    step = SimpleNamespace(lower=lambda state, given: lowered)
    monkeypatch.setattr(training, "make_train_step", lambda *_: step)
    monkeypatch.setattr(training, "model_def", lambda _: None)
    monkeypatch.setattr(training, "first_state", lambda _: None)
    ticking = SimpleNamespace(perf_counter=lambda: clock.now)
    monkeypatch.setattr(training, "time", ticking)
    (ours, _) = training.runners(TRAINED)
    assert ours.build().compile_seconds == 23.0


class Compiled:
    """A compiled program that is a function, and tells nothing of its memory."""

    def __init__(self, function):
        self.function = function

    def __call__(self, *args):
        return self.function(*args)

    def memory_analysis(self):
        return None


def test_the_model_that_is_trained_has_the_parameters_of_nano_gpt():
    matrices, tables, norms = 6 * 12 * 384**2, (256 + 256) * 384, 13 * 2 * 384
    assert count_params(NANO_GPT) == matrices + tables + norms


def test_weights_of_ours_give_the_same_heads_as_one_product_of_pytorch():
    D, N, H, F = 6, 3, 2, 5
    draw = np.random.default_rng(0).standard_normal
    shapes = {
        **dict.fromkeys(("q", "k", "v"), (D, N, H)),
        "o": (N, H, D),
        "up": (D, F),
        "down": (F, D),
    }
    weights = {name: draw(shape) for name, shape in shapes.items()}
    vectors = ("layers/0/norm", "layers/1/norm", "norm")
    arrays = {
        **{f"layers/0/layer/{name}": weights[name] for name in "qkvo"},
        **{f"layers/1/layer/{name}": weights[name] for name in ("up", "down")},
        **{f"{norm}/{name}": draw(D) for norm in vectors for name in ("scale", "bias")},
        "embedding": draw((9, D)),
        "position_embedding": draw((4, D)),
    }
    found, x = converted(arrays, 1), draw(D)
    heads = [np.einsum("d,dnh->nh", x, weights[name]) for name in "qkv"]
    np.testing.assert_allclose((found["0.qkv"] @ x).reshape(3, N, H), heads)
    out = np.einsum("nh,nhd->d", heads[0], weights["o"])
    np.testing.assert_allclose(found["0.out"] @ heads[0].ravel(), out)
    np.testing.assert_allclose(found["0.up"] @ x, x @ weights["up"])
    np.testing.assert_allclose(found["0.down"], weights["down"].T)
    assert (found["0.mlp.bias"] == arrays["layers/1/norm/bias"]).all()
    assert (found["last.scale"] == arrays["norm/scale"]).all()


@pytest.mark.skipif(find_spec("torch") is None, reason="torch is not installed")
def test_pytorch_takes_the_same_steps():
    rows = raced(TRAINED, training.runners(TRAINED), 5, Silent())
    assert [row.status for row in rows.values()] == ["ok", "ok"]
