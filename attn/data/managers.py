"""Package managers, asked where a file of their index is; mirrors are their business."""

import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from dataclasses import dataclass

from attn.errors import Failed
from attn.tasks.packages import Package, place

PATIENCE_S = 180
"""Seconds in which a manager must answer."""
LONGEST = 160
"""Characters of a manager's words that a message repeats."""


@dataclass(frozen=True)
class Manager:
    """A package manager: how it says the address of a file, how it gets the file."""

    program: tuple[str, ...]
    asks: str
    """Its words that print the address of `{}`, a package at a version."""
    reads: Callable[[str], str]
    """The address in what was printed; "" where there is none."""
    gets: str
    """Words that download it into the current folder, for a user's own hands."""
    at: str
    """What stands between a package and its version."""


def _of_pip(said: str) -> str:
    return json.loads(said)["install"][0]["download_info"]["url"]


def _of_npm(said: str) -> str:
    return said.strip()


def _of_apt(said: str) -> str:
    quoted = re.match("'(.+?)' ", said)
    return quoted[1] if quoted else ""


MANAGERS = {
    "pip": Manager(
        (sys.executable, "-m", "pip"),
        "install --dry-run --ignore-installed --ignore-requires-python --no-deps "
        "--no-input --quiet --report - {}",
        _of_pip,
        "pip download --ignore-requires-python --no-deps",
        "==",
    ),
    "npm": Manager(
        ("npm",),
        "view --fetch-retries=1 {} dist.tarball",
        _of_npm,
        "npm pack",
        "@",
    ),
    "apt": Manager(
        ("apt-get",),
        "--print-uris download {}",
        _of_apt,
        "apt-get download",
        "=",
    ),
}


def address(package: Package) -> str:
    """The address of a package's file, as its manager has it on this machine.

    Raises:
        Failed: the manager is not here, is offline, or knows no such version.
    """
    manager = MANAGERS[package.manager]
    program = manager.program[0]
    if shutil.which(program) is None:
        raise Failed(
            f"{package.name} comes by {program}, which is not here; install it, "
            f"{way_round(package)}"
        )
    asks = manager.asks.format(_at_version(package)).split()
    said, why = _ask([*manager.program, *asks])
    try:
        found = "" if why else manager.reads(said)
    except (ValueError, LookupError):  # it printed something else than it was asked for
        found = ""
    if found and not re.match("(https?|file)://", found):
        found, why = "", f"{program} gave no address"
    if not found:
        why = why or f"{program} knows no {_at_version(package)}"
        first = "run apt-get update" if package.manager == "apt" else "try it later"
        raise Failed(
            f"{package.name} was not found ({why}); {first}, {way_round(package)}"
        )
    return found


def _ask(words: list[str]) -> tuple[str, str]:
    """Returns what a command printed, and why it failed ("" where it did not)."""
    try:
        done = subprocess.run(
            words,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            text=True,
            timeout=PATIENCE_S,
            env=os.environ | {"LC_ALL": "C"},
        )
    except subprocess.TimeoutExpired:
        return "", f"{words[0]} did not answer in {PATIENCE_S} s"
    return done.stdout, _reason(done.stderr) if done.returncode else ""


def _reason(said: str) -> str:
    """The first error that a manager tells, without the login of a mirror."""
    lines = [line.strip() for line in said.splitlines() if line.strip()] or ["no word"]
    errors = [line for line in lines if re.match("E:|ERROR:|npm err(or|!)", line, re.I)]
    return without_login((errors or lines[-1:])[0])[:LONGEST]


def without_login(text: str) -> str:
    """A text in which no address holds a name and a password."""
    return re.sub(r"//[^/\s]+@", "//", text)


def way_round(package: Package) -> str:
    """The end of a sentence: how a user gets a package that cannot be had here."""
    gets = f"{MANAGERS[package.manager].gets} {_at_version(package)}"
    path = place(package)
    return (
        f"or run elsewhere: {gets}, and copy {path.name} (SHA-256 {package.sha256}) "
        f"into {path.parent}"
    )


def _at_version(package: Package) -> str:
    return f"{package.package}{MANAGERS[package.manager].at}{package.version}"
