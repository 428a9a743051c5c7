"""The command `generate`: text from a trained run, or from a pretrained model."""

import json
import sys
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING

from attn.cli.choosing import Source
from attn.errors import UserError

if TYPE_CHECKING:
    from attn.cli.options import Generating
    from attn.inspect.writer import Writer
    from attn.model.sampling import Sampler
    from attn.parallel.mesh import MeshShape

USAGE = "launch.py generate DIR|FOLDER"


def generate(words: Sequence[str], registry: Source) -> int:
    """Writes after a prompt, token by token, by a run or by a folder of weights."""
    from attn.cli.options import Generating
    from attn.cli.parsing import parse

    if not words or words[0].startswith("-"):
        if {"-h", "--help"} & {*words}:
            parse(Generating, words, prog=USAGE)
        raise UserError(
            "generate needs the folder of a run, or of pretrained weights, as in "
            "`generate runs/mine --prompt 'Once'`"
        )
    asked = parse(Generating, words[1:], prog=USAGE)
    registry()  # a user's file may hold its task
    return _write(Path(words[0]), asked)


def _write(folder: Path, asked: "Generating") -> int:
    from attn.inspect.writer import writer_of
    from attn.model.sampling import Sampler
    from attn.parallel.mesh import make_mesh, use_cpu_devices, using

    if asked.steps < 1:
        raise UserError(f"--steps {asked.steps}; ask for at least 1 token")
    if asked.rows < 1:
        raise UserError(f"--rows {asked.rows}; ask for at least 1 example")
    sampler = Sampler(asked.temperature, asked.top_k, asked.top_p)
    if asked.beams is not None and asked.temperature:
        raise UserError("--beams finds likely texts, --temperature samples; give one")
    shape = _mesh_shape(asked.mesh)
    use_cpu_devices(shape.size)
    mesh = make_mesh(shape) if shape.size > 1 else None
    writer = writer_of(folder, seed=asked.weights, mesh=mesh)
    prompts = asked.prompt or writer.examples(asked.rows)
    with using(mesh):
        return _write_all(writer, prompts, sampler, asked)


def _mesh_shape(text: str) -> "MeshShape":
    """The mesh that is asked for; raises `UserError` where it divides more than heads."""
    from attn.parallel.mesh import MeshShape

    shape = MeshShape.parse(text)
    if shape.size > shape.heads:
        raise UserError(
            f"--mesh {shape}: texts are written one by one, so there are only heads to "
            "divide; take heads=N"
        )
    return shape


def _write_all(
    writer: "Writer", prompts: Sequence[str], sampler: "Sampler", asked: "Generating"
) -> int:
    if asked.beams is not None:
        return _say(
            prompts, (writer.beams(p, asked.steps, asked.beams) for p in prompts), asked
        )
    if asked.json:
        made = (
            ["".join(writer.stream(p, asked.steps, sampler, asked.seed))]
            for p in prompts
        )
        return _say(prompts, made, asked)
    for prompt in prompts:
        _stream(writer, prompt, sampler, asked)
    return 0


def _stream(
    writer: "Writer", prompt: str, sampler: "Sampler", asked: "Generating"
) -> None:
    """Prints a prompt, and what follows as it is written."""
    print(prompt, end=writer.between, flush=True)
    for piece in writer.stream(prompt, asked.steps, sampler, asked.seed):
        sys.stdout.write(piece)
        sys.stdout.flush()
    print()


def _say(
    prompts: Sequence[str], made: Iterator[Sequence[str]], asked: "Generating"
) -> int:
    """Prints what was written after each prompt, best first."""
    rows = [{"prompt": p, "written": list(w)} for p, w in zip(prompts, made)]
    if asked.json:
        print(json.dumps(rows, indent=2, ensure_ascii=False))
        return 0
    for row in rows:
        print(row["prompt"])
        for text in row["written"]:
            print(f"    {text}")
    return 0
