"""The command `plan`: a program compiled for devices that are not here."""

import json
import os
import sys
from collections.abc import Iterator, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING

from attn.cli.choosing import Source, choose, refuse_unused
from attn.cli.console import console, print_paths, successes
from attn.errors import UserError

if TYPE_CHECKING:
    from attn.cli.options import Planning
    from attn.config import Experiment
    from attn.parallel.mesh import MeshShape
    from attn.plan.estimate import Plan
    from attn.plan.topologies import Topology

SETTINGS = {
    "TPU_SKIP_MDS_QUERY": "1",
    "TPU_WORKER_HOSTNAMES": "localhost",
    "ALLOW_MULTIPLE_LIBTPU_LOAD": "1",
    "TPU_STDERR_LOG_LEVEL": "3",
    "TF_CPP_MIN_LOG_LEVEL": "3",
}
"""The environment in which libtpu compiles and looks for no TPU; read as jax starts."""


def plan(words: Sequence[str], registry: Source) -> int:
    """Prints whether a step fits the devices of --on, and the least time that it takes."""
    os.environ["JAX_PLATFORMS"] = "cpu"  # also where a user's own names what is here
    for name, value in SETTINGS.items():
        os.environ.setdefault(name, value)
    from attn.cli.folders import folder
    from attn.cli.options import Planning
    from attn.cli.parsing import parse, print_help_of, split_off
    from attn.plan.topologies import topology

    flags = ("sweep", "whole", "support", "json")
    own, rest = split_off(words, ("on", "what"), flags=flags)
    print_help_of(Planning, rest[1:], prog="launch.py plan NAME")
    asked = parse(Planning, own, prog="launch.py plan NAME")
    if asked.support:
        return _print_support([*own, *rest], json_too=asked.json)
    experiments, where, study = choose(rest, "plan", registry)
    if study is not None:
        raise UserError(f"{study!r} is a study; plan one of its experiments")
    refuse_unused(where, "plan", "nprocs", "log")
    if asked.on is None:
        raise UserError("plan needs --on, as in --on v5p:8x8x8 or --on h200:8")
    devices = topology(asked.on)
    root = None if where.workdir is None else folder("--workdir", where.workdir)
    meshes = _meshes(
        experiments[0], devices, where.mesh, sweep=asked.sweep, what=asked.what
    )
    if asked.what != "train":
        _check_part(experiments[0], meshes, asked)
    devices.require()
    found = list(_plans(experiments[0], devices, meshes, asked))
    paths = [] if root is None else _write(found, root)
    if asked.json:
        from attn.plan.tables import as_json, ranked

        values = [as_json(one) for one in ranked(found)]
        print(json.dumps(values if asked.sweep else values[0], indent=2))
        return 0
    _print(found, sweep=asked.sweep)
    print_paths(console(), *paths)
    return 0


def _print_support(words: Sequence[str], *, json_too: bool) -> int:
    """Prints what serves each mechanism where a mesh divides the sequence."""
    from attn.parallel.support import table
    from attn.plan.supported import supported
    from attn.plots.terminal import to_rich

    others = [word for word in words if word not in ("--support", "--json")]
    if others:
        raise UserError(
            f"plan --support takes nothing else; leave out {' '.join(others)}"
        )
    rows = table()
    if json_too:
        print(json.dumps([row._asdict() for row in rows], indent=2))
        return 0
    printer = console()
    printer.print(to_rich([supported(rows)], width=printer.width))
    return 0


def _meshes(
    experiment: "Experiment", devices: "Topology", text: str, *, sweep: bool, what: str
) -> "list[MeshShape]":
    """The meshes to plan: the one that was asked for, or all with --sweep.

    Decoding divides no sequence.
    """
    from attn.plan.shapes import choose as choose_mesh
    from attn.plan.shapes import shapes

    seq = False if what == "decode" else None
    chosen = choose_mesh(experiment, devices, text, seq=seq)
    if sweep and text:
        raise UserError(f"--sweep tries every mesh; leave out --mesh {text}")
    return shapes(experiment, devices, seq=seq) if sweep else [chosen]


def _check_part(
    experiment: "Experiment", meshes: "list[MeshShape]", asked: "Planning"
) -> None:
    """Raises `UserError` for --whole of one layer, and a part that does not run so."""
    from attn.plan.parts import attention_flops, check_decoding

    if asked.what == "attend":
        if asked.whole:
            raise UserError("--what attend is of one layer; leave out --whole")
        attention_flops(experiment)
        return
    for mesh in meshes:
        check_decoding(experiment, mesh)


def _plans(
    experiment: "Experiment",
    devices: "Topology",
    meshes: "list[MeshShape]",
    asked: "Planning",
) -> "Iterator[Plan]":
    """Plans each mesh; of several, those for which there is no room are named, and left.

    Raises:
        TooLarge: there is room for none.
    """
    from attn.plan.programs import TooLarge

    calls = [partial(_plan, experiment, devices, mesh, asked) for mesh in meshes]
    return successes(calls, TooLarge, "no room")


def _plan(
    experiment: "Experiment", devices: "Topology", mesh: "MeshShape", asked: "Planning"
) -> "Plan":
    from attn.plan.estimate import plan

    print(f"compiling for {devices.name}, mesh {mesh}", file=sys.stderr)
    memory = devices.chip.memory
    if memory is None:  # the devices of a CPU share its memory
        host = os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
        memory = host // devices.count
    return plan(
        experiment, devices, mesh, memory=memory, whole=asked.whole, what=asked.what
    )


def _print(found: "list[Plan]", *, sweep: bool) -> None:
    from attn.plan.tables import notes, ranking, tables
    from attn.plots.terminal import to_rich

    printer = console()
    if sweep:
        printer.print(to_rich([ranking(found)], width=printer.width))
    else:
        shown = to_rich(tables(found[0]), notes(found[0]), width=printer.width)
        printer.print(shown)


def _write(found: "list[Plan]", root: Path) -> list[Path]:
    """Keeps every plan as JSON, and its tables and picture."""
    from attn.cli.folders import writing
    from attn.plan.tables import as_json, heading, notes, tables
    from attn.plots.plans import draw_plan
    from attn.plots.style import LIGHT
    from attn.plots.tables import write_tables
    from attn.records.files import write_json

    paths = []
    with writing(root):
        for one in found:
            name = heading(one).replace(":", "-").replace(", mesh ", "-")
            stem = root / name.replace(" on ", "-").replace(",", "-")
            write_json(stem.with_name(f"{stem.name}.json"), as_json(one))
            paths.append(stem.with_name(f"{stem.name}.json"))
            paths += write_tables(tables(one), stem, after=notes(one))
            picture = stem.with_name(f"{stem.name}.png")
            drawn = draw_plan(
                heading(one), one.numbers.held, one.memory, one.roofline.roofs, LIGHT
            )
            drawn.savefig(picture, metadata={"Software": None})
            paths.append(picture)
    return paths
