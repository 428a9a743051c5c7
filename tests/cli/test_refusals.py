"""What is typed wrong is said in one line, with the way out, and nothing is written."""

import json
import shlex
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import pytest

import launch
from attn.cli import evaluating, folders, sizes
from attn.cli.console import successes
from attn.cli.options import Evaluating
from attn.config import Experiment, ModelConfig
from attn.errors import UserError
from attn.parallel.mesh import MeshShape
from attn.tasks import TASKS

ROOT = Path(__file__).parents[2]
LONG = "x" * 300

NAMES = {
    "lisst": "did you mean 'list'",
    "run recal_linear": "did you mean 'recall_linear'",
    "run ../x": "unknown experiment '../x'",
    "run": "needs a name",
    "run recall_linear --model.num-headz 2": "did you mean --model.num-heads",
    "run recall_linear --model.num-heads two": "--model.num-heads",
    "run recall_linear --seeds": "Missing value for argument '--seeds'",
    "list --jsn": "did you mean --json",
    "plan recall_linear": "plan needs --on, as in --on v5p:8x8x8",
    "plan recall_linear --on v5p:8x8x7": "there are: v5p:8x8x8",
    "plan heads --on cpu:8": "'heads' is a study; plan one of its experiments",
    "run recall_softmax --kernel linea": "did you mean 'linear'",
}
VALUES = {
    "run recall_linear --model.num-heads 3": "num_heads = 3 does not divide d_model = 64",
    "run recall_linear --model.d-model -8": "d_model = -8; it must be at least 1",
    "run recall_linear --train.batch-size 0": "batch_size = 0",
    "run recall_linear --model.d-ff 64": "d_ff = 64 is read by no layer of",
    "run recall_softmax --kernel window --kernel linear": "--kernel is given twice",
    "run recall_softmax --train.optimizer muon": "by name: --optimizer muon",
    "show recall_softmax --mesh heads=2": "does not use --mesh",
    "show recall_softmax --workdir runs": "does not use --workdir",
    "inspect recall_softmax --mesh heads=2": "does not use --mesh",
    "run mechanisms --model.d-model 64": "compares models of equal size",
    "run kv_heads --model.d-model 128": "compares models of equal size",
    "run recall_softmax --kernel linformer": "'linformer' cannot do 'causal'",
    "run recall_window --model.kernel.width 65": "window.width = 65",
    "run recall_linear --mesh heads=4": "can be 1, 2",
    "run recall_linear --mesh head=2": "did you mean 'heads'",
    "run 7b": "'7b' needs at least",
    "plan recall_linear --on cpu:8 --mesh data=4": "the nearest that do: data=8",
    "plan recall_linear --on cpu:8 --mesh data=8 --sweep": "leave out --mesh data=8",
    "plan recall_linear --on cpu:8 --nprocs 0": "plan does not use --nprocs",
}
FOLDERS = {
    "run recall_linear --workdir ''": "--workdir is empty",
    "run recall_linear --workdir file": "file is a file",
    "run recall_linear --workdir file/under": "file is a file",
    "run recall_linear --workdir loop/under": "Too many levels of symbolic links",
    "run recall_linear --workdir nowhere": "nowhere is a link to nothing",
    f"run recall_linear --workdir {LONG}": "File name too long",
    "run recall_linear --workdir \udcff": r"'\udcff' is not UTF-8",
    "run recall_linear --workdir foreign": "is not the folder of a run",
    "run recall_linear --workdir [/red]foreign": "is not the folder of a run",
    "run heads --workdir foreign": "holds 'notes.txt' and no run of 'heads'",
    "compare --workdir foreign": "holds 'notes.txt' and no run of 'families'",
    "compare --workdir single": "is the folder of one run",
    "compare --workdir study": "holds 'heads-1' of 'heads', and not of 'families'",
    "sweep recall_linear --over train.steps=30 --workdir foreign": "holds 'notes.txt'",
    "sweep recall_linear --over train.steps=30 --workdir study": "of 'heads'",
    "report ''": "directory is empty",
    "report nothing": "nothing is not a folder",
    "report file": "file is a file",
    "report study --out file": "--out file: file is a file",
    "report study --out ''": "--out is empty",
    "report study --out out --readme study": "study is not a file; give a Markdown",
    "report study --out out --readme nothing": "nothing is not a file; give a Markdown",
    "report study --out out --readme latin": "latin is not UTF-8",
    "report study --out out --readme damaged.json": "needs one <!-- results:begin -->",
    "inspect recall_softmax --workdir file": "file is a file",
    "swap nothing --workdir foreign": "holds 'notes.txt' and nothing that swap makes",
    "reproduce reformer --workdir foreign": "nothing that reproduce makes",
}
SWEEPS = {
    "": "needs --over",
    "--over model.num_heads=1,3": "num_heads = 3 does not divide",
    "--over model.d_ff=32,64": "d_ff = 32 is read by no layer of",
    "--over name=a,b": "name is no field to sweep",
    "--over claim=a,b": "claim is no field to sweep",
    "--over num_heads=1,2": "did you mean model.num_heads?",
    "--over model.num_heads=1,2,1": "has 1 twice",
    "--over train.peak_lr=0.1,1e-1": "has 0.1 twice",
    "--over seeds=1 --over seeds=2": "names seeds twice",
}
OTHERS = {
    "report": "report needs the folder of your runs",
    "report repository": "is a repository (.git is there), and nothing is written",
    "power repository": "is a repository (.git is there), and nothing is written",
    "power nothing": "unknown experiment 'nothing'",
    "audit nothing": "unknown task 'nothing'",
    "audit text:none.txt": "there is no such file or folder",
    "audit csv:file": "file is empty",
    "audit mails --task.seq-len 100000000": "the longest mail has 299,383 bytes",
    "audit listops --task.num-train 1000000000000": "task.seq_len = 128, which need at least",
    f"audit mqar --task.seq-len 1{'0' * 400}": "rows of task.seq_len = 1e+300",
    "bench --only nothing --out ''": "--out is empty; name a folder",
    "bench --only nothing --out file": "--out file: file is a file",
    "audit mqar --workdir file": "--workdir file: file is a file; choose another",
    "swap smollm2 --steps -1": "--steps -1; it must be 0 or more",
    "swap smollm2 --seed -1": "--seed -1; it must be 0 or more",
    "generate single --rows -1": "--rows -1; ask for at least 1 example",
    "generate single --mesh data=2": "only heads to divide; take heads=N",
    "generate single --mesh head=2": "did you mean 'heads'",
    "run text_softmax --model.rope-base nan": "rope_base = nan; it must be at least 1",
    "run recall_softmax --model.kernel.softcap nan": "it must be above 0, or None",
    "run text_softmax --model.kv-rank 8 --model.bias qkv": "reads neither; leave them out",
    "swap smollm2 --rate 1e-3": "--rate 0.001 trains nothing without --steps",
    "reproduce nothing": "unknown paper 'nothing'",
    "reproduce h3 --have nothing": "nothing is not a folder",
    "report single study": "report of 2 folders needs --out",
    "run recall_softmax --task pydocs": "did you mean 'pydoc'",
    "run recall_softmax --task mqar:x": "mqar takes no data",
    "run text_softmax --task text:none.txt": "none.txt: there is no such file or folder",
    "run text_softmax --task text": "has no data; name them",
    "run text_softmax --task csv:file": "file is empty; its first line must name columns",
    "run text_softmax --task text:file": "file is empty; name a file",
    "tune recall_softmax --over train.steps=1,2": "use sweep for train.steps",
    "tune recall_softmax --over train.peak_lr=0.1": "two different rates",
    "tune recall_softmax --over train.peak_lr=-1,1": "peak_lr = -1.0",
    "tune recall_softmax --trials 0": "at least one seed for each rate",
    "tune recall_softmax --trials 1000000": "--trials 1000000 of 5 rates train 5,000,000",
    "tune recall_softmax --trials 1000000000000": "give fewer rates by --over: 'recall_softmax' needs",
    "tune families --workdir foreign": "holds 'notes.txt' and no run of 'tune-families'",
    "inspect foreign": "inspect foreign needs a text, as in",
    "inspect --text Once": "needs the folder of a run, or of pretrained weights, before",
    "inspect nothing --text Once": "there is no folder nothing",
    "inspect foreign --text Once --out file": "--out file: file is a file",
    "inspect foreign --text": "Missing value for argument '--text'",
    "evaluate": "evaluate needs the folder of a run",
    "evaluate nothing": "nothing is not a folder",
    "run recall_softmax --log tensorbord": "tensorbord",
    "show recall_softmax --log wandb": "does not use --log",
    "show recall_softmax --save": "--save",
    "run recall_softmax --model.pattern attention ffn": "did you mean 'mlp'?",
    "run recall_softmax --model.num-heads four": "'four' is no number that fits",
    "run recall_softmax --train.peak-lr fast": "'fast' is no number that fits",
    "run recall_linear --model.kernel.width 4": "kernel linear has no option 'width'; it "
    "has none; window, dilated, longformer, streaming, nsa have it: choose by --kernel",
    "run recall_window --model.kernel.widht=4": "has no option 'widht'; it has softcap, sinks, width",
    "run recall_softmax --train.optimizer.b3 1": "optimizer adamw has no option 'b3'; it "
    "has b1",
    "run damaged.json": "damaged.json holds no JSON object",
    "run recall_linear --workdir unread": "unread/config.json is damaged; delete it",
    "run none.json": "there is no such file",
}
SIZES = {
    "--model.d-model 1000000": "GiB optimizer state",
    "--model.repeats 1000000000": "GiB",
    "--seeds 1000000": "GiB parameters and gradients",
    "--train.batch-size 100000000": "GiB activations",
    "--task.num-train 1000000000000": "GiB data",
    "--train.steps 1000000000000": "years: train.steps = 1e+12",
    "--train.steps 1" + "0" * 400: "years: train.steps = 1e+300",
    "--mesh data=4096": "divides the CPU into 4,096 devices",
}
WRONG = NAMES | VALUES | FOLDERS | OTHERS
WRONG |= {f"sweep recall_linear {words}": said for words, said in SWEEPS.items()}
WRONG |= {f"run recall_linear {words}": said for words, said in SIZES.items()}
WRONG |= {"sweep families --over model.num_heads=1": "is a study"}


