"""The roofline of a program: the least time that its products, memory and network take.

A step takes at least as long as the longest of the three (Williams et al. 2009), each at
the published peak of its device; a real one takes longer.
"""

from dataclasses import dataclass

from attn.plan.chips import Chip
from attn.plan.collectives import sent
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
    network = None
    if chip.link is not None:
        away = sent(numbers.collectives, hosts=True)
        network = sent(numbers.collectives, hosts=False) / chip.link
        network += away / (chip.network or chip.link)
    return Roofline(
        None if peak is None else flops / peak,
        None if chip.bandwidth is None else least_traffic(numbers) / chip.bandwidth,
        network,
    )


def least_traffic(numbers: Numbers) -> float | int:
    """Bytes from and to memory: as the compiler counts, or what is held, once."""
    return numbers.total if numbers.traffic is None else numbers.traffic
