"""The command `inspect`: maps of a text, or distances to softmax of a named experiment."""

from collections.abc import Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from attn.cli import commands
from attn.cli.choosing import Source
from attn.cli.console import console, print_paths
from attn.errors import UserError

if TYPE_CHECKING:
    from attn.cli.options import Looking
    from attn.inspect.looking import Findings

USAGE = "launch.py inspect DIR|FOLDER"
WIDTH = 78
"""Letters of a line that is printed."""
NAMED = 3
"""Keys of a query word that are printed."""


def inspect(words: Sequence[str], registry: Source) -> int:
    """Shows where heads look on a text; of a named experiment, what approximates it."""
    from attn.cli.options import Looking
    from attn.cli.parsing import parse, print_help_of

    texts = any(word.partition("=")[0] == "--text" for word in words)
    if words and not texts and Path(words[0]).is_dir():
        if {"-h", "--help"} & {*words}:
            parse(Looking, words[1:], prog=USAGE)
        raise UserError(
            f"inspect {words[0]} needs a text, as in `inspect {words[0]} --text 'Once'`"
        )
    if not texts:
        print_help_of(Looking, words, prog=USAGE)
        return commands.inspect(words, registry)
    if words[0].startswith("-"):
        raise UserError(
            "inspect --text needs the folder of a run, or of pretrained weights, before it"
        )
    asked = parse(Looking, words[1:], prog=USAGE)
    registry()  # a user's file may hold the run's task
    return _look(Path(words[0]), asked)


def _look(folder: Path, options: "Looking") -> int:
    from attn.cli.folders import folder as checked
    from attn.cli.folders import writing
    from attn.inspect.look_files import write
    from attn.inspect.looking import Asked, find
    from attn.inspect.reader import reader_of, without_map

    out = _out(folder) if options.out is None else checked("--out", options.out)
    reader = reader_of(folder, seed=options.weights)
    texts = (options.text, options.pair, options.from_)
    findings = find(reader, Asked(*texts, options.layer, options.head))
    for name, mechanism in without_map(reader.model).items():
        print(f"{name} is left out: {mechanism} has no map")
    _say(findings)
    with writing(out):
        print_paths(console(), *write(findings, folder.name, out))
    return 0


def _out(folder: Path) -> Path:
    """The folder that is written to unless one is named: that of the run has its own."""
    run = (folder / "result.json").exists()
    return folder / "looks" if run else Path("runs", "looks", folder.name)


def _say(findings: "Findings") -> None:
    """Prints, in narrow lines, what the tables say of the query word and the alignment."""
    for look, kind, word in findings.words:
        order = (-word.mean).argsort(kind="stable")[:NAMED]
        keys = ", ".join(f"{word.keys[s]} {word.mean[s]:.3f}" for s in order)
        line = (
            f"{word.word} ({kind}, mean of {word.weights[..., 0].size} heads): {keys}"
        )
        print(_short(look.title), _short(line), sep="\n    ")
    for one in findings.known.rows if findings.known else ():
        if not one.what.startswith("cross"):  # a layer, of which the tables tell
            scores = ", ".join(f"{name} {x:.3f}" for name, x in one.scores.items())
            print(f"{one.what}: {scores}")


def _short(text: str) -> str:
    return text if len(text) <= WIDTH - 4 else f"{text[: WIDTH - 5]}…"
