"""Downloads of data packages: resumed where they ended, checked before they are kept.

A file comes as `FILE.part`, and gets its name once its size and its SHA-256 are what they
must be. So a process may be killed at any time, and the next goes on from there.
"""

import fcntl
import ssl
from base64 import b64encode
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from http.client import HTTPException, HTTPResponse
from pathlib import Path
from urllib.error import HTTPError, URLError
from urllib.parse import unquote, urlsplit
from urllib.request import Request, urlopen

from attn.data.managers import address, way_round, without_login
from attn.errors import Failed, UserError
from attn.tasks.packages import SHOWN, Package, digest, find, place

CHUNK = 2**18
"""Bytes that are read at once."""
SILENCE_S = 60
"""Seconds without a byte after which a connection counts as lost."""
LOCK = ".lock"
BROKEN = (URLError, HTTPException, ConnectionError, TimeoutError, ssl.SSLError)
"""What the network raises; errors of a disk are none of these."""
NOT_SATISFIABLE = 416

Tell = Callable[[int], None]
"""A function that is told how many bytes are here."""


def fetch(name: str, tell: Tell = lambda here: None) -> Path:
    """Gets a data package unless it is here and whole; returns the path of its file.

    Several processes may fetch at once: they do so in turn.

    Raises:
        UserError: there is no such package, or no place for it.
        Failed: it cannot be had, or is not what it must be.
    """
    package = find(name)
    path = place(package)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with _alone(path.parent / LOCK):
            if digest(path) != package.sha256:
                part = path.with_name(f"{path.name}.part")
                _fill(part, package, tell)
                _check(part, package)
                part.replace(path)
    except OSError as error:
        raise UserError(
            f"cannot keep data packages in {path.parent}: {error}; make room there, or "
            "set ATTN_DATA_DIR to a folder that can be written"
        ) from error
    return path


@contextmanager
def _alone(path: Path) -> Iterator[None]:
    """Waits until no other process holds the lock of a file, and holds it."""
    with path.open("a") as file:
        with suppress(OSError):  # some file systems have no locks: hashes protect us
            fcntl.flock(file, fcntl.LOCK_EX)
        yield


def _fill(part: Path, package: Package, tell: Tell) -> None:
    """Downloads what is missing, for as long as each try brings something."""
    here = _size(part)
    url = address(package) if here < package.size else ""
    while here < package.size:
        why = "the connection ended"
        try:
            _append(url, part, package, tell)
        except BROKEN as error:
            why = _reason(error)
            if isinstance(error, HTTPError) and error.code == NOT_SATISFIABLE:
                part.unlink()  # theirs ends before ours, which is thus of another file
        before, here = here, _size(part)
        if here <= before:
            raise Failed(
                f"{package.name} cannot be downloaded ({why}; {here:,} of "
                f"{package.size:,} bytes are here); run it again, {way_round(package)}"
            )


def _append(url: str, part: Path, package: Package, tell: Tell) -> None:
    """Appends to a file what it lacks, or writes it anew where that is refused."""
    start = _size(part)
    with urlopen(_request(url, start), timeout=SILENCE_S) as response:
        answer = response.headers
        resumes = answer.get("Content-Range", "").startswith(f"bytes {start}-")
        total = int(answer.get("Content-Length", package.size - start * resumes))
        if start * resumes + total != package.size:
            raise _refusal(package, f"of {start * resumes + total:,} bytes")
        with part.open("ab" if resumes else "wb") as file:
            tell(file.tell())
            while file.tell() <= package.size and (block := _read(response)):
                file.write(block)
                tell(file.tell())


def _read(response: HTTPResponse) -> bytes:
    """Reads a block; whatever breaks is of the network, and not of our disk."""
    try:
        return response.read(CHUNK)
    except BROKEN:
        raise
    except OSError as error:
        raise ConnectionError(error.strerror or str(error)) from error


def _request(url: str, start: int) -> Request:
    """A request of a file from a byte on; a login in the address becomes a header."""
    parts = urlsplit(url)
    login, _, host = parts.netloc.rpartition("@")
    request = Request(parts._replace(netloc=host).geturl())
    if login:
        words = b64encode(unquote(login).encode()).decode()
        request.add_unredirected_header("Authorization", f"Basic {words}")
    if start:
        request.add_header("Range", f"bytes={start}-")
    return request


def _reason(error: Exception) -> str:
    """A broken connection in a few words, without the login of a mirror."""
    if isinstance(error, HTTPError):
        return f"HTTP {error.code} {error.reason}"
    if isinstance(error, URLError):
        return without_login(str(error.reason))
    return without_login(str(error) or type(error).__name__)


def _check(part: Path, package: Package) -> None:
    """Removes a file that is not what it must be, and says so."""
    found = digest(part)
    if found != package.sha256:
        part.unlink()
        raise _refusal(package, f"with SHA-256 {str(found)[:SHOWN]}...")


def _refusal(package: Package, what: str) -> Failed:
    return Failed(
        f"{package.file} came as another file, {what}, and {package.size:,} bytes with "
        f"{package.sha256[:SHOWN]}... were expected; it was not kept; run it again, "
        f"{way_round(package)}"
    )


def _size(path: Path) -> int:
    return path.stat().st_size if path.exists() else 0
