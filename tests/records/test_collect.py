"""Runs are found through links, picked by name and field, and joined over seeds."""

import json
import os
from dataclasses import replace

import pytest
from run_folders import edit as edit_json
from tiny import experiment_of

from attn.errors import UserError
from attn.kernels import WindowAttention
from attn.records import collect
from attn.records.collect import load_all, pick
from attn.records.identity import identity
from attn.records.seeds import remaining


def edit(folder, **fields):
    edit_json(folder, "config", **fields)


def kill(folder, steps=2):
    """Leaves a run as a kill does, in the middle of a line."""
    lines = (folder / "metrics.jsonl").read_text().splitlines(keepends=True)
    (folder / "metrics.jsonl").write_text("".join(lines[:steps]) + lines[steps][:9])
    (folder / "result.json").unlink()


def test_several_folders_and_links_are_followed_and_a_run_counts_once(
    tmp_path, make_run
):
    one, two = make_run("softmax"), make_run("window")
    links = tmp_path / "links"
    links.mkdir()
    for name, target in (("a", one), ("b", two), ("round", links)):
        (links / name).symlink_to(target)
    names = [run.mechanism for run in load_all(links, tmp_path / "runs")]
    assert names == ["softmax", "window"]


def test_hidden_folders_are_not_entered_and_a_search_is_bounded(
    tmp_path, make_run, monkeypatch
):
    os.rename(make_run("softmax").parent, tmp_path / ".hidden")
    with pytest.raises(UserError, match="no run in"):
        load_all(tmp_path)
    monkeypatch.setattr(collect, "MOST_FOLDERS", 3)
    for name in "abcd":
        (tmp_path / name).mkdir()
    with pytest.raises(UserError, match="more than 3 folders"):
        load_all(tmp_path)


def test_runs_are_picked_by_name_and_by_field(tmp_path, make_run):
    for kernel, heads in (("softmax", 2), ("softmax", 4), ("window", 4)):
        make_run(kernel, heads=heads)
    runs = load_all(tmp_path)
    assert len(pick(runs, only=["*softmax"])) == 2
    assert len(pick(runs, where=["model.num_heads=4"])) == 2
    (run,) = pick(runs, only=["mqar_w*"], where=["model.num-heads=4"])
    assert run.mechanism == "window"
    (run,) = pick(runs, where=["model.kernel=softmax", "model.num_heads=2"])
    assert run.result.num_heads == 2
    with pytest.raises(UserError, match="unknown run 'mqar_sotfmax'; did you mean"):
        pick(runs, only=["mqar_sotfmax"])
    with pytest.raises(UserError, match="fits no run; there are: 2, 4"):
        pick(runs, where=["model.num_heads=8"])
    with pytest.raises(UserError, match="write a field and a value"):
        pick(runs, where=["model.num_heads"])


def test_other_seeds_of_one_experiment_are_one_run(tmp_path, make_run):
    first, more = make_run("softmax", seeds=3), None
    more = make_run("softmax", name="more", seeds=2, spread=0.2)
    edit(more, name="mqar_softmax", first_seed=3)
    (run,) = load_all(tmp_path)
    assert run.directory == first
    assert run.score.n == 5
    assert run.config["seeds"] == 5
    assert all(len(line.train_loss) == 5 for line in run.metrics)
    assert run.result.test["accuracy"][3:] == pytest.approx((0.7, 1.1))


def test_the_same_seeds_twice_stay_two_runs(tmp_path, make_run):
    make_run("softmax")
    edit(make_run("softmax", name="copy"), name="mqar_softmax")
    assert [run.score.n for run in load_all(tmp_path)] == [3, 3]


def test_the_same_seeds_on_other_data_stay_two_runs(tmp_path, make_run):
    make_run("softmax")
    more = make_run("softmax", name="more")
    edit(more, name="mqar_softmax", first_seed=3)
    record = json.loads((more / "result.json").read_text())
    record["dataset"]["sha256"] = "cd" * 32
    (more / "result.json").write_text(json.dumps(record))
    assert [run.score.n for run in load_all(tmp_path)] == [3, 3]


