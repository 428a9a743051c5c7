"""Changes that would make a program fit: estimates from its parts, for a plan to check."""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from attn.plan.estimate import Plan
from attn.plan.shapes import allowed, divisors


@dataclass(frozen=True)
class Change:
    """One change, and the bytes of a device after it, estimated."""

    option: str
    bytes: float | int


def changes(plan: Plan) -> tuple[Change, ...]:
    """Estimates every change that needs fewer bytes, the fewest first; of a training step."""
    if plan.what != "train":
        return ()
    found = [*_fsdp(plan), *_heads(plan), *_remat(plan), *_accumulate(plan)]
    less = [change for change in found if change.bytes < plan.numbers.total]
    return tuple(sorted(less, key=lambda change: change.bytes))


def activations(plan: Plan) -> float | int:
    """The scratch bytes beside the gradients, which are as large as the parameters."""
    held = plan.numbers.held
    return max(0.0, held["scratch"] - held["parameters"])


def _fsdp(plan: Plan) -> Iterator[Change]:
    """The parameters, their gradients and moments divided as the batch is."""
    mesh, held = plan.mesh, plan.numbers.held
    if mesh.data > 1:
        shape = replace(mesh, data=1, fsdp=mesh.batch)
        gradients = min(held["parameters"], held["scratch"])
        divided = held["parameters"] + held["optimizer"] + gradients
        less = divided * (1 - 1 / mesh.data)
        yield Change(f"--mesh {shape}", plan.numbers.total - less)


def _heads(plan: Plan) -> Iterator[Change]:
    """More parts of the heads and fewer of the batch, whose activations stay as they are."""
    held, mesh = plan.numbers.held, plan.mesh
    for times in divisors(mesh.data)[1:]:
        shape = replace(mesh, data=mesh.data // times, heads=mesh.heads * times)
        if allowed(plan.experiment, shape):
            gradients = min(held["parameters"], held["scratch"])
            divided = held["parameters"] + held["optimizer"] + gradients
            less = divided * (1 - 1 / times)
            yield Change(f"--mesh {shape}", plan.numbers.total - less)


def _remat(plan: Plan) -> Iterator[Change]:
    """The inputs of layers kept, and the activations of one layer at a time."""
    model, task = plan.experiment.model, plan.experiment.task
    if model.remat:
        return
    layers = len(model.layers)
    rows = plan.experiment.seeds * plan.experiment.train.batch_size
    rows /= plan.mesh.batch * plan.experiment.train.accumulate
    width = 2 if model.dtype == "bfloat16" else 4
    inputs = layers * rows * task.seq_len * model.d_model * width / plan.mesh.seq
    kept = activations(plan)
    yield Change("--model.remat", plan.numbers.total - kept + kept / layers + inputs)


def _accumulate(plan: Plan) -> Iterator[Change]:
    """The batch in as many parts as it takes to fit, or as there can be."""
    train, kept = plan.experiment.train, activations(plan)
    parts = [n for n in divisors(train.batch_size) if n > train.accumulate]
    last = None
    for n in parts:
        other = replace(plan.experiment, train=replace(train, accumulate=n))
        if not allowed(other, plan.mesh):
            continue
        left = plan.numbers.total - kept * (1 - train.accumulate / n)
        last = Change(f"--train.accumulate {n}", left)
        if plan.memory is not None and left <= plan.memory:
            break
    if last is not None:
        yield last
