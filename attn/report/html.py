"""The report as one HTML file that works offline: claims, tables, plots, maps.

Everything is inside the file and nothing is fetched.
"""

import base64
import json
from collections.abc import Mapping, Sequence
from html import escape
from importlib.resources import files
from pathlib import Path
from string import Template
from typing import Any

from attn.plots.heat import maps_of
from attn.plots.results import CAPTION, make_table
from attn.plots.tables import Table, css_family, to_html
from attn.records.comparison import Group
from attn.records.maps import Maps
from attn.records.run import Run
from attn.report.claims import CAPTION as CLAIMS
from attn.report.encoding import encode_layer
from attn.report.finding import findings

SCRIPTS = ("tables.js", "plots.js", "decode.js", "maps.js")


def write_page(
    groups: Sequence[Group],
    path: Path,
    title: str = "Results",
    claims: Sequence[Table] = (),
) -> Path:
    """Writes the report of `groups` to one HTML file, and returns its path."""
    maps, problems = _maps(groups)
    tables = "\n".join(map(_group, groups))
    text = compose(
        title,
        opening=_opening(groups) + _verdicts(claims),
        tables=tables + "".join(map(note, [CAPTION, *problems])),
        provenance=_provenance([run for group in groups for run in group.runs]),
        maps=maps,
    )
    path.parent.mkdir(parents=True, exist_ok=True)
    path.write_text(text, encoding="utf-8")
    return path


def compose(
    title: str,
    *,
    opening: str,
    tables: str,
    provenance: str,
    maps: Sequence[Mapping[str, Any]],
    chosen: str = "Run",
    example: str = "Seed 0 on one test example.",
) -> str:
    """Fills the page with HTML and with encoded maps, its script and its style.

    Args:
        chosen: what each of the maps is of, and is chosen by.
        example: a sentence that tells what the maps are of.
    """
    page = files("attn.report").joinpath("page")
    return Template(page.joinpath("page.html").read_text("utf-8")).substitute(
        title=escape(title),
        css=page.joinpath("page.css").read_text("utf-8"),
        script="\n".join(page.joinpath(name).read_text("utf-8") for name in SCRIPTS),
        opening=opening,
        tables=tables,
        provenance=provenance,
        chosen=escape(chosen),
        example=escape(example),
        data=_json({"runs": maps}),
    )


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
            encode_layer(name.replace("_", " "), values, *maps.edges(name))
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
        f"<details><summary>{escape(table.title)}</summary>\n{to_html(table)}"
        f"{note(table.note) if table.note else ''}</details>\n"
        for table in claims
    ]
    return f"<h2>Claims</h2>\n{''.join(parts)}{note(CLAIMS)}" if parts else ""


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
    notes = "".join(map(note, table.note.splitlines()))
    return f"{heading}{to_html(table)}{notes}{_pictures(group)}"


def note(text: str) -> str:
    """Formats a note below a table."""
    return f'<p class="note">{escape(text)}</p>\n'


def _pictures(group: Group) -> str:
    """Draws every plot of a group, in the light and dark themes."""
    from attn.plots.plots import PICTURES, picture
    from attn.plots.style import DARK, LIGHT

    figures = []
    for kind, (_, title, caption) in PICTURES.items():
        pngs = {
            theme.name: content
            for theme in (LIGHT, DARK)
            if (content := picture(kind, group, theme)) is not None
        }
        if pngs:
            name = f"{title}: {group.title}"
            figures.append(figure(name, f"{name}. {caption}", pngs))
    return f'<div class="pictures">{"".join(figures)}</div>\n' if figures else ""


def figure(name: str, said: str, pngs: Mapping[str, bytes]) -> str:
    """Formats a picture that can be enlarged, as PNG by the name of its theme.

    Args:
        said: what it shows, for those who do not see it.
    """
    images = []
    for theme, content in pngs.items():
        source = f"data:image/png;base64,{base64.b64encode(content).decode()}"
        alt = escape(said, quote=True)
        images.append(f'<img class="{theme}" alt="{alt}" src="{source}">')
    label = escape(f"Enlarge {name}", quote=True)
    button = f'<button type="button" class="plot" aria-label="{label}">'
    return f"<figure>{button}{''.join(images)}</button></figure>"


def _provenance(runs: Sequence[Run]) -> str:
    """Formats each environment once, with the runs made in it."""
    made: dict[str, list[tuple[Mapping[str, Any], Run]]] = {}
    for run in runs:
        for env in run.environments:
            made.setdefault(json.dumps(env, sort_keys=True), []).append((env, run))
    return "".join(
        _environment(same[0][0], [run for _, run in same]) for same in made.values()
    )


def _environment(env: Mapping[str, Any], runs: Sequence[Run]) -> str:
    prints = (
        f"{run.name} {run.config.get('fingerprint', '')}{'' if run.sealed else ' (unsealed)'}"
        for run in runs
    )
    names = ", ".join(dict.fromkeys(prints))
    folders = f"{len(runs)} run folder{'s' if len(runs) != 1 else ''}"
    return environment_table(folders, env, names)


def environment_table(summary: str, env: Mapping[str, Any], said: str) -> str:
    """Formats what is known of a machine, folded below a summary."""
    lines = "".join(
        f"<tr><th>{escape(str(name))}</th><td>{escape(_plain(value))}</td></tr>"
        for name, value in env.items()
    )
    return (
        f"<details><summary>{escape(summary)}</summary>\n<table>{lines}</table>\n"
        f"<p class='note'>{escape(said)}</p></details>\n"
    )


def _plain(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value)