@pytest.fixture
def here(tmp_path, monkeypatch):
    """A working folder with what no run can be put into."""
    monkeypatch.chdir(tmp_path)
    monkeypatch.setenv("JAX_PLATFORMS", "cpu")
    (tmp_path / "file").touch()
    (tmp_path / "damaged.json").write_text("{")
    (tmp_path / "latin").write_bytes(b"\xe9")
    (tmp_path / "unread/config.json").mkdir(parents=True)
    (tmp_path / "repository/.git").mkdir(parents=True)
    (tmp_path / "loop").symlink_to("loop")
    (tmp_path / "nowhere").symlink_to("gone")
    for name in ("foreign", "[/red]foreign"):
        (tmp_path / name).mkdir(parents=True)
        (tmp_path / name / "notes.txt").touch()
    for run in ("single", "study/heads-1"):
        (tmp_path / run).mkdir(parents=True)
        (tmp_path / run / "config.json").write_text('{"fingerprint": "0"}')
    result = tmp_path / "study/heads-1/result.json"
    result.write_text(json.dumps({"study": "heads"}))
    return tmp_path


@pytest.mark.parametrize("words", WRONG, ids=ascii)
def test_what_is_typed_wrong_is_said_in_one_line(here, capsys, words):
    before = sorted(here.rglob("*"))
    assert launch.main(shlex.split(words)) == 2
    out, err = capsys.readouterr()
    assert out == ""
    assert len(err.splitlines()) == 1
    assert WRONG[words] in err
    assert sorted(here.rglob("*")) == before


