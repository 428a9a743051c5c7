"""A record as tables: Markdown for the repository, the same for a terminal."""

from collections import defaultdict
from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from rich.console import Group
from rich.table import Table
from rich.text import Text

from attn.bench.machine import slug
from attn.bench.measure import Spread
from attn.bench.plot import draw
from attn.bench.record import (
    CaseRecord,
    Crossover,
    Fit,
    GrowthRecord,
    Judgement,
    Record,
    Row,
)
from attn.errors import UserError
from attn.report.plots import to_png
from attn.report.style import LIGHT
from attn.report.units import NONE, memory, milliseconds
from attn.train.files import write_atomically, write_json

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


@dataclass(frozen=True)
class Sheet:
    """A table before it is drawn; the first column is text, and so is the last."""

    title: str
    columns: tuple[str, ...]
    rows: tuple[tuple[str, ...], ...]


def sheets(record: Record) -> list[Sheet]:
    """Targets first, then our limits, then every case."""
    found = [_targets(record.targets)] if record.targets else []
    if record.growth:
        found.append(_growth(record))
    if record.compiling:
        found.append(_compiling(record))
    if record.density:
        found.append(_density(record))
    return [*found, *map(_case, record.cases)]


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


def _targets(targets: Sequence[Judgement]) -> Sheet:
    rows = []
    for target in targets:
        sign = ">=" if target.higher_is_better else "<="
        unit = "x" if target.higher_is_better else ""
        rows.append(
            (
                target.title,
                target.against or "itself",
                f"{sign} {target.bound:g}{unit}",
                f"{target.aim:g}{unit}",
                spread(target.found),
                target.verdict,
                target.where,
            )
        )
    columns = ("target", "against", "bound", "aim", "measured", "verdict", "where")
    return Sheet("Targets", columns, tuple(rows))


def _compiling(record: Record) -> Sheet:
    rows = [
        (
            case.name,
            spread(Spread.of(case.samples_seconds)),
            memory(case.temp_bytes),
            "compiled, not run",
        )
        for case in record.compiling
    ]
    columns = ("case", "compile, s", "scratch", "note")
    return Sheet(
        "Compile time and scratch memory of attn blockwise", columns, tuple(rows)
    )


def _density(record: Record) -> Sheet:
    rows = [
        (
            case.name,
            f"{case.density:.2%}",
            spread(case.ms),
            spread(case.excess),
            "1 is ideal",
        )
        for case in record.density
    ]
    columns = ("case", "density", "ms", "time / (density x own dense time)", "note")
    return Sheet("attn blockwise under masks", columns, tuple(rows))


def _growth(record: Record) -> Sheet:
    """A line a mechanism, by family; both directions side by side."""
    directions = defaultdict(dict)
    for one in record.growth:
        directions[one.family, one.mechanism][one.backward] = one
    families = list(dict.fromkeys(family for family, _ in directions))
    fitted = max((x.time.tokens for x in record.growth if x.time), key=len, default=())
    rows = [
        _grown(pair[False], pair[True], len(fitted))
        for (family, _), pair in sorted(
            directions.items(), key=lambda item: families.index(item[0][0])
        )
    ]
    at = f"at {record.mark:,}"
    columns = (
        *("mechanism", "family", "time exponent, forward", "forward + backward"),
        *("scratch exponent, forward", "forward + backward"),
        *(f"time over softmax {at}, forward", "forward + backward"),
        *("faster from, tokens, forward", "forward + backward"),
        *(f"compile {at}, s", "note"),
    )
    said = ", ".join(f"{tokens:,}" for tokens in fitted)
    title = f"Growth with the text; exponents fitted to {said} tokens"
    return Sheet(title, columns, tuple(rows))


def _grown(
    forward: GrowthRecord, trained: GrowthRecord, lengths: int
) -> tuple[str, ...]:
    pair = (forward, trained)
    took = trained.compile_seconds
    return (
        forward.mechanism,
        forward.family,
        *(exponent(one.time, lengths) for one in pair),
        *(exponent(one.scratch, lengths) for one in pair),
        *(spread(one.ratio) for one in pair),
        *(overtaken(one.crossover) for one in pair),
        NONE if took is None else f"{took:.2f}",
        # What stopped it with gradients stopped it first, or nothing did.
        trained.note or forward.note,
    )


def exponent(fit: Fit | None, lengths: int) -> str:
    """`1.02 ± 0.03`; of how many lengths where not of all."""
    if fit is None:
        return NONE
    error = "" if fit.error is None else f" ± {fit.error:.2f}"
    fewer = len(fit.tokens) < lengths
    return f"{fit.exponent:.2f}{error}" + f" ({len(fit.tokens)} lengths)" * fewer


def overtaken(crossover: Crossover | None) -> str:
    """`1,730`, `below 1,024`, `beyond 16,384`, or `never seen`."""
    if crossover is None:
        return NONE
    if crossover.kind == "never":
        return "never seen"
    lead = "" if crossover.kind == "at" else f"{crossover.kind} "
    return f"{lead}{crossover.tokens:,}"


def _case(case: CaseRecord) -> Sheet:
    columns = (
        *("rival", "ms", "x ours", "useful GFLOP/s", "share", "scratch", "error"),
        "note",
    )
    return Sheet(case.name, columns, tuple(map(_row, case.rows)))


def _row(row: Row) -> tuple[str, ...]:
    reason = row.reason if row.status == "ok" else f"{row.status}: {row.reason}"
    slow = f"{milliseconds(row.samples_ms[0])} once" if row.status == "slow" else NONE
    return (
        row.rival,
        spread(row.ms) if row.ms else slow,
        spread(row.ratio),
        NONE if row.gflops is None else f"{row.gflops:.3g}",
        NONE if row.share is None else f"{row.share:.0%}",
        memory(row.temp_bytes),
        NONE if row.error is None else f"{row.error:.0e}".replace("0e+00", "0"),
        reason,
    )


def spread(value: Spread | None) -> str:
    """`61.2 (60.1 to 64.0)`; one number where all are the same."""
    if value is None:
        return NONE
    texts = [milliseconds(x) for x in (value.median, value.low, value.high)]
    if value.low == value.high:
        return texts[0]
    return f"{texts[0]} ({texts[1]} to {texts[2]})"


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
