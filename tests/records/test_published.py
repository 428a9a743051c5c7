"""Published numbers say where they are from, add up where they ought to, and stand once."""

import json
import re
import shutil
from collections import Counter
from itertools import product
from pathlib import Path
from statistics import fmean

import pytest

from attn.errors import UserError
from attn.kernels import KERNELS
from attn.records.published import Table, cells, read_papers

FOLDER = Path(__file__).parents[2] / "experiments" / "papers"
PAPERS = read_papers(FOLDER)
TABLES = [(paper, table) for paper in PAPERS.values() for table in paper.tables]
NAMES = [f"{paper.name}-{table.name}" for paper, table in TABLES]

MISPRINTS = {
    ("ainslie2023", "main", "MQA-XXL", "Average"): (46.6, 46.757),
    ("lra", "accuracy", "Sinkhorn Trans.", "Avg"): (51.39, 51.476),
    ("lra", "leaderboard", "Sinkhorn Trans.", "Avg"): (51.29, 51.476),
}
"""Averages that are wrong where they were published: as printed, and recomputed."""


def edited(tmp_path: Path, old: str, new: str, name: str = "lra") -> Path:
    """A folder with a copy of one paper, in which `old` stands as `new` once."""
    text = (FOLDER / f"{name}.json").read_text()
    assert old in text
    (tmp_path / f"{name}.json").write_text(text.replace(old, new, 1))
    return tmp_path


def wrong_averages(table: Table) -> list[tuple[str, str, float, float]]:
    """Finds averages that differ from the mean of their columns by more than rounding.

    Each is row, column, published, recomputed. Rounding is a unit of the last digit, half
    for its own and half for that of the parts; rows with a null part are left out.
    """
    wrong = []
    for row, (column, parts) in product(table.rows, table.averages.items()):
        numbers = dict(zip(table.columns, table.rows[row]))
        known = [part for name in parts if (part := numbers[name]) is not None]
        published = numbers[column]
        if published is None or len(known) < len(parts):
            continue
        unit = 10.0 ** -len(repr(published).partition(".")[2])
        if abs(published - fmean(known)) > unit * (1 + 1e-6):
            wrong.append((row, column, published, fmean(known)))
    return wrong


@pytest.mark.parametrize("paper, table", TABLES, ids=NAMES)
def test_a_table_says_what_it_is_and_where_it_was_read(paper, table):
    assert paper.source
    assert paper.authors
    assert table.caption
    assert table.setting
    assert table.unit
    assert table.transcribed
    assert ("plot" in table.transcribed.lower()) == ("plot" in table.caveat)


@pytest.mark.parametrize("paper, table", TABLES, ids=NAMES)
def test_what_is_not_there_is_explained(paper, table):
    for row, numbers in table.rows.items():
        for column, value in zip(table.columns, numbers):
            said = (table.caveat, table.caveats.get(row, ""))
            said += (table.caveats.get(f"{row}/{column}", ""),)
            assert value is not None or "null" in " ".join(said).lower(), (row, column)


def test_averages_add_up_but_for_those_that_were_published_wrong():
    found = {
        (paper.name, table.name, *where): (published, round(recomputed, 3))
        for paper, table in TABLES
        for *where, published, recomputed in wrong_averages(table)
    }
    assert found == MISPRINTS
    assert sum(len(table.averages) * len(table.rows) for _, table in TABLES) > 40


def test_a_wrong_average_is_found(tmp_path):
    folder = edited(tmp_path, "71.40, null, 54.39]", "71.40, null, 54.93]")
    table = read_papers(folder)["lra"].tables[0]
    assert ("Transformer", "Avg", 54.93, pytest.approx(54.388)) in wrong_averages(table)


def test_a_number_stands_once():
    every = [cell for paper in PAPERS.values() for cell in cells(paper)]
    names = Counter((it.paper, it.table, it.row, it.column) for it in every)
    assert len(every) >= 1000
    assert max(names.values()) == 1


