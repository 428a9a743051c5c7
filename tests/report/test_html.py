"""The page is one file, offline, harmless, and decodes what was written."""

import base64
import json
import re
import shutil
import subprocess
import zlib
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
from run_folders import edit, softmax_maps, write_run

from attn.config.claims import Claim, Prediction
from attn.plots import plots
from attn.plots.results import CAPTION, make_table
from attn.plots.tables import to_markdown
from attn.records.collect import load_all
from attn.records.comparison import group_runs
from attn.records.run import read_maps
from attn.report import write_report
from attn.report.claims import claim_tables
from attn.report.encoding import encode_map
from attn.report.html import write_page

BROWSER = shutil.which("chromium") or shutil.which("google-chrome")
NASTY = "<script>alert(1)</script>"


def decode(layer):
    """What the page's script does, in numpy."""
    raw = np.frombuffer(zlib.decompress(base64.b64decode(layer["data"])), np.uint8)
    raw = raw.reshape(layer["heads"], layer["rows"], layer["cols"]).astype(float)
    roots = (raw - 128) / 127 if layer["signed"] else raw / 255
    return layer["scale"] * np.sign(roots) * roots**2


def test_a_map_comes_back_within_0_004(soft_maps):
    values = soft_maps(layers=1)["layer_0"].astype(np.float32)
    layer = encode_map(values)
    assert np.abs(decode(layer) - values).max() < 0.004
    np.testing.assert_allclose(layer["sums"], values.sum(-1).ravel(), atol=1e-4)


def test_a_weight_that_is_zero_stays_zero(soft_maps):
    values = soft_maps(layers=1)["layer_0"].astype(np.float32)
    assert (decode(encode_map(values))[values == 0] == 0).all()


def test_negative_weights_and_weights_over_1_keep_sign_and_size():
    values = np.random.default_rng(0).normal(size=(2, 8, 8)).astype(np.float32)
    found = decode(encode_map(values))
    assert (np.sign(found) * np.sign(values) >= 0).all()
    assert np.abs(found - values).max() < 0.01 * np.abs(values).max()


def test_long_maps_are_pooled_and_rows_keep_their_sums(soft_maps):
    values = soft_maps(layers=1, heads=1, tokens=1030)["layer_0"].astype(np.float32)
    layer = encode_map(values)
    assert (layer["rows"], layer["cols"], layer["pool"]) == (344, 344, 3)
    np.testing.assert_allclose(layer["sums"], 1.0, atol=2e-3)
    block = values[0, 300:303, 90:93].sum() / 3
    assert decode(layer)[0, 100, 30] == pytest.approx(block, abs=0.004)


def test_twelve_layers_of_twelve_heads_fit_in_two_megabytes(soft_maps):
    maps = soft_maps(layers=12, heads=12, tokens=128)
    size = sum(
        len(json.dumps(encode_map(values.astype(np.float32))))
        for values in maps.values()
    )
    assert size < 2e6


class Tags(HTMLParser):
    """Collects the elements of a page, and addresses they point at."""

    def __init__(self):
        super().__init__()
        self.found, self.addresses = [], []

    def handle_starttag(self, tag, attrs):
        self.found.append(tag)
        self.addresses += [
            v for k, v in attrs if k in ("src", "href", "action", "srcset")
        ]


@pytest.fixture(scope="module")
def written(tmp_path_factory):
    """The folder of a page with nasty names, and of its runs."""
    here = tmp_path_factory.mktemp("page")
    maps = softmax_maps(np.random.default_rng(7))
    labels = ["</script><b>"] + [f"w{i}" for i in range(23)]
    write_run(here / "runs", "softmax", maps=maps, labels=labels)
    claim = f'{NASTY} & "quoted" $x'
    write_run(here / "runs", "window", name=NASTY, claim=claim, step_ms=3.0)
    failed = {"status": "failed", "error": NASTY}
    write_run(here / "runs", "linear", task=f"copy{NASTY}", **failed)
    groups = group_runs(load_all(here))
    write_page(groups, here / "report.html", f"Results {NASTY}")
    return here


@pytest.fixture
def page(written, tmp_path):
    """A copy of the page that a test may change."""
    return Path(shutil.copy(written / "report.html", tmp_path))


def test_the_page_asks_the_network_for_nothing(page):
    text = page.read_text()
    tags = Tags()
    tags.feed(text)
    assert all(at.startswith(("#", "data:")) for at in tags.addresses)
    assert "http" not in re.sub(r"[A-Za-z0-9+/]{200,}", "", text)  # base64 may spell it
    assert not re.search(r"@import|url\(|fetch\(|import\(|XMLHttp|WebSocket", text)


def test_no_name_claim_error_or_token_becomes_an_element(page):
    tags = Tags()
    tags.feed(page.read_text())
    assert tags.found.count("script") == 2
    assert "b" not in tags.found
    data = re.search(r'id="data">(.*?)</script>', page.read_text(), re.DOTALL).group(1)
    assert not set("<>&") & set(data)
    assert json.loads(data)["runs"][0]["layers"][0]["queries"][0] == "</script><b>"
    assert page.read_text().count("&lt;script&gt;alert(1)") >= 5


def test_the_page_shows_claims_tables_pictures_and_provenance(page):
    text = page.read_text()
    for part in (
        "softmax recalls what it saw.",
        "copy last",
        "failed: ",
        "git_commit",
        "0.10.2",
    ):
        assert part in text
    assert text.count('<img class="light"') == text.count('<img class="dark"') == 5
    opening = text.index("Best by its mean: softmax")
    assert opening < text.index("<table")


