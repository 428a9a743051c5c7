"""Tables and files of a record: targets, scaling, compiling, masks, cases."""

from collections.abc import Sequence
from itertools import groupby
from pathlib import Path

from attn.bench.captions import captions
from attn.bench.cells import exponent, overtaken, spread, text_table
from attn.bench.machine import slug
from attn.bench.measure import Spread
from attn.bench.plot import draw
from attn.bench.record import (
    DecodingRecord,
    GrowthRecord,
    Judgement,
    ModelRecord,
    Record,
    Row,
)
from attn.errors import UserError
from attn.plots import tables, terminal
from attn.plots.plots import to_png
from attn.plots.style import LIGHT
from attn.plots.tables import Column, Table
from attn.plots.units import NONE, memory, milliseconds
from attn.records.environment import provenance
from attn.records.files import write_atomically, write_json

PACKAGES = (
    *("jax", "jaxlib", "flax", "torch", "transformers", "attnax", "tokamax"),
    *("triton", "fla-core"),
)
MODEL = "rival|ms|x ours|tokens/s|first call, s|error|note".split("|")
CASE = "rival|ms|x ours|useful GFLOP/s|share|scratch|error|note".split("|")


def make_tables(record: Record) -> list[Table]:
    """The tables of a record: targets, our limits, then every case."""
    found = [
        (record.targets, _targets),
        (record.growth, _scaling),
        (record.compiling, _compiling),
        (record.density, _density),
        (record.decoding, _decoding),
    ]
    cases = [text_table(case.name, CASE, map(_row, case.rows)) for case in record.cases]
    models = [
        text_table(one.name, MODEL, [_model_row(one, row) for row in one.rows])
        for one in record.models
    ]
    return [*(make(record) for part, make in found if part), *cases, *models]


def _targets(record: Record) -> Table:
    columns = ("target", "against", "bound", "aim", "measured", "verdict", "where")
    return text_table("Targets", columns, map(_target, record.targets))


def _target(one: Judgement) -> tuple[str, ...]:
    sign, unit = (">=", "x") if one.higher_is_better else ("<=", "")
    bounds = (f"{sign} {one.bound:g}{unit}", f"{one.aim:g}{unit}")
    against = one.against or "itself"
    return (one.title, against, *bounds, spread(one.found), one.verdict, one.where)


def _compiling(record: Record) -> Table:
    rows = [
        (
            *(case.name, spread(Spread.of(case.samples_seconds))),
            *(memory(case.temp_bytes), "compiled, not run"),
        )
        for case in record.compiling
    ]
    columns = ("case", "compile, s", "scratch", "note")
    return text_table(
        "Compile time and scratch memory of attn blockwise", columns, rows
    )


def _density(record: Record) -> Table:
    rows = [
        (x.name, f"{x.density:.2%}", spread(x.ms), spread(x.excess), "1 is ideal")
        for x in record.density
    ]
    columns = ("case", "density", "ms", "time / (density x own dense time)", "note")
    return text_table("attn blockwise under masks", columns, rows)


def _scaling(record: Record) -> Table:
    """Builds the table of growth: a row a mechanism, by family, both directions."""
    families = list(dict.fromkeys(one.family for one in record.growth))
    lines = sorted(record.growth, key=lambda one: families.index(one.family))
    fitted = max((x.time.tokens for x in record.growth if x.time), key=len, default=())
    at = f"at {record.mark:,}"
    columns: list[str | Column] = ["mechanism", "family"]
    for what in (
        *("time exponent", "scratch exponent"),
        *(f"time over softmax {at}", "faster from, tokens"),
    ):
        raw = f"{what}, forward + backward"
        columns += [f"{what}, forward", Column("forward + backward", raw=raw)]
    rows = [
        _scaling_row(tuple(both), len(fitted))
        for _, both in groupby(lines, key=lambda one: one.mechanism)
    ]
    said = ", ".join(f"{tokens:,}" for tokens in fitted)
    title = f"Growth with length; exponents fitted to {said} tokens"
    return text_table(title, [*columns, f"compile {at}, s", "note"], rows)


