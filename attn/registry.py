"""The registry: experiments, studies that compare some of them, mechanisms and tasks.

A user's file registers its own beside those of the laboratory:

    launch.py --experiments my_study.py run mine
"""

import sys
import traceback
from collections.abc import Sequence
from dataclasses import replace
from importlib.metadata import entry_points
from importlib.util import module_from_spec, spec_from_file_location
from pathlib import Path

from attn.config import Experiment
from attn.config.claims import Claim
from attn.config.studies import Replacement, Reproduction, Study
from attn.config.tuning import Tunings
from attn.errors import UserError, unknown
from attn.kernels import KERNELS, Kernel
from attn.tasks import TASKS, Task

ENTRY_POINTS = "attn.experiments"
"""The group of entry points under which a package names modules that register."""


_REGISTRY: dict[str, Experiment | Study] = {}
_REPLACEMENTS: dict[str, Replacement] = {}
_REPRODUCTIONS: dict[str, Reproduction] = {}
_PAPERS: list[Path] = []
_FILES: list[Path] = []


def register(
    *items: Experiment | Study | Reproduction | Replacement | type[Kernel] | type[Task],
) -> None:
    """Registers items by name; studies and reproductions bring their experiments.

    A mechanism or a task is registered as its class.

    Raises:
        UserError: a name is taken.
    """
    for item in items:
        if isinstance(item, type):
            known = KERNELS if issubclass(item, Kernel) else TASKS
            _put(known, item, "mechanisms" if known is KERNELS else "tasks")
            continue
        if isinstance(item, Replacement):
            _put(_REPLACEMENTS, item, "replacements")
            continue
        if isinstance(item, Reproduction):
            _put(_REPRODUCTIONS, item, "reproductions")
            register(*(e for e in item.experiments if e.name not in _REGISTRY))
            continue
        _put(_REGISTRY, item, "experiments")
        if isinstance(item, Study):
            register(*item.experiments)


def _put(known: dict, item, what: str) -> None:
    if item.name in known:
        raise UserError(f"two {what} are called {item.name!r}; rename one")
    known[item.name] = item


def get(name: str) -> Experiment | Study:
    """Returns the item of that name.

    Raises:
        UserError: there is none; the nearest name is offered.
    """
    if name not in _REGISTRY:
        raise unknown("experiment", name, _REGISTRY)
    return _REGISTRY[name]


def everything() -> tuple[Experiment | Study, ...]:
    """All items, in order of registration."""
    return tuple(_REGISTRY.values())


def register_papers(folder: Path) -> None:
    """Registers a folder of published numbers, one JSON file a paper."""
    _PAPERS.append(folder)


def papers() -> tuple[Path, ...]:
    """The folders of published numbers."""
    return tuple(_PAPERS)


def reproductions(paper: str) -> tuple[Reproduction, ...]:
    """Reproductions of the numbers of a paper."""
    return tuple(r for r in _REPRODUCTIONS.values() if r.paper == paper)


def replacements() -> tuple[Replacement, ...]:
    """Mechanisms that `swap` puts in place of attention, in order of registration."""
    return tuple(_REPLACEMENTS.values())


def tunings() -> Tunings:
    """The grids of all studies, by the names of their experiments."""
    studies = [item for item in everything() if isinstance(item, Study)]
    return {name: grid for one in studies for name, grid in one.tunings.items()}


def tunings_of(experiments: Sequence[Experiment]) -> Tunings:
    """The grids of those that are as registered, but for their seeds."""
    grids = tunings()
    return {
        e.name: grids[e.name]
        for e in experiments
        if e.name in grids and is_registered(e)
    }


def is_registered(experiment: Experiment) -> bool:
    """Whether an experiment is registered as it is, but for its seeds and its words."""
    known = _REGISTRY.get(experiment.name)
    seeds = {"seeds": experiment.seeds, "first_seed": experiment.first_seed}
    same = {"claim": experiment.claim, **seeds}
    return isinstance(known, Experiment) and experiment == replace(known, **same)


def claims() -> tuple[Claim, ...]:
    """The claims of all studies."""
    studies = [item for item in everything() if isinstance(item, Study)]
    return tuple(claim for study in studies for claim in study.claims)


def load(files: Sequence[str] = ()) -> None:
    """Runs the files of a user, and the modules of installed packages, that register.

    Raises:
        UserError: a file is not there or raises; its own line is named.
    """
    for point in entry_points(group=ENTRY_POINTS):
        try:
            point.load()
        except Exception as error:
            raise UserError(
                f"entry point {point.name!r} ({point.value}) of {ENTRY_POINTS}: {error}"
            ) from error
    for file in files:
        _run(Path(file))
        _FILES.append(Path(file).absolute())


def files() -> tuple[Path, ...]:
    """The files of a user that have been loaded."""
    return tuple(_FILES)


def _run(path: Path) -> None:
    """Imports one file under its own name."""
    if not path.is_file():
        raise UserError(f"--experiments {path}: there is no such file")
    spec = spec_from_file_location(f"experiments_of_{path.stem}", path)
    if spec is None or spec.loader is None:
        raise UserError(f"--experiments {path}: it is not Python; name a .py file")
    module = sys.modules[spec.name] = module_from_spec(spec)
    try:
        spec.loader.exec_module(module)
    except Exception as error:
        del sys.modules[spec.name]
        raise UserError(f"{path}{_line(path, error)}: {_said(error)}") from error


def _line(path: Path, error: Exception) -> str:
    """The last line of a file that was running, or could not be read, as `:12`."""
    file = str(path.absolute())
    if isinstance(error, SyntaxError) and error.filename == file:
        return f":{error.lineno}"
    frames = traceback.extract_tb(error.__traceback__)
    own = [frame.lineno for frame in frames if frame.filename == file]
    return f":{own[-1]}" if own else ""


def _said(error: Exception) -> str:
    if isinstance(error, UserError):
        return str(error)
    message = error.msg if isinstance(error, SyntaxError) else str(error)
    return f"{type(error).__name__}: {message}".splitlines()[0]
