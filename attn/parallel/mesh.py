"""The device mesh: its axes, their sizes, and the mesh itself.

Axes are Explicit: an array's sharding is part of its type, and an operation that would
need an unwanted collective fails where it is written. One device is a 1 × 1 × 1 mesh,
so there is one code path. `rules` assigns dimensions to axes.
"""

from collections.abc import Iterable, Mapping
from contextlib import AbstractContextManager, nullcontext
from dataclasses import dataclass
from typing import Any

from jax.sharding import AxisType, Mesh

from attn.errors import UserError, unknown

AXES = ("data", "fsdp", "heads", "seq")


@dataclass(frozen=True)
class MeshShape:
    """The numbers of parts that batch, heads, sequence and parameters are divided into."""

    data: int = 1
    heads: int = 1
    seq: int = 1
    fsdp: int = 1
    """Parts of the batch, as `data`, and of parameters and optimizer state, too."""

    def __post_init__(self):
        for name in AXES:
            if getattr(self, name) < 1:
                raise UserError(f"mesh {name} = {getattr(self, name)}; at least 1")

    @property
    def size(self) -> int:
        """The number of devices."""
        return self.batch * self.heads * self.seq

    @property
    def batch(self) -> int:
        """The number of parts of a batch."""
        return self.data * self.fsdp

    def __str__(self) -> str:
        sizes = {name: getattr(self, name) for name in AXES}
        return (
            ",".join(f"{n}={size}" for n, size in sizes.items() if size > 1) or "data=1"
        )

    @classmethod
    def parse(cls, text: str) -> "MeshShape":
        """Parses `data=2,heads=4`; axes that are not named have size 1."""
        sizes = {}
        for part in filter(None, text.replace(" ", "").split(",")):
            name, _, size = part.partition("=")
            if name not in AXES:
                raise unknown("mesh axis", name, AXES)
            if name in sizes:
                raise UserError(f"mesh {text!r} names {name} twice; give it one size")
            if not size.isdecimal():
                raise UserError(f"mesh {part!r}: write {name}=2, say")
            sizes[name] = int(size)
        return cls(**sizes)

    def check_divides(self, axis: str, sizes: Mapping[str, int]) -> None:
        """Raises `UserError` where an axis does not divide one of the named sizes."""
        ways = getattr(self, axis)
        if axis == "data" and self.fsdp > 1:
            axis, ways = "data * fsdp", self.batch
        for name, value in sizes.items():
            if value % ways:
                fits = (n for n in range(1, value + 1) if value % n == 0)
                raise UserError(
                    f"mesh {axis} = {ways} does not divide {name} = {value}; it can be "
                    f"{nearest_sizes(ways, fits)}"
                )

    def check_heads(self, N: int, K: int) -> None:
        """Raises `UserError` where `heads` does not divide N query and K key heads."""
        self.check_divides("heads", {"num_heads": N})
        if K % self.heads and self.heads % K:
            fits = (
                n for n in range(1, N + 1) if not N % n and (not K % n or not n % K)
            )
            raise UserError(
                f"mesh heads = {self.heads} and num_kv_heads = {K}: one must divide the "
                f"other; it can be {nearest_sizes(self.heads, fits)}"
            )


def nearest_sizes(wanted: int, sizes: Iterable[int], count: int = 12) -> str:
    """Some sizes that are nearest to one by their ratio, ascending, for an error."""
    by_ratio = sorted(sizes, key=lambda n: max(n / wanted, wanted / n))
    return ", ".join(map(str, sorted(by_ratio[:count])))


def use_cpu_devices(count: int) -> None:
    """Splits the CPU into `count` devices; must precede the first use of any device.

    Accelerators are left as they are.
    """
    import jax

    there = jax.config.jax_num_cpu_devices  # pyright: ignore[reportAttributeAccessIssue]
    if count > max(1, there):
        jax.config.update("jax_num_cpu_devices", count)
        # Several programs in flight over more devices than cores can wait for each
        # other for ever.
        jax.config.update("jax_cpu_enable_async_dispatch", False)


def make_mesh(shape: MeshShape = MeshShape()) -> Mesh:
    """Makes the mesh over the first devices.

    Raises:
        UserError: there are fewer devices than the mesh needs.
    """
    import jax

    devices = jax.devices()
    if len(devices) < shape.size:
        raise UserError(
            f"mesh {shape} needs {shape.size} devices, and there are {len(devices)}"
        )
    return jax.make_mesh(
        tuple(getattr(shape, name) for name in AXES),
        AXES,
        axis_types=(AxisType.Explicit,) * len(AXES),
        devices=devices[: shape.size],
    )


def shape_of(mesh: Mesh | None) -> MeshShape:
    """The shape of a mesh; that of one device for None."""
    sizes = {} if mesh is None else mesh.shape
    return MeshShape(**{name: sizes.get(name, 1) for name in AXES})


def using(mesh: Mesh | None) -> AbstractContextManager[Any]:
    """Sets the mesh within a `with` block; none is set for None."""
    import jax

    return nullcontext() if mesh is None else jax.set_mesh(mesh)
