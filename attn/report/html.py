"""The report as one HTML file that works offline: claims, tables, plots, maps.

Everything is inside the file and nothing is fetched. A map travels as bytes of the
square root of its weights, deflated: 26 times smaller than numbers as text, and at
most 0.004 off. The page's `#selftest` adds up every decoded row and compares.
"""

import base64
import json
import zlib
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

import numpy as np
from jaxtyping import Float

from attn.plots.heat import maps_of
from attn.plots.results import CAPTION, make_table
from attn.plots.tables import Table, css_family, to_html
from attn.records.comparison import Group
from attn.records.maps import Maps
from attn.records.run import Run
from attn.report.claims import CAPTION as CLAIMS
from attn.report.finding import findings

LARGEST = 512  # rows of a map on the page; longer ones are pooled
SCRIPTS = ("tables.js", "plots.js", "decode.js", "maps.js")


def write_page(
    groups: Sequence[Group],
    path: Path,
    title: str = "Results",
    claims: Sequence[Table] = (),
) -> Path:
    """Writes the report of `groups` to one HTML file, and returns its path."""
    page = files("attn.report").joinpath("page")
    maps, problems = _maps(groups)
    text = Template(page.joinpath("page.html").read_text("utf-8")).substitute(
        title=escape(title),
        css=page.joinpath("page.css").read_text("utf-8"),
        script="\n".join(page.joinpath(name).read_text("utf-8") for name in SCRIPTS),
        opening=_opening(groups) + _verdicts(claims),
        tables="\n".join(map(_group, groups))
        + "".join(map(_note, [CAPTION, *problems])),
        provenance=_provenance([run for group in groups for run in group.runs]),
        data=_json({"runs": maps}),
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def encode_map(values: Float[np.ndarray, "N T S"]) -> dict[str, Any]:
    """Encodes one layer's maps for the page.

    `data` is base64 of deflated bytes, one a weight: 255 sqrt(p / scale), or
    128 + 127 sign(p) sqrt(|p| / scale) where a mechanism has weights below 0.
    `sums` are the sums of the N x T rows, to check the decoding by.
    """
    values, pool = _pooled(np.nan_to_num(values.astype(np.float32)))
    scale = max(1.0, float(np.abs(values).max(initial=0.0)))
    signed = bool((values < 0).any())
    roots = np.sign(values) * np.sqrt(np.abs(values) / scale)
    bytes_ = np.rint(128 + 127 * roots if signed else 255 * roots).astype(np.uint8)
    heads, rows, columns = values.shape
    return {
        "heads": heads,
        "rows": rows,
        "cols": columns,
        "pool": pool,
        "scale": scale,
        "signed": signed,
        "sums": [round(float(total), 4) for total in values.sum(-1).ravel()],
        "data": base64.b64encode(zlib.compress(bytes_.tobytes(), 9)).decode(),
    }


def _pooled(values: np.ndarray) -> tuple[np.ndarray, int]:
    """Averages neighbouring queries and sums neighbouring keys; keeps sums of rows."""
    pool = -(-max(values.shape[1:]) // LARGEST)
    if pool == 1:
        return values, 1
    rows = np.arange(0, values.shape[1], pool)
    columns = np.arange(0, values.shape[2], pool)
    counts = np.diff([*rows, values.shape[1]])
    summed = np.add.reduceat(np.add.reduceat(values, rows, axis=1), columns, axis=2)
    return summed / counts[:, None], pool


def _maps(groups: Sequence[Group]) -> tuple[list[dict[str, Any]], list[str]]:
    """The maps of all runs for the page's script, and the reasons for damaged ones."""
    encoded, problems = [], []
    for group in groups:
        found, unread = maps_of(group.runs)
        encoded += [_encoded(group, run, maps) for run, maps in found]
        problems += unread
    return encoded, problems


def _encoded(group: Group, run: Run, maps: Maps) -> dict[str, Any]:
    return {
        "name": f"{group.label(run)} · {group.title}",
        "family": css_family(run.family),
        "layers": [
            {
                "name": name.replace("_", " "),
                "queries": list(maps.edges(name)[0]),
                "keys": list(maps.edges(name)[1]),
                **encode_map(values),
            }
            for name, values in maps.layers.items()
        ],
    }


def _json(values: Any) -> str:
    """Encodes JSON so that it is safe inside a script element."""
    text = json.dumps(values, separators=(",", ":"), allow_nan=False)
    return text.replace("&", "\\u0026").replace("<", "\\u003c").replace(">", "\\u003e")


def _opening(groups: Sequence[Group]) -> str:
    """Formats the claims of each task, and what its numbers say of them."""
    parts = []
    for group in groups:
        said = "".join(f"<li>{escape(text)}</li>\n" for text in findings(group))
        parts.append(
            f'<h2><a href="#{group.slug}">{escape(group.title)}</a></h2>\n'
            f'{_claims(group.runs)}<ul class="findings">\n{said}</ul>\n'
        )
    return "".join(parts)


def _verdicts(claims: Sequence[Table]) -> str:
    """Formats what each claim predicts, folded below its verdict."""
    parts = [
        f"<details><summary>{escape(table.title)}</summary>\n{to_html(table)}</details>\n"
        for table in claims
    ]
    return f"<h2>Claims</h2>\n{''.join(parts)}{_note(CLAIMS)}" if parts else ""


def _claims(runs: Sequence[Run]) -> str:
    """Formats every claim once, with the runs that test it."""
    by_claim: dict[str, list[str]] = {}
    for run in runs:
        by_claim.setdefault(str(run.config.get("claim", "")), []).append(run.name)
    lines = []
    for claim, names in by_claim.items():
        unique = list(dict.fromkeys(names))
        by = unique[0] if len(unique) == 1 else f"{len(unique)} experiments"
        title = escape(", ".join(unique), quote=True)
        by = f'<span class="by" title="{title}">{escape(by)}</span>'
        lines.append(f"<p>Claim: {escape(claim)} {by}</p>\n")
    return "".join(lines)


def _group(group: Group) -> str:
    """Formats one task: its table, then its plots."""
    table = make_table(group)
    heading = f'<h2 id="{group.slug}">{escape(group.title)}</h2>\n'
    return f"{heading}{to_html(table)}{_note(table.note)}{_pictures(group)}"


def _note(text: str) -> str:
    return f'<p class="note">{escape(text)}</p>\n'


def _pictures(group: Group) -> str:
    """Draws every plot of a group, in the light and dark themes."""
    from attn.plots.plots import PICTURES, picture
    from attn.plots.style import DARK, LIGHT

    figures = []
    for kind, (_, title, caption) in PICTURES.items():
        images = []
        for theme in (LIGHT, DARK):
            content = picture(kind, group, theme)
            if content is not None:
                png = base64.b64encode(content).decode()
                alt = escape(f"{title}: {group.title}. {caption}", quote=True)
                source = f"data:image/png;base64,{png}"
                images.append(f'<img class="{theme.name}" alt="{alt}" src="{source}">')
        if images:
            label = escape(f"Enlarge {title}: {group.title}", quote=True)
            button = f'<button type="button" class="plot" aria-label="{label}">'
            figures.append(f"<figure>{button}{''.join(images)}</button></figure>")
    return f'<div class="pictures">{"".join(figures)}</div>\n' if figures else ""


def _provenance(runs: Sequence[Run]) -> str:
    """Formats each environment once, with the runs made in it."""
    made: dict[str, list[Run]] = {}
    for run in runs:
        made.setdefault(json.dumps(run.environment, sort_keys=True), []).append(run)
    return "".join(_environment(same[0].environment, same) for same in made.values())


def _environment(env: Mapping[str, Any], runs: Sequence[Run]) -> str:
    lines = "".join(
        f"<tr><th>{escape(str(name))}</th><td>{escape(_plain(value))}</td></tr>"
        for name, value in env.items()
    )
    prints = (
        f"{run.name} {run.config.get('fingerprint', '')}{'' if run.sealed else ' (unsealed)'}"
        for run in runs
    )
    names = escape(", ".join(dict.fromkeys(prints)))
    return (
        f"<details><summary>{len(runs)} run folder{'s' if len(runs) != 1 else ''}"
        f"</summary>\n<table>{lines}</table>\n<p class='note'>{names}</p></details>\n"
    )


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
