"""Package managers that stand in for the real ones, and the command that asks them."""

from dataclasses import replace

import pytest
from local_server import SMALL, WAY_ROUND

import launch
from attn.data.managers import MANAGERS, address
from attn.errors import Failed
from attn.tasks.packages import place


def told(error) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


REPORT = '{"install": [{"download_info": {"url": "http://U"}}]}'
SAYS = {
    "npm": ("npm", 'test "$3" = @some/small@1.2.3 && echo http://U'),
    "apt": ("apt-get", "test \"$3\" = @some/small=1.2.3 && echo \"'http://U' small.deb 3 SHA256:0\""),
    "pip": ("python", f"for word; do :; done; test $word = @some/small==1.2.3 && echo '{REPORT}'"),
}  # fmt: skip


@pytest.mark.parametrize("manager", MANAGERS)
def test_a_manager_says_the_address_of_that_version(manager, program, monkeypatch):
    name, script = SAYS[manager]
    program(name, script)
    only = replace(MANAGERS[manager], program=(name,))
    monkeypatch.setitem(MANAGERS, manager, only)
    assert address(replace(SMALL, manager=manager)) == "http://U"


MISSING = {
    "npm": ("npm", "echo npm warn; echo npm error code E404 >&2; exit 1", "npm error code E404"),
    "apt": ("apt-get", "echo \"E: Version '1.2.3' was not found\" >&2; exit 100", "E: Version"),
    "pip": ("python", "echo ERROR: no https://me:secret@host/x >&2; exit 1", "ERROR: no https://host/x"),
}  # fmt: skip


@pytest.mark.parametrize("manager", MANAGERS)
def test_a_version_that_an_index_has_not_is_told(manager, program, monkeypatch):
    name, script, words = MISSING[manager]
    program(name, script)
    monkeypatch.setitem(MANAGERS, manager, replace(MANAGERS[manager], program=(name,)))
    with pytest.raises(Failed) as error:
        address(replace(SMALL, manager=manager))
    assert words in told(error)
    assert f"copy {SMALL.file} (SHA-256 {SMALL.sha256})" in told(error)
    assert ("apt-get update" in told(error)) == (manager == "apt")


def test_a_manager_that_says_nothing_is_told(program):
    program("npm", "exit 0")
    with pytest.raises(Failed, match=r"npm knows no @some/small@1\.2\.3"):
        address(SMALL)


def test_a_missing_manager_is_told_with_the_way_round(monkeypatch, tmp_path):
    monkeypatch.setenv("PATH", str(tmp_path))
    with pytest.raises(Failed, match="small comes by npm, which is not here") as error:
        address(SMALL)
    assert WAY_ROUND in told(error)


def do(*words: str) -> int:
    return launch.main(["fetch", *words])


def test_the_command_tells_which_packages_are_here(server, capsys, monkeypatch):
    monkeypatch.delenv("FORCE_COLOR", raising=False)  # makes a terminal of any file
    assert do() == 0
    lines = capsys.readouterr().out.splitlines()
    assert next(line for line in lines if "random bytes" in line).endswith("no   │")
    assert do("small") == 0
    assert f"small: 3.0 of 3.0 MB\n{place(SMALL)}" in capsys.readouterr().out
    place(SMALL).write_bytes(b"odd")
    assert do() == 0
    assert "damaged" in capsys.readouterr().out


def test_the_command_refuses_an_unknown_name_before_it_fetches(server, capsys):
    assert do("small", "smalll") == 2
    assert "error: unknown data package 'smalll'; did you mean 'small'?" in (
        capsys.readouterr().err
    )
    assert server.starts == []


def test_the_command_fails_with_one_line(server, capsys):
    server.content = b"odd"
    assert do("small") == 1
    said = capsys.readouterr().err
    assert said.startswith("failed: some-small-1.2.3.tgz came as another file")
    assert said.count("\n") == 1
