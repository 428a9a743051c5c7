"""Topologies: devices by a name such as `v5p:8x8x8`, `h200:16` or `cpu:8`."""

from dataclasses import dataclass
from difflib import get_close_matches
from importlib.util import find_spec
from math import prod
from typing import TYPE_CHECKING, Any

from attn.errors import UserError
from attn.plan.chips import CHIPS, GPUS_A_HOST, SLICES, Chip
from attn.plan.gpus import target_config

if TYPE_CHECKING:
    from collections.abc import Sequence

EXAMPLES = (
    *(f"{chip}:{shape}" for chip, shapes in SLICES.items() for shape in shapes.split()),
    *(f"{name}:8" for name, chip in CHIPS.items() if chip.platform != "tpu"),
    *(f"{name}:16" for name, chip in CHIPS.items() if chip.platform == "cuda"),
)
"""The names that an error offers: every slice of TPUs, and a host or two of GPUs."""
INSTALL = "pip install -e '.[plan]'"
PACKAGES = {"tpu": "libtpu", "cuda": "jax_cuda13_plugin"}


@dataclass(frozen=True)
class Topology:
    """So many devices of one kind, and how they are joined."""

    name: str
    chip: Chip
    count: int
    """The number of devices, as jax counts them."""
    on_a_host: int
    """The devices that the fast links join: all of a TPU's slice, a host's of GPUs."""

    @property
    def hosts(self) -> int:
        """The number of groups that the fast links join."""
        return self.count // self.on_a_host

    def require(self) -> None:
        """Raises `UserError` where the compiler for these devices is not installed."""
        package = PACKAGES.get(self.chip.platform)
        if package and find_spec(package) is None:
            raise UserError(
                f"--on {self.name} needs {package}, which is not installed; {INSTALL}"
            )

    def devices(self) -> "Sequence[Any]":
        """Describes the devices to jax; on a CPU they are this machine's own.

        Raises:
            UserError: the compiler for them is not installed, or does not know them.
        """
        self.require()
        import jax
        from jax.experimental import topologies

        kind = self.chip.platform
        if kind == "cpu":
            from attn.parallel.mesh import use_cpu_devices

            use_cpu_devices(self.count)
            return jax.devices("cpu")[: self.count]
        given = {"topology_name": self.name}
        if kind == "cuda":
            given |= {
                "target_config": target_config(self.chip.name),
                "topology": f"1x{self.hosts}x{self.on_a_host}",
            }
        try:
            found = topologies.get_topology_desc(platform=kind, **given)
        except Exception as error:
            reason = str(error).splitlines()[0]
            raise UserError(f"--on {self.name}: {reason}; choose another") from error
        return found.devices


def topology(name: str) -> Topology:
    """The topology of a name.

    Raises:
        UserError: there is none; the nearest names come first.
    """
    kind, _, size = name.lower().partition(":")
    chip = CHIPS.get(kind)
    if chip is None or (chip.platform == "tpu" and size not in SLICES[kind].split()):
        raise _unknown(name)
    if chip.platform == "tpu":
        halves = 2 if kind == "tpu7x" else 1
        count = halves * prod(map(int, size.split("x")))
        return Topology(f"{kind}:{size}", chip, count, count)
    if not size.isdecimal() or int(size) < 1:
        raise _unknown(name)
    count = int(size)
    if chip.platform == "cpu":
        return Topology(f"{kind}:{size}", chip, count, count)
    if count > GPUS_A_HOST and count % GPUS_A_HOST:
        below = count - count % GPUS_A_HOST
        raise UserError(
            f"--on {name}: hosts have {GPUS_A_HOST} GPUs; choose {kind}:{below} or "
            f"{kind}:{below + GPUS_A_HOST}"
        )
    return Topology(f"{kind}:{size}", chip, count, min(count, GPUS_A_HOST))


def _unknown(name: str) -> UserError:
    """The error for a name that is no topology: the nearest names, then all kinds."""
    kind = name.partition(":")[0].lower()
    near = get_close_matches(name.lower(), EXAMPLES, n=3, cutoff=0.4)
    own = [each for each in EXAMPLES if each.startswith(f"{kind}:")]
    kinds = [each.partition(":")[0] for each in EXAMPLES]
    others = [f"{other}:..." for other in dict.fromkeys(kinds) if other != kind]
    names = dict.fromkeys([*near, *own, *others])
    return UserError(f"unknown topology {name!r}; there are: {', '.join(names)}")
