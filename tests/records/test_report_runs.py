"""Run folders are read whole, or shown as failed with the file that is wrong."""

import io
import json
import re
import tracemalloc
import zipfile
from pathlib import Path

import numpy as np
import pytest

from attn import records
from attn.errors import UserError
from attn.plots.results import make_tables
from attn.records import maps
from attn.records.collect import load_all
from attn.records.knobs import KNOBS
from attn.records.run import read_maps

RESULTS = Path(__file__).parents[2] / "experiments" / "results"


def test_runs_are_found_at_any_depth_and_come_by_family(tmp_path, make_run):
    for kernel in ("retention", "window", "linear", "bigbird", "softmax"):
        make_run(kernel)
    found = load_all(tmp_path)
    assert [r.mechanism for r in found] == [
        "softmax",
        "bigbird",
        "window",
        "linear",
        "retention",
    ]
    assert found[0].score.mean == pytest.approx(0.9)
    steps, estimates = zip(*found[0].curve())
    assert steps[-1] == 500
    assert all(e.n == 3 for e in estimates)


def test_a_folder_without_runs_is_refused(tmp_path):
    with pytest.raises(UserError, match="no run in"):
        load_all(tmp_path)
    with pytest.raises(UserError, match="is not a folder"):
        load_all(tmp_path / "nowhere")


