"""Tables say everything that ran, beside what needs no model, with its provenance."""

import csv
import io
import json
import re
from pathlib import Path

import pytest
from rich.console import Console
from run_folders import edit

from attn.errors import UserError
from attn.plots.results import BEGIN, CAPTION, END, make_tables, update_readme
from attn.plots.tables import (
    Cell,
    Column,
    Row,
    Table,
    to_csv,
    to_latex,
    to_markdown,
)
from attn.plots.terminal import to_rich
from attn.plots.units import memory, milliseconds, quantity
from attn.records.collect import load_all


def cells(table, column):
    at = table.names.index(column)
    return [row.cells[at].text for row in table.rows]


def test_rows_go_by_family_then_mechanism_then_baselines_best_first(tmp_path, make_run):
    for kernel in ("linear", "window", "softmax", "based", "retention"):
        make_run(kernel)
    (table,) = make_tables(load_all(tmp_path))
    ran = ["softmax", "window", "based", "linear", "retention"]
    assert cells(table, "mechanism") == [*ran, "copy last", "chance"]


def test_a_score_shows_mean_interval_and_seeds(tmp_path, make_run):
    make_run("softmax", score=0.9, spread=0.02)
    make_run("window", score=0.5, seeds=1)
    (table,) = make_tables(load_all(tmp_path))
    half = 4.303 * 2 / 3**0.5
    assert cells(table, "accuracy, %")[:2] == [f"90.0 ± {half:.1f} (n=3)", "50.0 (n=1)"]


def test_bold_is_among_those_with_intervals_and_the_note_says_so(tmp_path, make_run):
    make_run("softmax", score=0.9)
    make_run("window", score=0.5)
    (table,) = make_tables(load_all(tmp_path))
    assert "bold" not in table.note
    make_run("linear", score=0.95, seeds=1)
    (table,) = make_tables(load_all(tmp_path))
    at = table.names.index("accuracy, %")
    strong = [row.cells[0].text for row in table.rows if row.cells[at].strong]
    assert strong == ["softmax"]
    assert table.note.endswith("bold: among those with intervals")


def test_scratch_memory_says_its_seeds_where_they_differ(tmp_path, make_run):
    make_run("softmax")
    make_run("window")
    (table,) = make_tables(load_all(tmp_path))
    assert cells(table, "scratch memory")[:2] == ["1.43 MiB"] * 2
    more = make_run("window", name="more", seeds=2)
    edit(more, "config", name="mqar_window", first_seed=3)
    (table,) = make_tables(load_all(tmp_path))
    assert cells(table, "accuracy, %")[1].endswith("(n=5)")
    assert cells(table, "scratch memory")[:2] == ["1.43 MiB", "1.43 MiB (n=3)"]
    make_run("linear", seeds=1)
    (table,) = make_tables(load_all(tmp_path))
    assert cells(table, "scratch memory")[:3] == [
        f"1.43 MiB (n={n})" for n in (3, 3, 1)
    ]


def test_every_table_has_its_own_baselines(tmp_path, make_run):
    make_run("softmax")
    make_run("softmax", task="pydoc", metric="bits_per_byte", score=2.3)
    recall, text = make_tables(load_all(tmp_path))
    assert cells(recall, "mechanism")[-2:] == ["copy last", "chance"]
    assert cells(text, "mechanism")[-2:] == ["gzip", "unigram"]
    assert cells(text, "bits per byte")[-2:] == ["2.700", "4.300"]


def test_a_failed_run_is_shown_as_failed(tmp_path, make_run):
    make_run("softmax")
    make_run("gated_delta", status="failed", error="loss is NaN at step 120\nTraceback")
    (table,) = make_tables(load_all(tmp_path))
    assert "failed: loss is NaN at step 120" in cells(table, "accuracy, %")
    for text in (to_markdown([table]), rendered([table])):
        assert "gated_delta" in text
        assert "failed: loss is NaN at step 120" in text
        assert "Traceback" not in text


def test_a_narrow_terminal_gets_fewer_columns_and_whole_words(tmp_path, make_run):
    for kernel in ("softmax", "longformer", "gated_delta"):
        make_run(kernel)
    tables = make_tables(load_all(tmp_path))
    shown = {width: text_at(tables, width) for width in (60, 80, 120, 160)}
    for width, text in shown.items():
        rows = [line for line in text.splitlines() if line[:1] in "┏┃┡│└"]
        assert {len(line.rstrip()) for line in rows} == {len(rows[0].rstrip())}
        assert len(rows[0].rstrip()) <= width
        drawn = "\n".join(rows)
        for word in ("mechanism", "gated_delta", "90.0 ± 5.0 (n=3)"):
            assert word in drawn
        assert ("train" in drawn) == (width > 60)
    assert "not shown here: exact" in shown[80]
    assert "not shown" not in shown[160]
    assert [len(r.cells) for r in tables[0].rows] == [9] * 5, "the table is as it was"


