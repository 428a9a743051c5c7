"""The command line of the laboratory.

    python launch.py list [--json]             names, claims, minutes
    python launch.py show NAME [overrides]     config, parameters, FLOPs, bytes
    python launch.py compare [--all]           dense, sparse and low-rank in one table
    python launch.py run NAME [overrides]      an experiment or a study, resumed by itself
    python launch.py sweep NAME --over model.num_heads=1,2,4 --match params
    python launch.py report DIR                tables, plots and a page from run folders
    python launch.py inspect NAME              how far cheaper attention is from softmax
    python launch.py bench [--json]            our kernels beside other libraries', by ratio

Each has --help. An override names a field: --model.num-heads 8, --train.steps 2000,
--kernel linear. Exit codes: 0 done, 1 failed, 2 what you typed is wrong, 75 stopped by
a signal and resumable by the same command.
"""

import sys
from collections.abc import Sequence

HELP = ("-h", "--help", "help")
COMMANDS = {
    "list": "commands.list_",
    "show": "commands.show",
    "compare": "training.compare",
    "run": "training.run",
    "sweep": "training.sweep",
    "report": "commands.report",
    "inspect": "commands.inspect",
    "bench": "commands.bench",
}
"""The function of `attn.cli` that runs each command."""
HEAVY = ("run", "compare", "sweep", "inspect", "bench")
"""Commands that compile and compute."""


def registry():
    """The experiments by name; their import is most of the time that `list` takes."""
    import experiments.registry

    return experiments.registry


def benchmarks():
    """The suites of `bench`, and the folder of their results."""
    import experiments.benchmarks

    return experiments.benchmarks


def main(words: Sequence[str]) -> int:
    """Runs one command; returns its exit code."""
    from attn.cli import ending

    return ending.run(lambda: _command(words))


def _command(words: Sequence[str]) -> int:
    if not words or words[0] in HELP:
        print(__doc__)
        return 0
    if words[0] not in COMMANDS:
        from attn.errors import unknown

        raise unknown("command", words[0], COMMANDS)
    from importlib import import_module

    room, _, function = COMMANDS[words[0]].partition(".")
    command = getattr(import_module(f"attn.cli.{room}"), function)
    return command(words[1:], benchmarks if words[0] == "bench" else registry)


if __name__ == "__main__":
    from attn.cli import process

    process.watch_signals()
    if COMMANDS.keys() & sys.argv[1:2]:
        process.prepare(heavy=sys.argv[1] in HEAVY)
    sys.exit(main(sys.argv[1:]))
