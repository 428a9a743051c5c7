"""The command `swap`: how much attention pretrained weights need."""

import sys
from collections.abc import Callable, Iterable, Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

from attn.cli.choosing import Source
from attn.cli.console import console, print_paths
from attn.errors import (
    EXIT_FAILED,
    Failed,
    UserError,
    require_above_zero,
    require_positive,
)

if TYPE_CHECKING:
    from attn.cli.options import Swapping
    from attn.cli.progress import Watch
    from attn.inspect.swapping import Windows
    from attn.kernels import Kernel
    from attn.pretrained import Pretrained
    from attn.records.swaps import Point, Swaps
    from attn.registry import Replacement

    Work = list[tuple[Replacement, Kernel]]

USAGE = "launch.py swap FOLDER"
TEXT = "state-of-the-union"
"""The data package that is scored."""
RATE = 1e-4
"""The first learning rate of training after a swap."""


def swap(words: Sequence[str], registry: Source) -> int:
    """Scores text with pretrained weights, under each mechanism that is registered."""
    from attn.cli.folders import check_made, folder, writing
    from attn.cli.options import Swapping
    from attn.cli.parsing import parse
    from attn.inspect.writer import pretrained_folder
    from attn.tasks.packages import archive

    if not words or words[0].startswith("-"):
        if {"-h", "--help"} & {*words}:
            parse(Swapping, words, prog=USAGE)
        raise UserError(
            "swap needs a folder of pretrained weights, or the name of a package of them, as "
            "in `swap smollm2`"
        )
    asked = parse(Swapping, words[1:], prog=USAGE)
    require_positive(asked, "tokens")
    require_above_zero(asked, "rate")
    for name in ("steps", "seed"):
        if (number := getattr(asked, name)) < 0:
            raise UserError(f"--{name} {number}; it must be 0 or more")
    if asked.rate is not None and not asked.steps:
        raise UserError(
            f"--rate {asked.rate:g} trains nothing without --steps; give both"
        )
    if asked.windows < 2:
        raise UserError(f"--windows {asked.windows}; an interval needs at least 2")
    name = Path(words[0]).name.removesuffix(".gguf")
    where = asked.workdir or f"runs/swap-{name}"
    root = folder("--workdir", where)
    check_made(root, "swap", "swap.json")
    work = _work(registry().replacements(), asked)
    archive(TEXT, by="swap")
    weights = pretrained_folder(Path(words[0]))
    with writing(root):
        return _run(weights, Path(words[0]).name, asked, work, root)


def _work(replacements: "Sequence[Replacement]", asked: "Swapping") -> "Work":
    """The mechanisms to be asked; says which cannot be."""
    from attn.errors import unknown
    from attn.inspect.swapping import able
    from attn.records.swaps import describe

    names = [one.name for one in replacements]
    for name in asked.only:
        if name not in names:
            raise unknown("replacement", name, names)
    found = []
    for one in replacements:
        for kernel, why in able(one.kernels, asked.tokens):
            if asked.only and one.name not in asked.only:
                continue
            if why is None:
                found.append((one, kernel))
            else:
                print(f"{describe(kernel)} is left out: {why}")
    return found


def _run(weights: Path, name: str, asked: "Swapping", work: "Work", root: Path) -> int:
    """Makes the points that the record in `root` lacks, and draws all that it has."""
    from attn.plots.swaps import write
    from attn.pretrained import load
    from attn.records.environment import environment
    from attn.records.lock import lock
    from attn.records.swaps import begun, save

    printer = console()
    with lock(root):
        model = load(weights)
        windows = _windows(model, asked)
        scored = windows[: asked.windows]
        swaps = begun(root, _record(weights, name, scored, asked))
        here = environment({"data": 1, "heads": 1})
        failed = 0
        for key, make in _points(model, windows, asked, work):
            if swaps.find(*key) is not None:
                continue
            try:
                point = make()
            except UserError as error:
                print(f"{': '.join(key)} is left out: {error}")
                continue
            except Failed as error:
                failed = EXIT_FAILED
                print(f"{': '.join(key)}: {error}", file=sys.stderr)
                continue
            swaps = swaps.with_point(point, here)
            save(root, swaps)
            mean = sum(point.bits) / len(point.bits)
            printer.print(
                f"{point.line}: {point.kernel}: {100 * point.kept:.1f} % of scores, "
                f"{mean:.4f} bits per byte",
                highlight=False,
            )
        print_paths(printer, *write(swaps, root))
    return failed


def _points(
    model: "Pretrained", windows: "Windows", asked: "Swapping", work: "Work"
) -> "Iterator[tuple[tuple[str, str], Callable[[], Point]]]":
    """Yields the name of each point that is asked for, and what makes it."""
    from attn.cli.progress import Watch
    from attn.inspect import swapping
    from attn.records.swaps import UNMODIFIED, describe

    scored, rest = windows[: asked.windows], windows[asked.windows :]
    yield (UNMODIFIED, UNMODIFIED), lambda: swapping.unmodified(model, scored)
    for one, kernel in work:
        key = one.name, describe(kernel)
        yield key, lambda o=one, k=kernel: swapping.measure(model, o, k, scored)
    if not asked.steps:
        return
    training = swapping.Uptraining(asked.steps, asked.rate or RATE)
    for one, kernel in [(UNMODIFIED, None), *((one.name, k) for one, k in work)]:
        key = training.key(one, kernel)

        def made(one=one, kernel=kernel, key=key):
            with Watch(console(), asked.steps) as watch:
                watch.begin(": ".join(key), asked.steps)
                batches = _told(training.batches(rest), asked.steps, watch)
                return swapping.measure_trained(
                    model, one, kernel, scored, training, batches
                )

        yield key, made


def _told(batches: "Iterable[Any]", steps: int, watch: "Watch") -> "Iterator[Any]":
    """Yields the batches of a training, and tells a display of each that is done."""
    for step, batch in enumerate(batches, 1):
        yield batch
        watch.advance(step, steps, {})


def _windows(model: "Pretrained", asked: "Swapping") -> "Windows":
    """The windows of text, in the tokens of a model that writes."""
    from attn.inspect.swapping import Uptraining, draw_windows
    from attn.tasks.packages import archive
    from attn.tasks.speeches import addresses

    config = model.transformer.model
    if not config.causal or config.encoder is not None:
        raise UserError(
            f"{model.checkpoint.path} is no decoder, and scores no text; choose another"
        )
    found = [text for own in addresses(archive(TEXT, by="swap")) for text in own]
    texts = [text.decode(errors="replace") for text in found]
    return draw_windows(
        texts,
        model.tokenizer,
        tokens=asked.tokens,
        windows=asked.windows + Uptraining.rows * asked.steps,
        seed=asked.seed,
    )


def _record(weights: Path, name: str, windows: "Windows", asked: "Swapping") -> "Swaps":
    """The record that is asked for, before it has a point."""
    from attn.records.swaps import Swaps
    from attn.tasks.packages import digest, find

    own = [weights] if weights.is_file() else weights.iterdir()
    files = sorted(f for f in own if f.suffix in (".gguf", ".safetensors"))
    return Swaps(
        name,
        {file.name: digest(file) or "" for file in files},
        f"{TEXT} {find(TEXT).version}",
        windows.sha256,
        tuple(map(int, windows.num_bytes)),
        asked.tokens,
        asked.windows,
        asked.seed,
    )
