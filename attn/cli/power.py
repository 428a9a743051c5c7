"""The command `power`: what differences the seeds of runs can show."""

from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

from attn.cli.choosing import Source, choose, refuse_unused, take_name
from attn.cli.console import console, print_paths
from attn.errors import UserError


def power(words: Sequence[str], registry: Source) -> int:
    """Says the smallest difference that seeds show, and the seeds that a table needs."""
    from attn.cli.folders import folder
    from attn.cli.options import Power
    from attn.cli.parsing import parse, print_help_of, split_off
    from attn.cli.reporting import refuse_repository
    from attn.records.collect import load_all

    name, rest = take_name(words, "power")
    own, rest = split_off(rest, ("seeds",))
    asked = parse(Power, own, prog="launch.py power NAME")
    print_help_of(Power, rest, prog="launch.py power NAME")
    if Path(name).is_dir():
        if own or rest:
            raise UserError(
                f"power {name} reads its runs as they are; leave options out"
            )
        refuse_repository(Path(name), "name a folder of runs in it")
        return _write(load_all(folder("directory", name)), Path(name))
    return _pilot(name, [*rest, "--seeds", str(asked.seeds)], registry)


def _pilot(name: str, words: Sequence[str], registry: Source) -> int:
    """Trains replicas of an experiment or a study, and reads their noise."""
    from attn.cli.training import prepare, train
    from attn.records.collect import load_all

    experiments, where, study = choose([name, *words], "power", registry)
    refuse_unused(where, "power", "nprocs")
    if where.workdir is None:
        where = replace(where, workdir=f"runs/power-{Path(name).stem}")
    root, mesh_shape = prepare(experiments, where, study)
    tunings = registry().tunings_of(experiments)
    code = train(experiments, root, mesh_shape, where, study, tunings)
    return _write(load_all(root), root) or code


def _write(runs, root: Path) -> int:
    """Writes and prints the noise floor of runs."""
    from attn.cli.folders import writing
    from attn.plots.tables import write_tables
    from attn.plots.terminal import to_rich
    from attn.records.comparison import group_runs
    from attn.report.noise import CAPTION, noise_table

    tables = [noise_table(group) for group in group_runs(runs) if group.done]
    printer = console()
    printer.print(to_rich(tables, [CAPTION], width=printer.width))
    with writing(root):
        paths = write_tables(tables, root / "noise", after=[CAPTION])
    print_paths(printer, *paths)
    return 0
