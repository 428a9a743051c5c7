"""Runs share a table where they are of the same data, and no two rows are alike."""

import pytest
from run_folders import edit

from attn.plots.heat import file_name
from attn.plots.results import make_table
from attn.records.collect import load_all
from attn.records.comparison import group_runs

PYTHON = {"task": "pydoc", "metric": "bits_per_byte", "score": 2.5}


def of_data(folder, letter):
    edit(folder, "result", dataset={"builder": "pydoc/1.0.0", "sha256": letter * 64})


def failed(make_run):
    """A run that failed before it knew its data."""
    folder = make_run("linear", **PYTHON, status="failed", error="no disk")
    edit(folder, "result", dataset=None)


def test_one_task_on_other_data_is_another_table(tmp_path, make_run):
    of_data(make_run("softmax", **PYTHON), "b")
    failed(make_run)
    (group,) = group_runs(load_all(tmp_path))
    assert [run.mechanism for run in group.runs] == ["softmax", "linear"]
    assert group.title == "pydoc, 64 tokens"
    of_data(make_run("window", **PYTHON), "c")
    groups = group_runs(load_all(tmp_path))
    assert {group.title: group.runs[0].mechanism for group in groups} == {
        "pydoc, 64 tokens, data bbbbbbbbbbbb": "softmax",
        "pydoc, 64 tokens, data cccccccccccc": "window",
        "pydoc, 64 tokens, data ?": "linear",
    }
    assert len({group.slug for group in groups}) == 3


@pytest.mark.parametrize(
    ("field", "values", "column"),
    [
        ("remat", (False, True), "remat"),
        ("attention_impl", ("blockwise", "dense"), "attention impl"),
    ],
)
def test_runs_are_told_apart_by_how_they_are_computed(
    tmp_path, make_run, field, values, column
):
    for value in values:
        folder = make_run("softmax", name=f"run {value}")
        model = {"d_model": 64, "num_heads": 4, "kernel": {"is": "softmax"}}
        edit(folder, "config", name="mqar_softmax", model=model | {field: value})
    (group,) = group_runs(load_all(tmp_path))
    table = make_table(group)
    at = table.names.index(column)
    assert {row.cells[at].text for row in table.rows[:2]} == {*map(str, values)}
    assert set(group.labels.values()) == {"softmax"}


def test_rows_of_one_name_are_told_apart_by_their_folders(tmp_path, make_run):
    for name in ("one", "two"):
        folder = make_run("softmax", name="same")
        (tmp_path / name).mkdir()
        folder.rename(tmp_path / name / folder.name)
    make_run("softmax", name="same").rename(tmp_path / "third")
    (group,) = group_runs(load_all(tmp_path))
    labels = [group.label(run) for run in group.runs]
    assert sorted(labels) == [
        "softmax [same] [one/same_h4_64]",
        "softmax [same] [third]",
        "softmax [same] [two/same_h4_64]",
    ]


def test_labels_that_differ_in_signs_alone_are_files_of_their_own(tmp_path, make_run):
    for name in ("a b", "a-b", "a_b"):
        make_run("softmax", name=name)
    (group,) = group_runs(load_all(tmp_path))
    names = [file_name(group, run) for run in group.runs]
    ours = "maps_softmax-a-b"
    assert names == [ours, f"{ours}-2", f"{ours}-3"]


def test_a_killed_run_is_labelled_as_unfinished(tmp_path, make_run):
    folder = make_run("window")
    make_run("softmax", status="failed", error="NaN")
    (folder / "result.json").unlink()
    (group,) = group_runs(load_all(tmp_path))
    labels = {group.label(run) for run in group.runs}
    assert labels == {"softmax (failed)", "window (unfinished)"}
    said = [row.cells[group_score(group)].text for row in make_table(group).rows]
    assert said[1] == (
        "failed: unfinished: 500 of 500 steps are recorded; the same command goes on"
    )


def group_score(group):
    return make_table(group).names.index("accuracy, %")
