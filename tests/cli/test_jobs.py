"""What a researcher does in a few words, done as they would type it."""

import csv
import json
import shlex
import shutil
import struct
from dataclasses import replace
from importlib.util import find_spec

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from own_data import write_csv, write_text

import attn
import launch
from attn.parallel.mesh import make_mesh
from attn.plots import heat, plots
from attn.records.identity import identity
from attn.tasks import Csv

TINY = (
    "--model.d-model 16 --model.num-heads 2 --train.steps 20 --train.warmup-steps 2 "
    "--train.eval-every 10 --train.save-every 10 --train.batch-size 8 --schedule constant "
    "--task.num-train 64 --task.num-valid 16 --task.num-test 16 --task.vocab-size 32 "
    "--task.seq-len 32 --seeds 2"
)
SMALL = "--train.steps 20 --train.warmup-steps 2 --train.eval-every 10 --seeds 1"


@pytest.fixture(scope="module", autouse=True)
def here(tmp_path_factory):
    """A working folder with a tiny experiment in a file, and a run of it."""
    folder = tmp_path_factory.mktemp("jobs")
    with pytest.MonkeyPatch.context() as patch:
        patch.chdir(folder)
        patch.setenv("ATTN_DATA_DIR", str(folder / "data"))
        # Pictures have tests of their own, and take longer than these runs.
        patch.setattr(plots, "PICTURES", {"tuning": plots.PICTURES["tuning"]})
        patch.setattr(heat, "MOST", 1)
        patch.setattr(plots, "to_png", lambda figure: b"a picture")
        do(f"show recall_softmax {TINY} --save e.json")
        do("run e.json --workdir first --log tensorboard")
        yield folder


def do(words: str, code: int = 0) -> None:
    assert launch.main(shlex.split(words)) == code, words


def result(folder):
    return json.loads((folder / "result.json").read_text())


def table(path):
    return list(csv.DictReader(path.read_text().splitlines()))


def test_a_saved_experiment_runs_again_to_the_same_numbers(here):
    do("run e.json --workdir again")
    assert result(here / "again")["test"] == result(here / "first")["test"]


def test_a_tensorboard_log_has_every_number_of_every_line(here):
    pytest.importorskip("tensorboardX")
    found = {}
    for event in events_in(here / "first/tensorboard/recall_softmax"):
        found |= {(v.tag, event.step): v.simple_value for v in event.summary.value}
    for line in attn.records.load(here / "first").metrics:
        assert found["train_loss", line.step] == pytest.approx(np.mean(line.train_loss))
        assert found["grad_norm/seed_1", line.step] == pytest.approx(line.grad_norm[1])
        if line.valid:
            mean = np.mean(line.valid["accuracy"])
            assert found["valid/accuracy", line.step] == pytest.approx(mean)


def events_in(folder):
    """The events of a folder's files of TFRecords: length, its sum, an event, its sum."""
    from tensorboardX.proto.event_pb2 import Event

    content = b"".join(p.read_bytes() for p in folder.iterdir() if p.is_file())
    at = 0
    while at < len(content):
        (length,) = struct.unpack("<Q", content[at : at + 8])
        yield Event.FromString(content[at + 12 : at + 12 + length])
        at += 16 + length


def test_a_wandb_log_has_the_numbers_offline(here, monkeypatch):
    pytest.importorskip("wandb")
    from wandb.proto.wandb_internal_pb2 import Record

    monkeypatch.setenv("WANDB_MODE", "offline")
    do("run e.json --workdir logged --log wandb")
    (path,) = (here / "logged/wandb").glob("offline-run-*/*.wandb")
    found = {}
    for record in map(Record.FromString, wandb_records(path.read_bytes())):
        items = {item.key or item.nested_key[0]: item.value_json for item in record.history.item}  # fmt: skip
        if "_step" in items:
            found[int(items["_step"])] = items
    for line in attn.records.load(here / "logged").metrics:
        said = float(found[line.step]["train_loss"])
        assert said == pytest.approx(np.mean(line.train_loss))


