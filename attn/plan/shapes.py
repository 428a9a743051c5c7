"""Mesh shapes that a topology allows an experiment, and the errors for those it does not."""

from collections.abc import Iterator

from attn.config import Experiment
from attn.errors import UserError
from attn.parallel.mesh import MeshShape
from attn.plan.topologies import Topology


def shapes(
    experiment: Experiment, topology: Topology, *, seq: bool | None = None
) -> list[MeshShape]:
    """All meshes `data` x `fsdp` x `heads` over all devices that divide the experiment.

    Parameters are divided by all parts of the batch, or by none.

    Args:
        seq: whether meshes that divide the sequence are among them; None where there are
            no others.
    """
    whole = [s for s in _shapes(topology.count, 1) if allowed(experiment, s)]
    if seq is False or (whole and seq is None):
        return whole
    parts = divisors(topology.count)[1:]
    divided = (s for n in parts for s in _shapes(topology.count // n, n))
    return whole + [s for s in divided if allowed(experiment, s)]


def _shapes(count: int, seq: int) -> Iterator[MeshShape]:
    """Meshes whose other axes have some number of parts in all."""
    for heads in divisors(count):
        batch = count // heads
        yield MeshShape(data=batch, heads=heads, seq=seq)
        if batch > 1:
            yield MeshShape(fsdp=batch, heads=heads, seq=seq)


def divisors(n: int) -> list[int]:
    """The divisors of a number, ascending."""
    return [k for k in range(1, n + 1) if n % k == 0]


def allowed(experiment: Experiment, shape: MeshShape) -> bool:
    """Whether a mesh divides the batch and every layer of an experiment."""
    try:
        experiment.check_mesh(shape)
    except UserError:
        return False
    return True


def choose(
    experiment: Experiment, topology: Topology, text: str, *, seq: bool | None = None
) -> MeshShape:
    """The mesh that was asked for; without one, the batch in as many parts as can be.

    Where the batch has not so many, heads, or else the sequence, are divided.

    Raises:
        UserError: it has not as many devices as the topology, or does not divide the
            experiment; the nearest that do are named.
    """
    if not text:
        fit = shapes(experiment, topology, seq=seq)
        if not fit:
            raise UserError(
                f"no mesh of {topology.count} devices divides {experiment.name!r}: give "
                "train.batch_size, model.num_heads or task.seq_len more factors, or choose "
                "another --on"
            )
        return min(fit, key=lambda shape: (shape.heads, shape.seq, shape.fsdp))
    shape = MeshShape.parse(text)
    if shape.size == topology.count and allowed(experiment, shape):
        return shape
    fit = shapes(experiment, topology, seq=seq if shape.seq == 1 else seq is not False)
    near = ", ".join(map(str, nearest(shape, fit)))
    instead = f"; the nearest that do: {near}" if near else "; no mesh does"
    if shape.size != topology.count:
        raise UserError(
            f"--mesh {shape} has {shape.size} devices and {topology.name} "
            f"{topology.count}{instead}"
        )
    try:
        experiment.check_mesh(shape)
    except UserError as error:
        raise UserError(f"{error}{instead}") from None
    return shape


def nearest(shape: MeshShape, others: list[MeshShape], count: int = 3) -> Iterator[str]:
    """The meshes that differ least from one, by their factors."""

    def apart(other: MeshShape) -> float:
        sizes = (
            (shape.batch, shape.heads, shape.seq),
            (other.batch, other.heads, other.seq),
        )
        return sum(max(a, b) / min(a, b) for a, b in zip(*sizes)) + (
            (shape.fsdp > 1) != (other.fsdp > 1)
        )

    yield from map(str, sorted(others, key=apart)[:count])
