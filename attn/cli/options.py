"""Options of every command, as dataclasses that tyro reads."""

from collections.abc import Iterable
from dataclasses import dataclass
from typing import Annotated, Any, Literal

import tyro

from attn.cli.loggers import Tool
from attn.config import ModelConfig, TrainConfig
from attn.config.match import Match
from attn.config.optimizers import OPTIMIZERS
from attn.config.schedules import SCHEDULES
from attn.kernels import KERNELS
from attn.tasks import TASKS, Task


@dataclass(frozen=True)
class Where:
    """Options for where a command runs and writes; no part of an experiment."""

    workdir: str | None = None
    """Folder of the run, or of a study's runs; default runs/NAME or runs/COMMAND-NAME."""
    mesh: str = ""
    """Mesh of devices, as in data=2,heads=4; a CPU is split into as many devices."""
    nprocs: int | None = None
    """Local processes that share the mesh; they restart where one is killed."""
    log: tyro.conf.UseAppendAction[tuple[Tool, ...]] = ()
    """Also log for another tool, in its folder below the workdir; repeat it for both."""


@dataclass(frozen=True)
class Sweep(Where):
    """Varies one experiment along some of its fields."""

    over: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Field and values, as in model.num_heads=1,2,4; repeat the option for a grid."""
    match: Match = "none"
    """Cost to hold equal to the experiment's own, by d_ff, head_dim or kv_rank."""
    seeds: int | None = None
    """Replicas of each; default as in the experiment."""


@dataclass(frozen=True)
class Tune:
    """Finds the peak learning rate of each model, then trains fresh seeds at it."""

    over: str | None = None
    """Rates, as in train.peak_lr=1e-3,3e-3; default five around each one's own."""
    trials: int = 1
    """Seeds of each rate; all rates have the same."""


@dataclass(frozen=True)
class Reproducing(Where):
    """Trains or compiles what a paper's numbers are compared with, and compares."""

    have: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Folder of finished runs and compiled steps, at any depth, not to be made again."""
    table: str | None = None
    """Compare this table of the paper alone, and make only what it needs."""
    json: bool = False
    """Print JSON: every number, ours and the verdict."""


@dataclass(frozen=True)
class Planning:
    """Compiles a training step for devices that are not here: memory, cost, network."""

    on: str | None = None
    """Devices: v5e:4x4, v5p:8x8x8, v6e:16x16, tpu7x:2x2x1, h100:8, h200:16, b200:8, cpu:8."""
    what: Literal["train", "decode", "attend"] = "train"
    """A training step of all seeds; or of one, one more token of each sequence of a batch,
    with caches of whole sequences, or one layer's attention, forward and backward."""
    sweep: bool = False
    """Plan every mesh data x heads and fsdp x heads of the devices, and rank them; with
    seq too where none of these divides the experiment."""
    whole: bool = False
    """Compile all layers of a deep model, not two blocks and five."""
    support: bool = False
    """Print what serves each mechanism where a mesh divides the sequence; needs no name."""
    json: bool = False
    """Print JSON, not tables."""


@dataclass(frozen=True)
class Fetching:
    """Gets data packages that tasks read; without a name, tells which are here."""

    names: tyro.conf.Positional[tuple[str, ...]] = ()
    """Data packages, by name."""


@dataclass(frozen=True)
class Auditing:
    """Solves a task without attention: by position, by copies, by tables of tokens."""

    json: bool = False
    """Print JSON."""
    workdir: str | None = None
    """Folder in which to keep the table, and a picture of examples that are images;
    runs/audits by default, where reports look."""


@dataclass(frozen=True)
class Power:
    """Trains replicas of an experiment or a study, or reads runs, and says their noise."""

    seeds: int = 5
    """Replicas of each, under one vmap; more make the spread surer."""


@dataclass(frozen=True)
class Evaluating:
    """Evaluates finished runs; --task.seq-len and other options of their task change it."""

    split: str = "test"
    """Split to evaluate: train, valid or test."""
    written: bool = False
    """Write the split's targets greedily and score them whole, as by chrF."""
    json: bool = False
    """Print JSON, one number a seed."""