def wandb_records(content: bytes):
    """The records of a file in LevelDB's log format: blocks of 32 KiB, cut anywhere."""
    at, data = 7, b""
    while at + 7 <= len(content):
        if 32_768 - at % 32_768 < 7:
            at += 32_768 - at % 32_768
            continue
        length, kind = struct.unpack("<HB", content[at + 4 : at + 7])
        data, at = data + content[at + 7 : at + 7 + length], at + 7 + length
        if kind in (1, 4):
            yield data
            data = b""


@pytest.mark.exhaustive
def test_two_workdirs_are_one_table_in_csv_and_latex(here):
    do("run e.json --workdir windows --kernel window --model.kernel.width 8")
    do("report first windows --out both --svg")
    rows = table(here / "both/table.csv")
    assert [row["mechanism"] for row in rows[:2]] == ["softmax", "window"]
    assert "\\toprule" in (here / "both/table.tex").read_text()
    do(
        "report first windows --only recall_softmax --where model.kernel=window --out one"
    )
    rows = table(here / "one/table.csv")
    assert [row["mechanism"] for row in rows if row["kind"] == "run"] == ["window"]


def test_more_steps_and_seeds_go_on_where_a_run_ended(here, capsys):
    shutil.copytree(here / "first", here / "longer")
    do("run e.json --workdir longer --train.steps 30")
    assert "resumed after step 20" in capsys.readouterr().out
    assert result(here / "longer")["steps"] == 30
    log = "--log tensorboard" if find_spec("tensorboardX") else ""
    do(f"run e.json --workdir longer --train.steps 30 --seeds 3 {log}")
    assert_logged_apart(here / "longer", log)
    run = attn.records.load(here / "longer")
    more = attn.records.load(here / "longer/seeds-2-2")
    assert (run.score.n, more.score.n) == (2, 1)
    other = here / "longer/seeds-10-11"  # which comes before it by name
    other.mkdir()
    config = identity(replace(more.experiment, first_seed=10, seeds=2))
    (other / "config.json").write_text(json.dumps(config))
    assert attn.records.restore(here / "longer", seed=2)
    shutil.rmtree(other)
    do("report longer")
    assert "(n=3)" in (here / "longer/table.md").read_text()
    do("run e.json --workdir longer --train.steps 30 --seeds 3")
    assert "finished before" in capsys.readouterr().out
    shutil.rmtree(here / "longer/checkpoints/30")
    do("evaluate longer", code=2)
    assert "ended at step 30, and its newest good" in capsys.readouterr().err


def assert_logged_apart(folder, log):
    """A further seed has a log of its own, under its own number."""
    logged, more = folder / "tensorboard/recall_softmax", "seeds-2-2"
    if log:
        found = {v.tag for e in events_in(logged / more) for v in e.summary.value}
        assert "train_loss/seed_2" in found
        assert "train_loss/seed_0" not in found
        assert [p.name for p in logged.iterdir() if p.is_dir()] == [more]
        assert len([p for p in logged.iterdir() if p.is_file()]) == 1


@pytest.fixture(scope="module")
def other(here):
    """The words of a run with another training, precision, depth and length."""
    train = "--optimizer lion --train.peak-lr 1e-3 --schedule linear --seeds 1"
    model = "--model.dtype bfloat16 --model.repeats 2 --task.seq-len 48"
    words = f"run e.json {train} {model} --workdir other"
    do(words)
    return words


def test_other_training_precision_depth_and_length(here, other):
    run = attn.records.load(here / "other")
    assert run.result.status == "done"
    model, train = run.experiment.model, run.experiment.train
    assert (train.optimizer.name, train.peak_lr) == ("lion", 1e-3)
    assert train.schedule.name == "linear"
    assert (model.dtype, model.repeats) == ("bfloat16", 2)
    assert run.experiment.task.seq_len == 48
    assert run.score.n == 1


def test_a_schedule_that_ends_with_its_steps_is_not_extended(other, capsys):
    do(f"{other} --train.steps 30", code=2)
    said = capsys.readouterr().err
    assert "its schedule, linear, ends with its steps" in said
    assert "constant, inverse_sqrt" in said