def test_memory_and_speed_of_an_accelerator_are_its_own(monkeypatch):
    large = Experiment(
        name="large",
        claim="None.",
        task=TASKS["mqar"](),
        model=ModelConfig(d_model=2**12, repeats=8),
    )
    need = sum(sizes.needed_bytes(large).values())
    parts = replace(large, train=replace(large.train, accumulate=4))
    needs = [sizes.needed_bytes(one)["activations"] for one in (large, parts)]
    assert needs[0] == 4 * needs[1]
    monkeypatch.setattr(sizes.os, "sysconf", lambda name: 2**15)  # 1 GiB
    assert 2**30 < need < sizes.CHIP_BYTES
    monkeypatch.setattr(sizes, "has_accelerator", lambda: False)
    with pytest.raises(UserError, match=r"there are 1\.0 GiB"):
        sizes.check_size([large], MeshShape())
    monkeypatch.setattr(sizes, "has_accelerator", lambda: True)
    sizes.check_size([large], MeshShape())


def test_a_full_disk_is_found_before_anything_is_written(here, capsys, monkeypatch):
    free = SimpleNamespace(free=2**20)
    monkeypatch.setattr(sizes.shutil, "disk_usage", lambda path: free)
    assert launch.main(["run", "recall_softmax", "--seeds", "9"]) == 2
    assert (
        "has 1.0 MiB free, and the checkpoints of 1 run need" in capsys.readouterr().err
    )
    assert not (here / "runs").exists()


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "/x", "a/b"])
def test_a_name_cannot_leave_the_workdir(name):
    with pytest.raises(UserError, match="the name is that of its folder"):
        Experiment(name=name, claim="None.", task=TASKS["mqar"]())


def test_a_study_goes_on_in_its_own_folder_beside_its_report(here):
    one = Experiment(name="heads-1", claim="None.", task=TASKS["mqar"]())
    (here / "study/table.md").touch()
    (here / "study/heads-1/config.json").unlink()
    (here / "study/heads-1/result.json").unlink()
    (here / "study/heads-2").mkdir()
    (here / "study/heads-2/config.json").write_text("{}")
    paths = folders.run_folders(Path("study"), [one], "heads")
    assert paths == [(one, Path("study/heads-1"))]


def test_of_several_runs_one_that_cannot_be_evaluated_is_named_and_left(
    monkeypatch, capsys
):
    def evaluated(run, task, split):
        if run == "learned" or task == "none":
            raise UserError(f"{run} has a length of its own")
        return {"run": run}

    monkeypatch.setattr(evaluating, "_evaluated", evaluated)
    monkeypatch.setattr(evaluating, "_task", lambda run, words: words)
    asked = Evaluating()

    def rows(task):
        calls = evaluating._scoring(["rotary", "learned"], task, asked)
        return list(successes(calls, UserError, "not evaluated"))

    assert rows("longer") == [{"run": "rotary"}]
    assert capsys.readouterr().err == "not evaluated: learned has a length of its own\n"
    with pytest.raises(UserError, match="learned has"):
        rows("none")


def test_help_for_a_folder_is_help_and_no_refusal(tmp_path, capsys):
    with pytest.raises(SystemExit) as ended:
        launch.main(["inspect", str(tmp_path), "--help"])
    said = capsys.readouterr()
    assert (ended.value.code, said.err) == (0, "")
    assert "--text" in said.out
