"""Files of a look at heads: pictures, a page, and tables as Markdown and JSON."""

import json
from collections.abc import Mapping, Sequence
from dataclasses import asdict, replace
from pathlib import Path
from typing import Any

from attn.inspect.alignment import aligned, alignment_table, known_table, mean_map
from attn.inspect.heads import heads_table, word_heads_table, word_table
from attn.inspect.looking import Asking, Findings
from attn.inspect.reader import Look
from attn.plots.plots import to_png
from attn.plots.style import DARK, LIGHT, Theme
from attn.plots.tables import Table, to_markdown
from attn.plots.text_maps import Kind, Text, draw_head, draw_layers
from attn.records.environment import environment, provenance
from attn.report.text_page import write_text_page

SAID: Mapping[Kind, str] = {
    "encoder": "encoder self-attention",
    "layer": "self-attention",
    "cross": "cross-attention",
}
DIGITS = 4
"""Decimals of a weight in JSON."""


def write(findings: Findings, model: str, out: Path) -> list[Path]:
    """Writes everything that was found of a model into a folder; returns the paths."""
    env, tables = environment({}), tables_of(findings)
    layer, head = findings.chosen
    title, name = f"Where {model} looks", f"{layer}, head {head}"
    large = {t.name: to_png(_large(findings, model, t)) for t in (LIGHT, DARK)}
    said = [
        *(look.title for look in findings.looks),
        f"{len(findings.heads[0])} heads; in large: {name}. Shares are means over the "
        "queries of a head, largest the share of the key that a query sees most.",
    ]
    paths = [
        out / file for file in ("head.png", "looks.html", "looks.md", "looks.json")
    ]
    paths[0].write_bytes(large["light"])
    write_text_page(
        paths[1],
        title,
        [(look.title, look.layers) for look in findings.looks],
        opening=said,
        picture=large,
        tables=tables,
        environment=env,
    )
    before = [f"# {title}", provenance([env]), *said]
    paths[2].write_text(to_markdown(tables, before=before), encoding="utf-8")
    record = {"model": model, **record_of(findings), "environment": env}
    text = json.dumps(record, ensure_ascii=False, separators=(",", ":"))
    paths[3].write_text(text + "\n", encoding="utf-8")
    return _draw_all(findings, model, out) + paths


def _large(findings: Findings, model: str, theme: Theme):
    layer, head = findings.chosen
    texts = [
        (look.title, [x for x in look.layers if x.name == layer])
        for look in findings.looks
    ]
    return draw_head(texts, head, f"{model}: {layer}, head {head}", theme)


def _draw_all(findings: Findings, model: str, out: Path) -> list[Path]:
    """Draws all heads, a picture for each kind of layers and family of mechanisms."""
    first, paths = findings.looks[0], []
    groups: dict[tuple[Kind, str], None] = {
        (layer.kind, layer.family): None for layer in first.layers
    }
    for kind, family in groups:
        texts: list[Text] = [
            (look.title, [x for x in look.of(kind) if x.family == family])
            for look in findings.looks
        ]
        several = sum(other == kind for other, _ in groups) > 1
        name = f"{kind}_{family}" if several else kind
        title = f"{model}, all heads of {SAID[kind]} (layer-head)"
        paths.append(out / f"all_{name}.png")
        paths[-1].write_bytes(to_png(draw_layers(texts, title, LIGHT)))
    return paths


def tables_of(findings: Findings) -> list[Table]:
    """The tables of the query word, of the alignment, and of all heads."""
    first, cross = findings.looks[0], findings.looks[0].of("cross")
    tables = [_of_word(asking, word_table(asking.found)) for asking in findings.words]
    if cross:
        tables.append(_of(first, alignment_table(cross)))
    if findings.known:
        tables.append(known_table(findings.known))
    tables += [
        _of_word(asking, word_heads_table(asking.found)) for asking in findings.words
    ]
    measured = zip(findings.looks, findings.heads)
    return tables + [_of(look, heads_table(heads)) for look, heads in measured]


def _of_word(asking: Asking, table: Table) -> Table:
    """The table of a word, with the kind of its layers where there are several."""
    several = len(asking.look.queries) > 1
    kind = f" ({SAID[asking.kind]})" if several else ""
    return _of(asking.look, replace(table, title=table.title + kind))


def _of(look: Look, table: Table) -> Table:
    return replace(table, title=f"{table.title}: {look.title}")


def record_of(findings: Findings) -> dict[str, Any]:
    """Everything that was measured, as numbers."""
    looks = [
        {"text": look.title, "heads": [_rounded(asdict(head)) for head in heads]}
        for look, heads in zip(findings.looks, findings.heads)
    ]
    words = [
        {
            "text": asking.look.title,
            "kind": asking.kind,
            "word": asking.found.word,
            "keys": asking.found.keys,
            "mean": _rounded(asking.found.mean.tolist()),
            "layers": asking.found.layers,
            "weights": _rounded(asking.found.weights.tolist()),
        }
        for asking in findings.words
    ]
    record: dict[str, Any] = {"chosen": findings.chosen, "looks": looks, "words": words}
    if cross := findings.looks[0].of("cross"):
        mean = mean_map(cross)
        record["alignment"] = {
            "targets": cross[0].queries,
            "source": cross[0].keys,
            "positions": aligned(mean).tolist(),
            "weights": _rounded(mean.max(axis=-1).tolist()),
        }
    if findings.known:
        record["known"] = _rounded(asdict(findings.known))
    return record


def _rounded(values: Any) -> Any:
    """The values with fewer decimals, in whatever they are nested."""
    if isinstance(values, float):
        return round(values, DIGITS)
    if isinstance(values, Mapping):
        return {key: _rounded(value) for key, value in values.items()}
    if isinstance(values, Sequence) and not isinstance(values, str):
        return [_rounded(value) for value in values]
    return values
