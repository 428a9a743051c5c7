"""The page of one look: all maps of some texts, and what was measured of their heads."""

from collections.abc import Mapping, Sequence
from html import escape
from pathlib import Path
from typing import Any

from attn.plots.tables import Table, css_family, to_html
from attn.plots.text_maps import Text
from attn.report.encoding import encode_layer
from attn.report.html import compose, environment_table, figure, note

OPEN = 30
"""Rows of the longest table that is not folded."""


def write_text_page(
    path: Path,
    title: str,
    texts: Sequence[Text],
    *,
    opening: Sequence[str],
    picture: Mapping[str, bytes],
    tables: Sequence[Table],
    environment: Mapping[str, Any],
) -> Path:
    """Writes the maps of texts to one HTML file, and returns its path.

    Args:
        opening: sentences before everything else.
        picture: one head in large, as PNG by the name of its theme.
        tables: what was measured.
    """
    lines = "".join(f"<p>{escape(line)}</p>\n" for line in opening)
    shown = figure(title, f"{title}: one head in large.", picture)
    text = compose(
        title,
        opening=lines + f'<div class="pictures">{shown}</div>\n',
        tables="".join(map(_table, tables)),
        provenance=environment_table("This machine", environment, ""),
        maps=[_encoded(text) for text in texts],
        chosen="Text",
        example="Every head of every layer.",
    )
    path.write_text(text, encoding="utf-8")
    return path


def _encoded(text: Text) -> dict[str, Any]:
    name, layers = text
    return {
        "name": name,
        "family": css_family(layers[0].family),
        "layers": [
            encode_layer(layer.name, layer.values, layer.queries, layer.keys)
            for layer in layers
        ],
    }


def _table(table: Table) -> str:
    """Formats a table with its note; a long one is folded below its title."""
    content = to_html(table) + (note(table.note) if table.note else "")
    title = escape(table.title)
    if len(table.rows) <= OPEN:
        return f"<h2>{title}</h2>\n{content}"
    return f"<details><summary>{title}</summary>\n{content}</details>\n"