@pytest.mark.parametrize(
    "name", ["config.json", "env.json", "result.json", "metrics.jsonl"]
)
def test_one_damaged_folder_is_a_row_that_names_the_file(tmp_path, make_run, name):
    folder = make_run()
    make_run("window")
    text = (folder / name).read_text()
    (folder / name).write_text(text[: len(text) // 2])
    runs = {run.failed: run for run in load_all(tmp_path)}
    assert runs[False].mechanism == "window"
    assert re.search(rf"{name}.* damaged", runs[True].result.error)
    assert runs[True].score is None
    tables = make_tables(list(runs.values()))
    cells = [c.text for t in tables for row in t.rows for c in row.cells]
    assert sum(text.startswith("failed: ") for text in cells) == 1
    with pytest.raises(UserError, match=rf"{name}.* damaged"):
        records.load(folder)


@pytest.mark.parametrize("values", ['["no", "object"]', '"status"', "3", "{}"])
def test_a_result_that_is_no_result_is_named(make_run, values):
    folder = make_run()
    (folder / "result.json").write_text(values)
    with pytest.raises(UserError, match=r"result\.json"):
        records.load(folder)


@pytest.mark.parametrize("name", ["config.json", "metrics.jsonl"])
def test_a_missing_file_is_named(make_run, name):
    folder = make_run()
    (folder / name).unlink()
    with pytest.raises(UserError, match=rf"{name} (is missing|ends at step 0 of 500)"):
        records.load(folder)


def test_metrics_that_end_early_are_named_without_a_seal_too(make_run):
    path = make_run() / "metrics.jsonl"
    lines = path.read_text().splitlines(keepends=True)
    path.write_text("".join(lines[:-1]))
    with pytest.raises(UserError, match=r"metrics\.jsonl ends at step 437 of 500"):
        records.load(path.parent)


def test_done_without_a_score_is_refused(make_run):
    path = make_run() / "result.json"
    result = json.loads(path.read_text())
    del result["test"]["accuracy"]
    path.write_text(json.dumps(result))
    message = r"result\.json says done but has no test\.accuracy"
    with pytest.raises(UserError, match=message):
        records.load(path.parent)


@pytest.mark.parametrize("study", ["families", "heads", "mechanisms"])
def test_committed_results_are_read_whole_and_sealed(study):
    runs = load_all(RESULTS / study)
    assert not [run.result.error for run in runs if run.failed]
    assert all(run.sealed for run in runs)
    for run in runs:
        assert run.experiment.name == run.name
        assert run.metrics[-1].step == run.result.steps == run.experiment.train.steps
        assert run.result.dataset.sha256
        assert (run.directory / "maps.npz").exists() == (read_maps(run) is not None)


def test_a_run_that_failed_before_its_first_step_still_loads(tmp_path, make_run):
    folder = make_run(status="failed", error="out of memory")
    (folder / "metrics.jsonl").unlink()
    path = folder / "result.json"
    path.write_text(json.dumps({"status": "failed", "error": "out of memory"}))
    (run,) = load_all(tmp_path)
    assert run.failed
    assert run.score is None
    assert (run.mechanism, run.curve()) == ("softmax", [])


def test_maps_come_back_as_written_with_their_labels(tmp_path, make_run, soft_maps):
    maps = soft_maps(layers=11)
    make_run(maps=maps, labels=[f"w{i}" for i in range(24)])
    (run,) = load_all(tmp_path)
    found = read_maps(run)
    assert list(found.layers) == [f"layer_{i}" for i in range(11)]
    assert found.labels[3] == "w3"
    np.testing.assert_array_equal(
        found.layers["layer_10"], maps["layer_10"].astype("float32")
    )


def test_maps_of_two_stacks_know_the_tokens_of_each_side(tmp_path):
    """A layer of as many source tokens as target ones has the labels of its own side."""
    ones = {"encoder_0": (3, 3), "layer_0": (2, 2), "layer_1": (2, 3)}
    arrays = {name: np.ones((1, *shape), np.float16) for name, shape in ones.items()}
    sides = {"labels": np.array(["<", "x"]), "source_labels": np.array(["a", "b", "c"])}
    path = tmp_path / "maps.npz"
    path.write_bytes(maps.pack(arrays | sides))
    found = maps.unpack(path)
    assert [*found.layers] == [*ones]
    abc, x = ("a", "b", "c"), ("<", "x")
    assert [found.edges(name) for name in ones] == [(abc, abc), (x, x), (x, abc)]


def test_damaged_maps_are_named_and_block_nothing(tmp_path, make_run, soft_maps):
    folder = make_run(maps=soft_maps())
    data = (folder / "maps.npz").read_bytes()
    (folder / "maps.npz").write_bytes(data[:200])
    (run,) = load_all(tmp_path)
    assert not run.failed
    with pytest.raises(UserError, match=r"maps\.npz is damaged"):
        read_maps(run)


def bomb(path, shape, size):
    """An npz of one array whose header says `shape`, with `size` bytes of zeros."""
    header = io.BytesIO()
    said = {"descr": "<f2", "fortran_order": False, "shape": shape}
    np.lib.format.write_array_header_1_0(header, said)
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as archive:
        archive.writestr("layer_0.npy", header.getvalue() + bytes(size))


@pytest.mark.parametrize(
    ("shape", "size", "reason"),
    [
        ((4, 8, 8), 10**6, "not of the size of its shape"),
        ((2**20, 2**20), 100, "not of the size of its shape"),
        ((2**22,), 2**23, "more than 4,194,304 bytes"),
    ],
)
def test_maps_take_no_more_memory_than_their_shape_says(tmp_path, shape, size, reason):
    bomb(tmp_path / "maps.npz", shape, size)
    tracemalloc.start()
    with pytest.raises(ValueError, match=reason):
        maps.unpack(tmp_path / "maps.npz", largest=2**22)
    assert tracemalloc.get_traced_memory()[1] < 2**20
    tracemalloc.stop()


def test_maps_that_hold_python_objects_are_refused(tmp_path):
    np.savez(tmp_path / "maps.npz", layer_0=np.array([{}], dtype=object))
    with pytest.raises(ValueError, match=r"layer_0\.npy is not of the size"):
        maps.unpack(tmp_path / "maps.npz")


def test_a_run_names_the_layers_of_both_its_stacks():
    results = Path(__file__).parents[2] / "experiments" / "results" / "architectures"
    runs = [run for run in load_all(results) if run.name.startswith("dates")]
    assert {run.name: KNOBS["layers"](run) for run in runs} == {
        "dates_decoder": "attention mlp x 4",
        "dates_encoder_decoder": "attention mlp x 2 > attention cross_attention mlp x 2",
    }