def _scaling_row(pair: Sequence[GrowthRecord], lengths: int) -> tuple[str, ...]:
    """The cells of one mechanism, forward and with gradients."""
    forward, trained = pair
    took = trained.compile_seconds
    return (
        forward.mechanism,
        forward.family,
        *(exponent(one.time, lengths) for one in pair),
        *(exponent(one.scratch, lengths) for one in pair),
        *(spread(one.ratio) for one in pair),
        *(overtaken(one.crossover) for one in pair),
        NONE if took is None else f"{took:.2f}",
        # The run with gradients stops first, if any does.
        trained.note or forward.note,
    )


def _decoding(record: Record) -> Table:
    """Builds the table of decoding steps: a row a mechanism, in order of family."""
    lengths = [one.tokens for one in record.decoding[0].steps]
    columns = (
        *("mechanism", "family"),
        *(f"ms a step at {tokens:,}" for tokens in lengths),
        "growth",
        *(f"cache at {tokens:,}" for tokens in lengths),
        *("by its formula", "note"),
    )
    title = f"Decoding steps, from {lengths[0]:,} to {lengths[-1]:,} tokens"
    return text_table(title, columns, map(_decoding_row, record.decoding))


def _decoding_row(one: DecodingRecord) -> tuple[str, ...]:
    apart = [f"off by {gap:+,} B at {tokens:,}" for tokens, gap in one.apart.items()]
    return (
        *(one.mechanism, one.family),
        *(spread(x.row.ms) for x in one.steps),
        spread(one.growth),
        *(memory(x.cache_bytes) for x in one.steps),
        *(", ".join(apart) or "equal", one.note),
    )


def _model_row(race: ModelRecord, row: Row) -> tuple[str, ...]:
    _, ms, ratio, _, _, _, error, note = _row(row)
    rate = NONE if row.ms is None else f"{1e3 * race.tokens / row.ms.median:,.0f}"
    took = row.compile_seconds
    first = NONE if took is None else f"{took:.2f}"
    return row.rival, ms, ratio, rate, first, error, note


def _row(row: Row) -> tuple[str, ...]:
    slow = f"{milliseconds(row.samples_ms[0])} once" if row.status == "slow" else NONE
    return (
        row.rival,
        spread(row.ms) if row.ms else slow,
        spread(row.ratio),
        NONE if row.gflops is None else f"{row.gflops:.3g}",
        NONE if row.share is None else f"{row.share:.0%}",
        memory(row.temp_bytes),
        NONE if row.error is None else f"{row.error:.0e}".replace("0e+00", "0"),
        row.reason if row.status == "ok" else f"{row.status}: {row.reason}",
    )


def _made_by(record: Record) -> str:
    env = record.machine
    rates = [f"{x:.0f} GFLOP/s {dtype}" for dtype, x in env["matmul_gflops"].items()]
    made = env.get("products", {}).items()
    shortened = [f"products of {dtype} in {x}" for dtype, x in made if x != dtype]
    tunables = f"GLIBC_TUNABLES={env['glibc_tunables'] or 'unset'}"
    return provenance(
        [env],
        packages=PACKAGES,
        after=[
            *(tunables, f"{record.rounds} rounds", env["date"]),
            *shortened,
            *([f"matmul {', '.join(rates)}"] if rates else []),
        ],
    )


def to_markdown(record: Record) -> str:
    """Formats the record as one page of GitHub Markdown."""
    before = [f"# Benchmark: {record.suite}", _made_by(record)]
    return tables.to_markdown(make_tables(record), before, captions(record), level=2)


def to_rich(record: Record):
    """Formats the record for a terminal, to be printed by `rich`."""
    return terminal.to_rich(make_tables(record), [_made_by(record), *captions(record)])


def write(record: Record, directory: Path) -> list[Path]:
    """Writes the record to DIRECTORY/MACHINE-SUITE.json, .md and, if plotted, .png.

    Raises:
        UserError: the directory cannot be written to.
    """
    base = f"{slug(record.machine)}-{record.suite}"
    data, page, picture = (
        directory / f"{base}.{kind}" for kind in ("json", "md", "png")
    )
    figure = draw(record, LIGHT)
    try:
        directory.mkdir(parents=True, exist_ok=True)
        write_json(data, record.to_json())
        write_atomically(page, to_markdown(record))
        if figure is not None:
            picture.write_bytes(to_png(figure))
    except OSError as error:
        raise UserError(
            f"cannot write to {directory}: {error.strerror}; choose another --out"
        ) from error
    return [data, page] + [picture] * (figure is not None)
