"""A made-up archive of addresses: six presidents, who differ in the words they use."""

import io
import tarfile
from pathlib import Path

import numpy as np
import pytest

COUNTS = {
    "ann_oak": 8,
    "bo_elm": 7,
    "cy_fir": 6,
    "di_ash": 9,
    "ed_yew": 8,
    "flo_bay": 1,
}
PARTIES = ("d", "dr", "nu")


def text_of(president: str, year: int) -> str:
    """Letters of a president, and the year at every fifth word, which tells addresses."""
    rng = np.random.default_rng([list(COUNTS).index(president), year])
    words = rng.choice([*president.split("_"), "the", "union"], 2_000)
    words[::5] = str(year)
    return " ".join(words)


def write_speeches(path: Path) -> Path:
    """An archive of the form of the package, with files that are no addresses."""
    files, year = (
        {"package/README.md": "No address.", "package/docs/usage.txt": "No."},
        1800,
    )
    for i, (president, count) in enumerate(COUNTS.items()):
        for _ in range(count):
            year += 1
            name = f"package/data/{year}_{president}_{PARTIES[i % 3]}"
            files[f"{name}.txt"] = text_of(president, year) + "\n"
            files[f"{name}.json"] = "{}"
    with tarfile.open(path, "w:gz") as package:
        for name in sorted(files, reverse=True):  # whose order says nothing
            member = tarfile.TarInfo(name)
            member.size = len(files[name])
            package.addfile(member, io.BytesIO(files[name].encode()))
    return path


@pytest.fixture(scope="module")
def made_speeches(tmp_path_factory):
    """The path of the archive, which the task reads in place of the real one."""
    path = write_speeches(tmp_path_factory.mktemp("speeches") / "made.tgz")
    with pytest.MonkeyPatch.context() as patch:
        for name in ("speeches.Speeches", "addresses.Addresses"):
            patch.setattr(f"attn.tasks.{name}.archive", lambda task: path)
        yield path
