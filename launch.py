"""The one door: `python launch.py`, or `attn` where the package is installed.

The commands are in `attn/cli`; this file gives them the experiments of the laboratory.
`python launch.py --help` lists them.
"""

import sys
from collections.abc import Sequence

from attn.cli import door


def load(files: Sequence[str]):
    """The registry of experiments, with what the files of a user register."""
    import experiments  # noqa: F401  # registers those of the laboratory
    from attn import registry

    registry.load(files)
    return registry


def benchmarks():
    """The suites of `bench`, and the folder of their results."""
    import experiments.benchmarks

    return experiments.benchmarks


def main(words: Sequence[str] | None = None) -> int:
    """Runs one command line, this process's own unless given; returns its exit code."""
    if words is None:
        words = sys.argv[1:]
        door.prepare(words)
    return door.run(words, load, benchmarks)


if __name__ == "__main__":
    sys.exit(main())
