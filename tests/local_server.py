"""A server of one file on this machine, a package of it, and programs that stand in."""

import hashlib
import threading
from contextlib import suppress
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import numpy as np
import pytest

from attn.tasks.packages import PACKAGES, Package

CONTENT = np.random.default_rng(0).bytes(3_000_000)
SMALL = Package(
    name="small",
    manager="npm",
    package="@some/small",
    version="1.2.3",
    file="some-small-1.2.3.tgz",
    sha256=hashlib.sha256(CONTENT).hexdigest(),
    size=len(CONTENT),
    holds="random bytes",
    licence="none",
)
WAY_ROUND = (
    f"npm pack @some/small@1.2.3, and copy {SMALL.file} (SHA-256 {SMALL.sha256})"
)


class Server(ThreadingHTTPServer):
    """A server of one file, which may break off, hang, or know no ranges."""

    daemon_threads = True

    def __init__(self):
        super().__init__(("127.0.0.1", 0), Handler)
        self.content, self.ranges, self.login = CONTENT, True, ""
        self.breaks: list[int] = []
        """Bytes after which each next answer ends too early."""
        self.hangs = threading.Event()
        """What an answer that ended too early waits for; set: it does not wait."""
        self.hangs.set()
        self.starts: list[int] = []
        """The first byte of each answer."""

    @property
    def url(self) -> str:
        return f"http://127.0.0.1:{self.server_port}/some/small.tgz"


class Handler(BaseHTTPRequestHandler):
    """What answers a request to a `Server`."""

    server: Server

    def log_message(self, *_):
        pass

    def do_GET(self):
        server, asked = self.server, self.headers.get("Range")
        if server.login and self.headers.get("Authorization") != server.login:
            return self.send_error(401)
        start = int(asked[6:-1]) if asked and server.ranges else 0
        server.starts.append(start)
        if start >= len(server.content):
            return self.send_error(416)
        self.send_response(206 if start else 200)
        if start:
            last = len(server.content) - 1
            self.send_header("Content-Range", f"bytes {start}-{last}/{last + 1}")
        self.send_header("Content-Length", str(len(server.content) - start))
        self.end_headers()
        most = server.breaks.pop(0) if server.breaks else None
        with suppress(ConnectionError):
            self.wfile.write(server.content[start:][:most])
        if most is not None:
            server.hangs.wait(60)
        return None


@pytest.fixture
def server(tmp_path, monkeypatch):
    """A running server, from which the package `small` comes into an empty folder."""
    monkeypatch.setenv("ATTN_DATA_DIR", str(tmp_path))
    monkeypatch.setitem(PACKAGES, "small", SMALL)
    with Server() as running:
        threading.Thread(
            target=running.serve_forever, args=(0.01,), daemon=True
        ).start()
        monkeypatch.setattr("attn.data.fetch.address", lambda package: running.url)
        yield running
        running.hangs.set()
        running.shutdown()


@pytest.fixture
def program(tmp_path, monkeypatch):
    """Makes the only program on the path, from its name and its shell script."""
    monkeypatch.setenv("PATH", str(tmp_path / "bin"))

    def make(name: str, script: str) -> None:
        (tmp_path / "bin").mkdir()
        (tmp_path / "bin" / name).write_text(f"#!/bin/sh\n{script}\n")
        (tmp_path / "bin" / name).chmod(0o755)

    return make
