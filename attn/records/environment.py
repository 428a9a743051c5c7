"""Where a run ran: versions, devices, machine and source, without names or paths."""

import os
import platform
import re
import subprocess
from importlib import metadata
from pathlib import Path
from typing import Any

import attn

_PACKAGES = {
    "jax": "jax",
    "jaxlib": "jaxlib",
    "flax": "flax",
    "optax": "optax",
    "orbax": "orbax-checkpoint",
    "grain": "grain",
    "tfds": "tensorflow-datasets",
    "numpy": "numpy",
}


def environment(mesh: dict[str, int]) -> dict[str, Any]:
    """What a run depends on besides its config, as JSON values.

    Args:
      mesh: devices along each mesh axis, by name.

    Returns:
      One version for each package, `platform` (cpu, gpu, tpu), `device_kind` and counts,
      `mesh`, `cpu` model and `cores` this process may use, `memory_bytes`, `git_commit`
      and `git_dirty` (None outside a checkout), `os`, `xla_flags`. No host name and no
      absolute path is among them.
    """
    import jax

    first = jax.devices()[0]
    return {
        **_versions(),
        **_git(Path(attn.__file__).resolve().parents[1]),
        "platform": first.platform,
        "device_kind": first.device_kind,
        "device_count": jax.device_count(),
        "process_count": jax.process_count(),
        "mesh": dict(mesh),
        "cpu": _cpu_model(),
        "cores": _cores(),
        "memory_bytes": _memory_bytes(),
        "os": platform.platform(),
        "xla_flags": _without_paths(os.environ.get("XLA_FLAGS", "")),
    }


def _versions() -> dict[str, str | None]:
    versions: dict[str, str | None] = {
        "python": platform.python_version(),
        "attn": attn.__version__,
    }
    for name, package in _PACKAGES.items():
        try:
            versions[name] = metadata.version(package)
        except metadata.PackageNotFoundError:
            versions[name] = None
    return versions


def _cpu_model() -> str | None:
    try:
        text = Path("/proc/cpuinfo").read_text(encoding="utf-8")
    except OSError:
        text = ""
    found = re.search(r"^model name\s*:\s*(.+)$", text, re.MULTILINE)
    return found[1] if found else platform.processor() or None


def _cores() -> int | None:
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count()


def _memory_bytes() -> int | None:
    try:
        return os.sysconf("SC_PAGE_SIZE") * os.sysconf("SC_PHYS_PAGES")
    except (ValueError, OSError, AttributeError):
        return None


def _without_paths(flags: str) -> str:
    return re.sub(r"=[\"']?[/~]\S*", "=<path>", flags)


def _git(root: Path) -> dict[str, Any]:
    """Commit and dirty flag of the checkout at `root` itself, not of one around it."""
    top = _ask_git(root, "rev-parse", "--show-toplevel")
    commit = _ask_git(root, "rev-parse", "--verify", "HEAD")
    if not top or not commit or Path(top).resolve() != root:
        return {"git_commit": None, "git_dirty": None}
    dirty = _ask_git(root, "status", "--porcelain") != ""
    return {"git_commit": commit, "git_dirty": dirty}


def _ask_git(root: Path, *words: str) -> str | None:
    command = ["git", "--no-optional-locks", "-C", str(root), *words]
    try:
        answer = subprocess.run(command, capture_output=True, text=True, timeout=20)
    except (OSError, subprocess.SubprocessError):
        return None
    return answer.stdout.strip() if answer.returncode == 0 else None
