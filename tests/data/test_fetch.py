"""Downloads from a local server: resumed, checked, refused, and told in one line."""

import hashlib
import os
import signal
import socket
import subprocess
import sys
import time
from base64 import b64encode
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest
from local_server import CONTENT, SMALL, WAY_ROUND

from attn.data.fetch import fetch
from attn.errors import Failed, UserError
from attn.tasks.packages import digest, place

ROOT = Path(__file__).parents[2]


def part() -> Path:
    return place(SMALL).with_name(f"{SMALL.file}.part")


def told(error) -> str:
    assert "\n" not in str(error.value)
    return str(error.value)


def test_a_package_is_downloaded_once_and_told_as_it_comes(server):
    seen = []
    path = fetch("small", seen.append)
    assert path.read_bytes() == CONTENT
    assert seen[0] == 0
    assert seen[-1] == len(CONTENT)
    assert seen == sorted(seen)
    assert fetch("small") == path
    assert server.starts == [0]
    assert not part().exists()


def test_a_broken_connection_goes_on_where_it_ended(server):
    server.breaks = [1_000_000, 500_000]
    assert fetch("small").read_bytes() == CONTENT
    assert server.starts == [0, 1_000_000, 1_500_000]


def test_without_ranges_it_begins_anew(server):
    server.ranges = False
    server.breaks = [1_000_000, 1_200_000]
    assert fetch("small").read_bytes() == CONTENT
    assert server.starts == [0, 0, 0]


def test_a_connection_that_brings_nothing_more_is_given_up(server):
    server.breaks = [1_000_000, 0]
    with pytest.raises(Failed) as error:
        fetch("small")
    assert "1,000,000 of 3,000,000 bytes are here); run it again" in told(error)
    assert fetch("small").read_bytes() == CONTENT
    assert server.starts[-1] == 1_000_000


def test_another_file_of_that_size_is_named_and_removed(server):
    server.content = CONTENT[:-1] + bytes([CONTENT[-1] ^ 1])
    with pytest.raises(Failed) as error:
        fetch("small")
    found = hashlib.sha256(server.content).hexdigest()
    for words in (SMALL.file, found[:12], SMALL.sha256[:12], WAY_ROUND):
        assert words in told(error)
    assert [path.name for path in place(SMALL).parent.iterdir()] == [".lock"]


def test_a_file_of_another_size_is_refused_before_it_is_read(server):
    server.content = CONTENT + b"more"
    with pytest.raises(Failed, match="another file, of 3,000,004 bytes"):
        fetch("small")
    assert not part().exists()


def test_a_part_that_is_longer_than_what_is_offered_is_left_behind(server):
    place(SMALL).parent.mkdir()
    part().write_bytes(bytes(2_000_000))
    server.content = CONTENT[:1_000_000]
    with pytest.raises(Failed, match="HTTP 416"):
        fetch("small")
    server.content = CONTENT
    assert fetch("small").read_bytes() == CONTENT


def test_a_damaged_file_is_replaced(server):
    path = fetch("small")
    path.write_bytes(b"odd")
    assert digest(path) != SMALL.sha256
    assert fetch("small").read_bytes() == CONTENT


def test_two_at_once_download_it_once(server):
    with ThreadPoolExecutor() as pool:
        paths = {*pool.map(fetch, ["small"] * 4)}
    assert [path.read_bytes() for path in paths] == [CONTENT]
    assert server.starts == [0]


def test_a_login_of_a_mirror_is_used_and_never_told(server, monkeypatch):
    server.login = f"Basic {b64encode(b'me:s/cret').decode()}"
    url = server.url.replace("//", "//me:s%2Fcret@")
    monkeypatch.setattr("attn.data.fetch.address", lambda package: url)
    assert fetch("small").read_bytes() == CONTENT
    place(SMALL).unlink()
    server.login = "Basic other"
    with pytest.raises(Failed, match="HTTP 401") as error:
        fetch("small")
    assert "cret" not in told(error)


def test_without_a_network_the_way_round_is_told(server, monkeypatch):
    with socket.socket() as deaf:  # its port is taken, and nobody listens
        deaf.bind(("127.0.0.1", 0))
        url = f"http://127.0.0.1:{deaf.getsockname()[1]}/small"
        monkeypatch.setattr("attn.data.fetch.address", lambda package: url)
        with pytest.raises(Failed, match="Connection refused; 0 of 3,000,000") as error:
            fetch("small")
    assert f"{WAY_ROUND} into {place(SMALL).parent}" in told(error)


def test_a_folder_that_cannot_be_made_is_told(server, tmp_path, monkeypatch):
    (tmp_path / "file").touch()
    monkeypatch.setenv("ATTN_DATA_DIR", str(tmp_path / "file"))
    with pytest.raises(UserError, match="set ATTN_DATA_DIR to a folder"):
        fetch("small")


KILLED = """
import sys, launch
from attn.cli import door
from attn.tasks.packages import PACKAGES, Package
PACKAGES["small"] = {small!r}
door.prepare(["fetch", "small"])
sys.exit(launch.main(["fetch", "small"]))
"""


@pytest.mark.parametrize("number, code", [(signal.SIGKILL, -9), (signal.SIGTERM, 75)])
def test_what_was_killed_half_way_goes_on_from_there(
    server, tmp_path, number, code, program
):
    program("npm", f"echo {server.url}")
    server.breaks = [1_500_000]
    server.hangs.clear()
    child = subprocess.Popen(
        [sys.executable, "-c", KILLED.format(small=SMALL)],
        cwd=ROOT,
        env=os.environ | {"ATTN_DATA_DIR": str(tmp_path), "PYTHONPATH": str(ROOT)},
        stderr=subprocess.PIPE,
        stdout=subprocess.DEVNULL,
    )
    until = time.monotonic() + 60
    while not part().exists() or part().stat().st_size < 1_000_000:
        assert time.monotonic() < until
        assert child.poll() is None
        time.sleep(0.02)
    child.send_signal(number)
    _, said = child.communicate(timeout=20)
    assert child.returncode == code
    assert (b"the same command goes on from here" in said) == (code == 75)
    here = part().stat().st_size
    assert fetch("small").read_bytes() == CONTENT
    assert server.starts == [0, here]