@dataclass(frozen=True)
class Generating:
    """Writes text after a prompt, by a trained run or by pretrained weights."""

    prompt: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """Text to continue, or the source to write from; repeat it for more. Without one,
    examples of the run's test split."""
    rows: int = 4
    """Examples that are taken without a prompt."""
    steps: int = 64
    """The most tokens that are written."""
    temperature: float = 0.0
    """Divisor of the logits that tokens are sampled from; 0 takes the most likely."""
    top_k: int | None = None
    """Sample from so many most likely tokens."""
    top_p: float | None = None
    """Sample from the fewest tokens that have this probability together."""
    beams: int | None = None
    """Search for the likeliest texts, keeping so many at each step."""
    seed: int = 0
    """Seed of what is sampled."""
    weights: int = 0
    """Seed of the run whose weights write."""
    mesh: str = ""
    """Mesh of devices over which heads are divided, as in heads=4."""
    json: bool = False
    """Print JSON: prompts and what was written."""


@dataclass(frozen=True)
class Looking:
    """Shows where the heads of a run, or of pretrained weights, look on a text."""

    text: str
    """Text to look at; of an encoder-decoder, the source."""
    pair: str | None = None
    """Second text, beside the first; of an encoder-decoder, the target, which it writes
    itself unless given."""
    from_: Annotated[str | None, tyro.conf.arg(name="from")] = None
    """Word of a text, whose keys are listed in every head."""
    layer: str | None = None
    """Layer of the head in large: its number, or kind and number as in "encoder 1"."""
    head: int | None = None
    """The head in large; without one, the head with the largest weights far away."""
    out: str | None = None
    """Folder to write to; default DIR/looks of a run, runs/looks/FOLDER of weights."""
    weights: int = 0
    """Seed of the run whose weights look."""


@dataclass(frozen=True)
class Swapping:
    """Puts cheaper attention into pretrained weights, and scores text with each."""

    tokens: int = 512
    """Tokens of context, T: a window's last token is read after so many."""
    windows: int = 4
    """Windows of text, each of another address; all mechanisms score the same."""
    seed: int = 0
    """Seed that the windows are drawn from."""
    only: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A replacement's name, as its line in the picture is called; repeat it for more."""
    steps: int = 0
    """Steps that attention's projections are trained after each swap, and once without
    one, on other addresses, two windows a step; 0 trains nothing."""
    rate: float | None = None
    """The first learning rate of these steps, which falls to 0; default 1e-4."""
    workdir: str | None = None
    """Folder of the record, which a second call goes on with; default runs/swap-NAME."""


@dataclass(frozen=True)
class Listing:
    """Lists all experiments and studies."""

    json: bool = False
    """Print a JSON array, not a table."""
    all: bool = False
    """List the experiments of each study too."""


@dataclass(frozen=True)
class Showing:
    """Prints a config with everything resolved, and its costs; compiles nothing."""

    json: bool = False
    """Print a JSON array, not a table."""
    save: str | None = None
    """File to write one experiment to, NAME.json, which `run` takes in place of a name."""


@dataclass(frozen=True)
class Reporting:
    """Makes tables, plots and one offline page from run folders."""

    directories: tyro.conf.Positional[tuple[str, ...]]
    """Folders that hold run folders, at any depth; links are followed."""
    only: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A run's name, with * for any letters; repeat the option for more."""
    where: tyro.conf.UseAppendAction[tuple[str, ...]] = ()
    """A field and its value, as in model.num_heads=8; repeat it to narrow further."""
    out: str | None = None
    """Folder to write to; default the directory, if it is one."""
    readme: str | None = None
    """A Markdown file in which to replace the results between its markers."""
    svg: bool = False
    """Write the pictures as SVG too."""


def _one_of(what: str, known: Iterable[str]) -> Any:
    """Help that lists the names of an option."""
    return tyro.conf.arg(
        help=f"The {what}, followed by its own options: {', '.join(known)}."
    )


@dataclass(frozen=True)
class Overrides(Where):
    """Options that override fields of an experiment, and where it runs."""

    model: ModelConfig = ModelConfig()
    task: Task = Task()
    train: TrainConfig = TrainConfig()
    seeds: int = 3
    """Replicas, each with its own initialisation and order of the data."""
    kernel: Annotated[
        str | None, _one_of("mechanism of `attention` layers", KERNELS)
    ] = None
    optimizer: Annotated[str | None, _one_of("update rule", OPTIMIZERS)] = None
    schedule: Annotated[str | None, _one_of("rate after the warm-up", SCHEDULES)] = None
    task_: Annotated[
        str | None,
        tyro.conf.arg(
            name="task",
            help=f"Task, followed by its own options: {', '.join(TASKS)}; your own data as "
            "text:FILE, text:FOLDER, csv:FILE or tfds:NAME.",
        ),
    ] = None