def test_a_run_is_evaluated_at_another_length(here, capsys):
    do("evaluate first --json")
    (same,) = json.loads(capsys.readouterr().out)
    assert same["scores"] == result(here / "first")["test"]["accuracy"]
    do("evaluate first --json --split valid --task.seq-len 48")
    (longer,) = json.loads(capsys.readouterr().out)
    assert (longer["tokens"], longer["split"], len(longer["scores"])) == (
        48,
        "valid",
        2,
    )
    do("evaluate first --train.steps 5", code=2)
    assert "changes the task alone" in capsys.readouterr().err
    do("evaluate first --task.seq-len 1000000000000", code=2)
    said = capsys.readouterr().err
    assert "rows of task.seq_len = 1,000,000,000,000, which need at least" in said
    assert len(said.splitlines()) == 1


def test_rates_are_tuned_and_fresh_seeds_run_at_the_best(here, capsys):
    do("tune e.json --over train.peak_lr=1e-4,3e-2 --workdir tuned")
    out = capsys.readouterr().out
    assert "best rate 0.03 of 2; the largest, try higher" in out
    run = attn.records.load(here / "tuned/recall_softmax")
    assert run.config["train"]["peak_lr"] == run.result.tuning.chosen == 0.03
    assert run.result.tuning.rates == (1e-4, 3e-2)
    assert run.score.n == 2
    assert "gain by tuning" in (here / "tuned/table.md").read_text()
    grids = json.loads((here / "tuned/tuning.json").read_text())
    assert grids["recall_softmax"]["chosen"] == 0.03
    do("tune e.json --over train.peak_lr=1e-4,3e-2 --workdir tuned")
    assert "finished before" in capsys.readouterr().out
    do("tune e.json --over train.steps=1,2", code=2)
    assert "use sweep for train.steps" in capsys.readouterr().err


def test_a_sweep_skips_what_is_finished_and_outlives_a_failure(here, capsys):
    rates = "--over train.peak_lr=1e30,0.003 --over model.repeats=1"
    words = f"sweep e.json {rates} --seeds 1 --workdir swept"
    do(words, code=1)
    assert "was not finite" in capsys.readouterr().err
    good, bad = (
        here / f"swept/recall_softmax-peak_lr={rate}-repeats=1"
        for rate in ("0.003", "1e+30")
    )
    assert result(good)["status"] == "done"
    assert result(bad)["status"] == "failed"
    kinds = [row["kind"] for row in table(here / "swept/table.csv")]
    assert [kinds.count(kind) for kind in ("run", "failed")] == [1, 1]
    assert "failed" in (here / "swept/table.md").read_text()
    stamp = (good / "result.json").stat().st_mtime_ns
    do(words, code=1)
    assert "nothing to do" in capsys.readouterr().out
    assert (good / "result.json").stat().st_mtime_ns == stamp


def test_own_text_and_own_table(here, capsys):
    write_text(here / "book.txt", 9_000)
    write_csv(here / "reviews.csv", columns=("review", "stars"))
    model = (
        "--model.d-model 16 --model.num-heads 2 --model.repeats 1 --train.batch-size 8"
    )
    do(
        f"run text_softmax --task text:book.txt --task.seq-len 32 {model} {SMALL} --workdir book"
    )
    assert result(here / "book")["test"]["bits_per_byte"][0] < 8
    do(
        "run digits_softmax --task csv:reviews.csv --task.text-column review "
        f"--task.label-column stars --task.seq-len 32 {model} {SMALL} --workdir reviews"
    )
    assert result(here / "reviews")["baselines"]["bag_of_tokens"] > 0.8
    assert "text book.txt, 32 tokens" in (here / "book/table.md").read_text()
    do("run text_softmax --task csv:reviews.csv", code=2)
    assert "unknown column 'text'" in capsys.readouterr().err


def test_tokens_that_mean_something_else_are_not_evaluated(here, capsys):
    write_text(here / "other.txt", 9_000, seed=1)
    do("evaluate book --task text:other.txt --task.seq-len 32 --json")
    assert len(json.loads(capsys.readouterr().out)[0]["scores"]) == 1
    do("evaluate book --task text:other.txt --task.vocabulary characters", code=2)
    assert "mean something else" in capsys.readouterr().err
    do("evaluate first --task.vocab-size 16", code=2)
    assert "mean something else" in capsys.readouterr().err
    write_csv(here / "labels.csv", rows=[(f"text {i}", "yn"[i % 2]) for i in range(99)])
    do("evaluate reviews --task csv:labels.csv --task.seq-len 32", code=2)
    assert "mean something else" in capsys.readouterr().err