def test_a_cell_carries_all_that_must_be_said_of_it():
    found = {(it.table, it.row, it.column): it for it in cells(PAPERS["lra"])}
    average = found["accuracy", "Sinkhorn Trans.", "Avg"]
    assert (average.value, average.source) == (51.39, "arXiv 2011.04006")
    assert "Path-X" in average.caveat
    assert "51.48" in average.caveat
    assert ("accuracy", "Sinkhorn Trans.", "Path-X") not in found
    heads = {(it.row, it.column): it for it in cells(PAPERS["shazeer2019"])}
    assert heads["multi-query", "d_ff"].unit == "width"


def test_a_table_may_say_why_nothing_stands_beside_it():
    found = {(it.row, it.column): it for it in cells(PAPERS["deltaproduct"])}
    learns = {
        row: it.value for (row, column), it in found.items() if column == "learns"
    }
    assert learns == {
        "DeltaProduct_1[-1, 1]": 0,
        "DeltaProduct_2[-1, 1]": 1,
        "DeltaProduct_1[0, 1]": 0,
        "DeltaProduct_2[0, 1]": 0,
    }
    assert found["S3, one layer", "Householder steps"].value == 2
    assert all("several Householder steps" in it.not_run for it in found.values())
    assert all("expected" in it.caveat for it in found.values())
    assert not any(it.not_run for it in cells(PAPERS["lra"]))


def test_numbers_of_canon_layers_say_what_of_part_4_1_is_absent():
    (it,) = (it for it in cells(PAPERS["physicslm"]) if it.table == "depth")
    assert (it.value, it.unit) == (2, "times")
    assert "Depo, Brevo and Mano" in it.caveat
    assert "arXiv 2512.17351" in it.source


def test_rows_that_are_mechanisms_here_have_their_names():
    assert {name for _, it in TABLES for name in it.mechanisms.values()} <= set(KERNELS)
    lra = PAPERS["lra"].tables[0]
    assert set(lra.mechanisms) == set(lra.rows)


@pytest.mark.parametrize(
    "old, new, message",
    [
        ('"source": "arXiv 2011.04006",', "", "has no source"),
        ('"arXiv 2011.04006"', '" "', "has an empty source"),
        ('"year": 2020', '"year": "2020"', 'holds year = "2020", not int'),
        ('"year": 2020', '"yaer": 2020', "has no year"),
        ('"year": 2020', '"year": 2020, "venue": "ICLR"', "unknown field venue"),
        ('"setting"', '"seting"', "has no tables.0.setting"),
        ("[36.37, ", "[", "rows.Transformer with 6 numbers for 7 columns"),
        ("[36.37, ", '["36.37", ', 'rows.Transformer.0 = "36.37", not float'),
        ('"Linformer":', '"Transformer":', "has 'Transformer' twice"),
        ('"Sinkhorn Trans./Avg":', '"Sinkhorn/Avg":', "caveats.Sinkhorn/Avg"),
        ('"BigBird": "bigbird"', '"Bigbird": "bigbird"', "mechanisms.Bigbird"),
        ('"averages": {', '"averages": {"Mean": [],', "no column 'Mean'"),
        ('"averages": {', '"digits": {"Mean": 1}, "averages": {', "no column 'Mean'"),
        ('"name": "lra"', '"name": "arena"', "name = 'arena'"),
        ("{", "", "is not JSON"),
    ],
)
def test_a_wrong_file_is_refused_in_one_line(tmp_path, old, new, message):
    with pytest.raises(UserError, match=re.escape(message)) as error:
        read_papers(edited(tmp_path, old, new))
    assert str(error.value).startswith(str(tmp_path / "lra.json"))
    assert "\n" not in str(error.value)


def test_papers_are_read_from_any_folder(tmp_path):
    assert read_papers(tmp_path) == {}
    shutil.copy(FOLDER / "vaswani2017.json", tmp_path)
    assert read_papers(tmp_path) == {"vaswani2017": PAPERS["vaswani2017"]}
    (tmp_path / "notes.txt").write_text(json.dumps({}))
    assert len(read_papers(tmp_path)) == 1
