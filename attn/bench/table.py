"""A record as a page: Markdown for the repository, the same for a terminal."""

from pathlib import Path

from rich.console import Group
from rich.table import Table
from rich.text import Text

from attn.bench.machine import slug
from attn.bench.plot import draw
from attn.bench.record import Record
from attn.bench.sheets import Sheet, sheets
from attn.errors import UserError
from attn.plots.plots import to_png
from attn.plots.style import LIGHT
from attn.records.files import write_atomically, write_json

CAPTION = (
    "Median (least to greatest) over the rounds of one run, everybody in turn. "
    "x ours: a rival's time over that of `attn`, paired within each round, so above 1 "
    "we are faster. Useful GFLOP/s count the products over visible pairs, backward as "
    "2.5 times forward (FlashAttention-2, section 4.1); share: of this machine's best "
    "matrix product in the same type. Error: the largest difference from the float32 "
    "definition over the definition's largest value. Scratch: what the compiled "
    "program needs beside inputs, outputs and gradients, where the library tells it."
)


GROWTH_CAPTION = (
    "`softmax` is ours as `auto` takes it, `attn` in the tables of cases; ratios are to "
    "it, so below 1 a mechanism is faster. Exponents: least squares of log cost over log "
    "tokens, plus or minus the standard error of the slope. `faster from`: where the "
    "logarithm of the ratio, between lengths, falls below 0 for good; `beyond`: it is "
    "above at the longest text, and falling; `never seen`: not falling. Compile time is "
    "of forward + backward. A mechanism that cannot be causal runs over all keys, beside "
    "causal softmax. What mechanisms give is not compared with softmax, which most are "
    "not; the tests hold each against its own definition."
)


def to_markdown(record: Record) -> str:
    """The whole page, as GitHub Markdown."""
    head = f"# Benchmark: {record.suite}\n\n{provenance(record)}"
    parts = [_markdown(sheet) for sheet in sheets(record)]
    return "\n\n".join([head, *parts, *_captions(record)]) + "\n"


def to_rich(record: Record) -> Group:
    """The same for a terminal; `rich.print` it."""
    drawn = [_rich(sheet) for sheet in sheets(record)]
    notes = (provenance(record), *_captions(record))
    return Group(*drawn, *(Text(note, style="dim") for note in notes))


def _captions(record: Record) -> list[str]:
    return [GROWTH_CAPTION] * bool(record.growth) + [CAPTION]


def provenance(record: Record) -> str:
    """Machine, versions, commit and date, in one line."""
    env = record.machine
    names = ("jax", "jaxlib", "flax", "torch", "attnax", "tokamax")
    versions = [f"{name} {env[name]}" for name in names if env.get(name)]
    commit = (env.get("git_commit") or "unknown")[:10]
    rates = [f"{x:.0f} GFLOP/s {dtype}" for dtype, x in env["matmul_gflops"].items()]
    parts = [
        f"{env['platform']} ({env.get('cpu') or env['device_kind']}, {env['cores']} cores)",
        *([f"matmul {', '.join(rates)}"] if rates else []),
        ", ".join(versions),
        f"commit {commit}{' (dirty)' if env.get('git_dirty') else ''}",
        f"GLIBC_TUNABLES={env['glibc_tunables'] or 'unset'}",
        f"{record.rounds} rounds",
        env["date"],
    ]
    return " · ".join(parts)


def write(record: Record, directory: Path) -> list[Path]:
    """Puts the record at DIRECTORY/MACHINE-SUITE.json, .md, and .png if it has lines.

    Raises:
        UserError: the directory cannot be written to.
    """
    base = directory / f"{slug(record.machine)}-{record.suite}"
    data, page = base.with_name(base.name + ".json"), base.with_name(base.name + ".md")
    try:
        directory.mkdir(parents=True, exist_ok=True)
        write_json(data, record.to_json())
        write_atomically(page, to_markdown(record))
        pictures = _draw(record, base.with_name(base.name + ".png"))
    except OSError as error:
        raise UserError(
            f"cannot write to {directory}: {error.strerror}; choose another --out"
        ) from error
    return [data, page, *pictures]


def _draw(record: Record, path: Path) -> list[Path]:
    figure = draw(record, LIGHT)
    if figure is None:
        return []
    path.write_bytes(to_png(figure))
    return [path]


def _markdown(sheet: Sheet) -> str:
    last = len(sheet.columns) - 1
    right = ["---" if i in (0, last) else "---:" for i in range(last + 1)]
    rows = [list(map(_escape, row)) for row in (sheet.columns, *sheet.rows)]
    lines = [rows[0], right, *rows[1:]]
    body = "\n".join(f"| {' | '.join(line)} |" for line in lines)
    return f"## {_escape(sheet.title)}\n\n{body}"


def _escape(text: str) -> str:
    for old, new in (("&", "&amp;"), ("<", "&lt;"), ("|", "\\|"), ("*", "\\*")):
        text = text.replace(old, new)
    return text


def _rich(sheet: Sheet) -> Table:
    drawn = Table(title=Text(sheet.title), title_justify="left")
    last = len(sheet.columns) - 1
    for index, column in enumerate(sheet.columns):
        side = "left" if index in (0, last) else "right"
        drawn.add_column(Text(column), justify=side, overflow="fold")
    for row in sheet.rows:
        drawn.add_row(*map(Text, row))
    return drawn