@pytest.fixture
def one_picture(monkeypatch):
    """Of all pictures the curves; each is drawn in tests of its own."""
    monkeypatch.setattr(plots, "PICTURES", {"curves": plots.PICTURES["curves"]})


def test_the_report_writes_table_page_and_pictures_where_asked(
    tmp_path, make_run, soft_maps, one_picture
):
    make_run("softmax", maps=soft_maps())
    runs = load_all(tmp_path / "runs")
    claim = Claim("It recalls.", (Prediction(runs[0].name, than=0.5),))
    claims = claim_tables([claim], runs)
    report = write_report(runs, tmp_path / "out", "runs", claims=claims, svg=True)
    assert {path.suffix for path in report.pictures} == {".png", ".svg"}
    results, judged = report.tables
    assert report.table.read_text() == to_markdown([results], after=[CAPTION])
    assert judged.title == "Supported: It recalls."
    assert judged.title in (tmp_path / "out" / "claims.md").read_text()
    assert judged.title in (tmp_path / "out" / "claims.csv").read_text()
    written = {path.name for path in (tmp_path / "out").iterdir()}
    assert written == {
        *("table.md", "table.csv", "table.tex"),
        *("claims.md", "claims.csv", "claims.tex"),
        "report.html",
        *(path.name for path in report.pictures),
    }


def test_a_damaged_map_is_a_sentence_and_never_the_end_of_a_report(
    tmp_path, make_run, soft_maps, one_picture
):
    make_run("softmax", maps=soft_maps())
    make_run("window", maps=soft_maps())
    broken = next(path for path in tmp_path.rglob("maps.npz") if "window" in str(path))
    broken.write_bytes(broken.read_bytes()[:100])
    report = write_report(load_all(tmp_path / "runs"), tmp_path / "out", "runs")
    (problem,) = report.problems
    assert str(broken) in problem
    text = report.page.read_text()
    assert "maps.npz is damaged" in text
    data = re.search(r'id="data">(.*?)</script>', text, re.DOTALL).group(1)
    assert [run["name"][:7] for run in json.loads(data)["runs"]] == ["softmax"]
    assert [p.name for p in report.pictures if "maps" in p.name] == [
        "mqar-64-tokens_maps_softmax.png"
    ]


def test_the_page_and_the_table_name_every_machine_of_joined_seeds(tmp_path, make_run):
    make_run("softmax")
    more = make_run("softmax", name="more")
    edit(more, "config", name="mqar_softmax", first_seed=3)
    edit(more, "env", cpu="Another CPU", git_commit="fedcba9876543210")
    groups = group_runs(load_all(tmp_path))
    text = write_page(groups, tmp_path / "report.html").read_text()
    assert text.count("<summary>1 run folder</summary>") == 2
    assert "<td>Another CPU</td>" in text
    note = make_table(groups[0]).note
    assert "Example CPU 3 GHz, 2 cores) / cpu (Another CPU" in note
    assert "0123456789 (dirty) / fedcba9876 (dirty)" in note


def browse(page, tmp_path, hash_=""):
    """The page's DOM after its scripts ran."""
    flags = [
        "--headless", "--no-sandbox", "--disable-gpu", "--no-first-run",
        "--disable-background-networking", "--disable-component-update", "--disable-sync",
        f"--user-data-dir={tmp_path / 'profile'}", "--virtual-time-budget=8000", "--dump-dom",
    ]  # fmt: skip
    address = page.resolve().as_uri() + hash_
    done = subprocess.run(
        [BROWSER, *flags, address], capture_output=True, text=True, timeout=120
    )
    return done.stdout


needs_browser = pytest.mark.skipif(
    BROWSER is None, reason="no chromium here to open the page in"
)


def said(dom, name):
    return re.search(rf'data-testid="{name}"[^>]*>([^<]*)<', dom).group(1)


@pytest.mark.slow
@needs_browser
def test_in_a_browser_the_selftest_passes_and_nothing_nasty_runs(page, tmp_path):
    dom = browse(page, tmp_path, "#selftest")
    assert said(dom, "selftest").startswith("PASS 8 maps, 192 rows")
    assert "<title>Results &lt;script&gt;" in dom


@pytest.mark.slow
@needs_browser
def test_in_a_browser_a_wrong_row_fails_the_selftest(page, tmp_path):
    text = page.read_text()
    page.write_text(re.sub(r'"sums":\[[^,]*,', '"sums":[0.5,', text, count=1))
    assert said(browse(page, tmp_path, "#selftest"), "selftest").startswith("FAIL")


@pytest.mark.slow
@needs_browser
def test_in_a_browser_the_map_opens_on_the_largest_weight_of_another_token(
    page, written, tmp_path
):
    run = next(run for run in load_all(written) if run.mechanism == "softmax")
    maps = np.stack([*read_maps(run).layers.values()]).astype(float)  # [L, N, T, S]
    far = np.where(np.eye(maps.shape[-1], dtype=bool), 0, np.abs(maps))
    far[..., 0] = 0
    layer, head, query, _ = np.unravel_index(far.argmax(), far.shape)
    row = maps[layer, head, query]
    text = said(browse(page, tmp_path), "reading")
    found = re.match(
        r"query (\d+) \S+ → key (\d+) \S+: ([\d.]+)", text.replace("&gt;", ">")
    )
    assert (int(found.group(1)), int(found.group(2))) == (query, row.argmax())
    assert float(found.group(3)) == pytest.approx(row.max(), abs=0.0045)