def test_seeds_of_other_steps_are_not_done_yet(tmp_path):
    ended = experiment_of(seeds=2)
    more = replace(ended, first_seed=2, seeds=1)
    for folder, own in ((tmp_path, ended), (tmp_path / "seeds-2-2", more)):
        folder.mkdir(exist_ok=True)
        (folder / "config.json").write_text(json.dumps(identity(own)))
        (folder / "result.json").write_text('{"status": "done"}')
    three = replace(ended, seeds=3)
    assert remaining(three, tmp_path) == (ended, tmp_path)
    longer = replace(more, train=replace(more.train, steps=more.train.steps + 1))
    (tmp_path / "seeds-2-2/config.json").write_text(json.dumps(identity(longer)))
    assert remaining(three, tmp_path) == (more, tmp_path / "seeds-2-2")


def test_seeds_join_those_of_a_config_that_lacks_later_fields(tmp_path, make_run):
    one = experiment_of(seeds=3)
    older = identity(one)
    del older["model"]["remat"], older["first_seed"]
    more = replace(one, first_seed=3, seeds=2, train=replace(one.train, save_every=9))
    for config, seeds in ((older, 3), (identity(more), 2)):
        edit(make_run("softmax", name=f"{seeds} seeds", seeds=seeds), **config)
    assert [run.score.n for run in load_all(tmp_path)] == [5]
    other = replace(more, model=replace(more.model, repeats=2))
    edit(next(tmp_path.rglob("2 seeds*")), **identity(other))
    assert sorted(run.score.n for run in load_all(tmp_path)) == [2, 3]


def test_joined_seeds_keep_every_machine_and_the_seeds_of_their_program(
    tmp_path, make_run
):
    make_run("softmax", seeds=3)
    more = make_run("softmax", name="more", seeds=2)
    edit(more, name="mqar_softmax", first_seed=3)
    edit_json(more, "env", cpu="Another CPU")
    (run,) = load_all(tmp_path)
    machines = [env["cpu"] for env in run.environments]
    assert machines == ["Example CPU 3 GHz", "Another CPU"]
    assert (run.config["seeds"], run.memory_seeds) == (5, 3)


def test_a_killed_run_is_one_that_says_how_far_it_came(tmp_path, make_run):
    make_run("softmax")
    killed, begun = make_run("window"), make_run("linear")
    kill(killed)
    (begun / "result.json").unlink()
    (begun / "metrics.jsonl").unlink()
    _, run = load_all(tmp_path)
    assert (run.directory, run.mechanism, run.score) == (killed, "window", None)
    assert run.failed
    assert run.unfinished
    said = "unfinished: 125 of 500 steps are recorded; the same command goes on"
    assert run.result.error == said
    assert [line.step for line in run.metrics] == [62, 125]


def test_what_a_killed_run_is_of_is_known_from_its_config(tmp_path, make_run):
    folder = make_run("softmax")
    kill(folder)
    edit(folder, **identity(experiment_of(kernel=WindowAttention())))
    (run,) = load_all(tmp_path)
    assert (run.mechanism, run.family, run.result.d_ff) == ("window", "sparse", 32)
    assert run.result.params > 0
    (folder / "config.json").write_text("{")
    (run,) = load_all(tmp_path)
    assert "config.json is damaged" in run.result.error


def test_a_folder_in_which_nothing_was_recorded_holds_no_run(tmp_path, make_run):
    folder = make_run("softmax")
    for name in ("result.json", "metrics.jsonl"):
        (folder / name).unlink()
    with pytest.raises(UserError, match="no run in"):
        load_all(tmp_path)


def test_further_seeds_that_were_killed_stand_beside_their_run(tmp_path, make_run):
    first, more = make_run("softmax"), make_run("softmax", name="more")
    edit(more, name="mqar_softmax", first_seed=3)
    kill(more)
    os.rename(more, first / "seeds-3-5")
    done, rest = sorted(load_all(tmp_path), key=lambda run: run.failed)
    assert (done.score.n, rest.directory) == (3, first / "seeds-3-5")
    kill(first)
    assert all(run.unfinished for run in load_all(tmp_path))
    assert len(load_all(tmp_path)) == 2
