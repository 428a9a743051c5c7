"""The roofline of a program: the least time that its products, memory and network take.

A step takes at least as long as the longest of the three (Williams et al. 2009), each at
the published peak of its device; a real one takes longer. Of several hosts there are two
networks, inside them and between, and the slower one counts.
"""

from dataclasses import dataclass

from attn.plan.chips import Chip
from attn.plan.programs import Numbers


@dataclass(frozen=True)
class Roofline:
    """Seconds of one run, of each roof; None where the device has no published rate."""

    compute: float | None
    memory: float | None
    network: float | None

    @property
    def roofs(self) -> dict[str, float]:
        """The roofs that are known, by name."""
        return {k: v for k, v in vars(self).items() if v is not None}

    @property
    def seconds(self) -> float | None:
        """The longest of the roofs; None without any."""
        return max(self.roofs.values(), default=None)

    @property
    def bound(self) -> str | None:
        """The roof that is longest."""
        return max(self.roofs, key=self.roofs.__getitem__, default=None)


def roofline(numbers: Numbers, chip: Chip, flops: float | int, dtype: str) -> Roofline:
    """Computes the roofs of a program.

    Args:
        flops: FLOPs of a device.
        dtype: the dtype of the products.
    """
    peak = chip.flops(dtype)
    times = [size / rate for size, rate in sent(numbers, chip).values() if rate]
    return Roofline(
        None if peak is None else flops / peak,
        None if chip.bandwidth is None else least_traffic(numbers) / chip.bandwidth,
        max(times, default=None),
    )


def sent(numbers: Numbers, chip: Chip) -> dict[str, tuple[float | int, float | None]]:
    """The bytes that a device sends over either network, and its rate.

    Both may be busy at once, so that neither waits for the other.
    """
    rows = numbers.collectives
    return {
        "inside hosts": (sum(row.inside for row in rows), chip.link),
        "between hosts": (sum(row.away for row in rows), chip.network or chip.link),
    }


def least_traffic(numbers: Numbers) -> float | int:
    """Bytes from and to memory: as the compiler counts, or what is given, where more.

    It counts a loop's body once and kernels of libraries not at all, but a program reads its
    arguments (of an embedding that is looked up, fewer rows) and writes its outputs. Without a
    count: all that is held, once.
    """
    if numbers.traffic is None:
        return numbers.total
    return max(numbers.traffic, numbers.total - numbers.held.get("scratch", 0))