def text_at(tables, width):
    console = Console(width=width, file=io.StringIO(), legacy_windows=False)
    console.print(to_rich(tables, width=width))
    return console.file.getvalue()


def test_time_has_its_spread_and_one_seed_is_never_bold(tmp_path, make_run):
    make_run("softmax", seeds=1)
    folder = make_run("window", seeds=1, score=0.3)
    path = folder / "metrics.jsonl"
    lines = [json.loads(line) for line in path.read_text().splitlines()]
    for i, line in enumerate(lines):
        line["step_ms"] = 12.0 + i % 2
    path.write_text("".join(json.dumps(line) + "\n" for line in lines))
    (table,) = make_tables(load_all(tmp_path))
    assert cells(table, "ms a step")[:2] == ["12.0 ± 0.0", "12.0 ± 0.5"]
    assert not any(cell.strong for row in table.rows for cell in row.cells)


def test_a_diverged_run_says_so_and_is_never_the_best(tmp_path, make_run):
    make_run("softmax", score=float("nan"))
    make_run("window", score=0.5)
    make_run("linear", score=0.1)
    (table,) = make_tables(load_all(tmp_path))
    assert cells(table, "accuracy, %")[0] == "not finite (n=3)"
    strong = [
        row.cells[0].text for row in table.rows if any(c.strong for c in row.cells)
    ]
    assert strong == ["window"]


@pytest.mark.parametrize(
    ("metric", "scores", "best"),
    [
        (
            "accuracy",
            {"softmax": 0.9, "window": 0.89, "linear": 0.5},
            ["softmax", "window"],
        ),
        (
            "bits_per_byte",
            {"softmax": 2.3, "window": 2.31, "linear": 3.0},
            ["softmax", "window"],
        ),
        ("bits_per_byte", {"softmax": 2.9, "window": 2.3, "linear": 3.0}, ["window"]),
    ],
)
def test_bold_is_the_best_and_what_its_interval_meets(
    tmp_path, make_run, metric, scores, best
):
    for kernel, score in scores.items():
        make_run(kernel, score=score, metric=metric)
    (table,) = make_tables(load_all(tmp_path))
    strong = [
        row.cells[0].text for row in table.rows if any(c.strong for c in row.cells)
    ]
    assert strong == best


def test_what_varies_is_a_column_and_what_does_not_is_none(tmp_path, make_run):
    for heads in (8, 1, 2):
        make_run("softmax", heads=heads)
    (table,) = make_tables(load_all(tmp_path))
    assert cells(table, "heads")[:3] == ["1", "2", "8"]
    assert cells(table, "head dim")[:3] == ["64", "32", "8"]
    assert "d_ff" not in table.names
    assert "kv heads" not in table.names


def test_two_windows_are_told_apart_by_their_width(tmp_path, make_run):
    make_run("window", name="narrow", kernel_knobs={"left": 7})
    make_run("window", name="wide", kernel_knobs={"left": 31})
    (table,) = make_tables(load_all(tmp_path))
    assert cells(table, "mechanism")[:2] == ["window (left 7)", "window (left 31)"]


def test_equal_settings_are_told_apart_by_name(tmp_path, make_run):
    make_run("softmax", name="first")
    make_run("softmax", name="second")
    (table,) = make_tables(load_all(tmp_path))
    assert cells(table, "mechanism")[:2] == ["softmax [first]", "softmax [second]"]


def test_tasks_are_never_mixed_and_runs_of_one_task_never_parted(tmp_path, make_run):
    make_run("softmax", study="families")
    make_run("softmax", name="sweep", study="heads")
    make_run("softmax", seq_len=256)
    titles = [table.title for table in make_tables(load_all(tmp_path))]
    assert titles == ["mqar, 64 tokens", "mqar, 256 tokens"]


def test_provenance_names_seeds_machine_version_and_dirty_commit(tmp_path, make_run):
    make_run()
    (table,) = make_tables(load_all(tmp_path))
    for part in (
        "3 seeds",
        "cpu (Example CPU 3 GHz, 2 cores)",
        "jax 0.10.2",
        "0123456789 (dirty)",
    ):
        assert part in table.note


def test_markdown_keeps_its_columns_whatever_a_name_holds(tmp_path, make_run):
    make_run("softmax", name="a|b")
    make_run("softmax", name="<script>*x*")
    lines = to_markdown(make_tables(load_all(tmp_path))).splitlines()
    rows = [line for line in lines if line.startswith("|")]
    assert len({len(re.findall(r"(?<!\\)\|", row)) for row in rows}) == 1
    assert "<script>" not in "".join(rows)


def test_the_terminal_table_shows_every_row(tmp_path, make_run):
    make_run("softmax", name="[red]odd")
    text = rendered(make_tables(load_all(tmp_path)))
    for part in ("softmax", "copy last", "chance", "jax 0.10.2", "95 % interval"):
        assert part in text


