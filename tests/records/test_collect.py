"""Runs are found through links, picked by name and field, and joined over seeds."""

import json
import os
from dataclasses import replace

import pytest
from tiny import experiment_of

from attn.errors import UserError
from attn.records import collect
from attn.records.collect import load_all, pick
from attn.records.identity import identity
from attn.records.seeds import remaining


def edit(folder, **fields):
    path = folder / "config.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | fields))


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