def test_a_split_that_holds_training_rows_is_not_evaluated(here, capsys, monkeypatch):
    do("evaluate reviews --task.held-out 0.2", code=2)
    said = capsys.readouterr().err
    assert "trained at held_out = 0.1, and 0.2 moves rows" in said
    write_text(here / "other.txt", 9_000, seed=1)
    do("evaluate book --task text:other.txt --task.seq-len 32 --task.held-out 0.2")
    with monkeypatch.context() as patch:
        patch.setattr(Csv, "version", "9.9.9")
        do("evaluate reviews", code=2)
    assert "was trained on other data (1.2.0," in capsys.readouterr().err
    do("evaluate book --written", code=2)
    assert "no targets to write after a source" in capsys.readouterr().err
    do("evaluate book --written --task.seq-len 16", code=2)
    assert "on its own task; leave out --task.seq-len" in capsys.readouterr().err


def test_a_task_is_audited_with_its_options(here, capsys):
    small = "--task.num-train 512 --task.num-valid 64 --task.num-test 64"
    do(f"audit induction {small}")
    said = capsys.readouterr().out
    assert "copy of a place" in said
    assert "chance (its own)" in said
    do(f"audit induction {small} --json --workdir audits")
    said = json.loads(capsys.readouterr().out)
    found = {solver: x for solver, x in said.items() if solver not in ("task", "data")}
    kept = here / "audits"
    name = "induction-num_train=512-num_valid=64-num_test=64"
    rows = {row["solver"]: row["accuracy"] for row in table(kept / f"{name}.csv")}
    assert found == {solver: float(rows[solver]) for solver in found}
    shown = f"| majority | {100 * found['majority']:.1f} |"
    assert shown in (kept / f"{name}.md").read_text()
    write_text(here / "audited.txt", 9_000)
    do("audit text:audited.txt --task.seq-len 32 --json")
    found = json.loads(capsys.readouterr().out)
    assert 0.2 < found["two tokens read"] < 1
    do("audit digits --workdir audits")
    assert (kept / "digits.png").read_bytes().startswith(b"\x89PNG")
    do("audit induction --seeds 1", code=2)
    assert "audit has no model" in capsys.readouterr().err
    do("audit inductions", code=2)
    assert "did you mean 'induction'?" in capsys.readouterr().err


def test_a_run_writes_the_same_on_a_mesh(here, capsys):
    do("generate book --prompt mouse --steps 6")
    alone = capsys.readouterr().out
    do("generate book --prompt mouse --steps 6 --mesh heads=2")
    assert capsys.readouterr().out == alone
    assert len(alone) > len("mouse")
    do("generate book --prompt mouse --steps 6 --mesh heads=3", code=2)
    assert "heads = 3 does not divide num_heads" in capsys.readouterr().err


def test_the_maps_of_a_sentence_in_a_notebook(here):
    run = attn.records.load("book")
    with jax.set_mesh(make_mesh()):
        model = attn.records.restore("book")
        sentence = jnp.asarray([list(b"the mouse is")])
        maps = jax.jit(lambda: model.maps(sentence))()
    layer = next(iter(maps.values()))  # [B, N, T, T]
    np.testing.assert_allclose(np.asarray(layer).sum(-1), 1, atol=1e-5)
    assert run.experiment.task.label(116) == "t"


OWN = """
from dataclasses import dataclass, replace

from attn.kernels import Softmax
from attn.registry import get, register


@dataclass(frozen=True)
class Sharp(Softmax):
    # Softmax attention at four times the scale.

    name = "sharp"


base = get("recall_softmax")
model = replace(base.model, kernel=Sharp())
register(Sharp, replace(base, name="mine", claim="Sharp recalls.", model=model))
"""


@pytest.mark.exhaustive
def test_an_own_mechanism_from_an_own_file_on_a_mesh(here, own_registry):
    (here / "my_study.py").write_text(OWN)
    do(f"--experiments my_study.py run mine {TINY} --mesh data=2,heads=2 --workdir own")
    run = attn.records.load(here / "own")
    assert run.mechanism == "sharp"
    assert run.environment["mesh"] == {"data": 2, "heads": 2, "seq": 1, "fsdp": 1}
    assert run.score.n == 2