def test_csv_holds_the_stored_numbers_and_nothing_for_what_is_not_known(
    tmp_path, make_run
):
    make_run("softmax", score=0.9, spread=0.02)
    make_run("window", score=0.5, seeds=1)
    make_run("linear", status="failed", error="loss is NaN")
    make_run("softmax", task="pydoc", metric="bits_per_byte", score=2.3)
    rows = list(csv.DictReader(io.StringIO(to_csv(make_tables(load_all(tmp_path))))))
    by = {(row["kind"], row["mechanism"], row["table"][:4]): row for row in rows}
    assert len(by) == len(rows) == 4 + 4
    softmax, window = by["run", "softmax", "mqar"], by["run", "window", "mqar"]
    assert float(softmax["accuracy"]) == pytest.approx(0.9)
    half = 4.303 * 0.02 / 3**0.5
    assert float(softmax["accuracy half width"]) == pytest.approx(half, rel=1e-3)
    assert (softmax["accuracy n"], window["accuracy n"]) == ("3", "1")
    assert window["accuracy half width"] == window["bits_per_byte"] == ""
    assert int(softmax["scratch bytes"]) == load_all(tmp_path)[0].result.temp_bytes
    assert by["failed", "linear", "mqar"]["accuracy"] == "failed: loss is NaN"
    assert by["baseline", "gzip", "pydo"]["bits_per_byte"] == "2.7"
    assert by["baseline", "chance", "mqar"]["parameters"] == ""


def test_latex_sets_what_it_would_read_as_a_command_as_a_character():
    cells = (Cell("a_b & 50%"), Cell("2 ± 1", 2.0, strong=True), Cell("[x] \\d{2}"))
    columns = (Column("name", text=True), Column("value"), Column("note"))
    rows = (Row(cells), Row((Cell("[low"), Cell("1"), Cell("<")), "baseline"))
    text = to_latex([Table("T #1", columns, rows, note="cpu ~ 2")])
    assert (
        r"a\_b \& 50\% & \textbf{2 $\pm$ 1} & {[}x] \textbackslash{}d\{2\} \\" in text
    )
    assert r"\emph{{[}low} & 1 & $<$ \\" in text
    assert r"\caption{T \#1. cpu \textasciitilde{} 2}" in text
    assert r"\begin{tabular}{lrr}" in text
    for name in ("table", "tabular"):
        assert text.count(f"\\begin{{{name}}}") == text.count(f"\\end{{{name}}}") == 1


def rendered(tables):
    console = Console(file=io.StringIO(), width=220)
    console.print(to_rich(tables, after=[CAPTION]))
    return console.file.getvalue()


def test_the_readme_changes_between_its_markers_only(tmp_path):
    readme = tmp_path / "README.md"
    readme.write_text(f"before\n{BEGIN}\nold\n{END}\nafter\n")
    update_readme(readme, "| new |\n")
    update_readme(readme, "| new |\n")
    assert readme.read_text() == f"before\n{BEGIN}\n\n| new |\n\n{END}\nafter\n"


def test_a_crash_leaves_the_old_readme_whole(tmp_path, monkeypatch):
    readme, text = tmp_path / "README.md", f"before\n{BEGIN}\nold\n{END}\nafter\n"
    readme.write_text(text)

    def crash(self, target):
        assert "| new |" in self.read_text()
        assert readme.read_text() == text
        raise KeyboardInterrupt

    monkeypatch.setattr(Path, "replace", crash)
    with pytest.raises(KeyboardInterrupt):
        update_readme(readme, "| new |\n")
    assert readme.read_text() == text
    assert [path.name for path in tmp_path.iterdir()] == ["README.md"]


@pytest.mark.parametrize(
    "text", ["", BEGIN, f"{END} {BEGIN}", f"{BEGIN}{END}{BEGIN}{END}"]
)
def test_a_readme_without_both_markers_is_refused_untouched(tmp_path, text):
    readme = tmp_path / "README.md"
    readme.write_text(text)
    with pytest.raises(UserError, match="needs one"):
        update_readme(readme, "| new |")
    assert readme.read_text() == text


def test_quantities_have_three_digits_and_a_unit():
    assert [quantity(n) for n in (0, 7, 999, 1200, 999_700, 1.2e9)] == [
        "0",
        "7",
        "999",
        "1.20 k",
        "1.00 M",
        "1.20 G",
    ]
    assert [memory(n) for n in (512, 1024, 1_500_000)] == [
        "512 B",
        "1.00 KiB",
        "1.43 MiB",
    ]
    assert [milliseconds(n) for n in (0.123, 6.9, 12.0, 123.4, None)] == [
        "0.123",
        "6.90",
        "12.0",
        "123",
        "-",
    ]
