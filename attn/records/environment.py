"""The environment of a run: versions, devices, machine, source; no names or paths."""

import os
import platform
import re
import subprocess
from collections.abc import Iterable, Mapping, Sequence
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
UNKNOWN = "unknown"


def environment(mesh: dict[str, int]) -> dict[str, Any]:
    """Describes all that a run depends on besides its config, as JSON values.

    Args:
      mesh: devices along each mesh axis, by name.

    Returns:
      One version for each package, `platform` (cpu, gpu, tpu), `device_kind` and
          counts,
      `mesh`, `cpu` model and `cores` this process may use, `memory_bytes`, `git_commit`
      and `git_dirty` (None outside a checkout), `os`, `xla_flags`, and
      `matmul_precision` as jax is asked for it: "default" multiplies float32 in
      TF32 on a GPU and in bfloat16 on a TPU. No host name and no absolute path is among
      them.
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
        "cores": cores(),
        "memory_bytes": _memory_bytes(),
        "os": platform.platform(),
        "matmul_precision": jax.config.jax_default_matmul_precision or "default",  # pyright: ignore[reportAttributeAccessIssue]
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


def cores() -> int | None:
    """The number of processors that this process may use."""
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
    """The commit and dirty flag of the checkout at `root` itself, not an outer one."""
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


def provenance(
    environments: Sequence[Mapping[str, Any]],
    packages: Sequence[str] = ("jax",),
    before: Sequence[str] = (),
    after: Sequence[str] = (),
) -> str:
    """Machine, versions and commit in one line, with all values that occur.

    Args:
      environments: from `environment`, one a run.
      packages: those whose versions are included, where known.
      before, after: further parts of the line.
    """
    machines = every(map(_machine, environments))
    named = {name: every(env.get(name) for env in environments) for name in packages}
    versions = [f"{name} {value}" for name, value in named.items() if value != UNKNOWN]
    commits = f"commit {every(map(_commit, environments))}"
    parts = [*before, machines, ", ".join(versions), commits, *after]
    return " · ".join(filter(None, parts))


def every(values: Iterable[Any]) -> str:
    """Joins the distinct values in order of appearance: `2 / 3`."""
    found = dict.fromkeys(str(value) for value in values if value not in (None, ""))
    return " / ".join(found) or UNKNOWN


def _machine(env: Mapping[str, Any]) -> str:
    """The machine: `cpu (AMD EPYC 7B13, 2 cores)`, `gpu (NVIDIA H200 x 8 devices)`."""
    platform, count = env.get("platform", UNKNOWN), env.get("device_count") or 1
    if platform == "cpu":
        what = f"{env.get('cpu') or 'cpu'}, {env.get('cores', '?')} cores"
    else:
        what = str(env.get("device_kind", "?"))
    return f"{platform} ({what}{f' x {count} devices' if count > 1 else ''})"


def _commit(env: Mapping[str, Any]) -> str | None:
    commit = env.get("git_commit")
    return commit and commit[:10] + (" (dirty)" if env.get("git_dirty") else "")
