"""Changes that would make a program fit: estimates from its parts, for a plan to check.

A mesh that divides parameters is said with a lower bound alone: what is left of parameters
and optimizer state, which is known. Its scratch memory is another program's. The others
take all scratch memory but the gradients' own size for activations, and say too little: of
`7b` on v6e:16x16 under fsdp=256, 9.5 GiB for `--model.remat`, of which the compiler makes 11.9.
"""

from collections.abc import Iterator
from dataclasses import dataclass, replace

from attn.plan.estimate import Plan
from attn.plan.shapes import allowed, divisors


@dataclass(frozen=True)
class Change:
    """One change, and the bytes of a device after it, estimated."""

    option: str
    bytes: float | int
    bound: bool = False
    """Whether it needs at least that, and more by scratch memory that is not known."""


def changes(plan: Plan) -> tuple[Change, ...]:
    """Estimates every change that needs fewer bytes, the fewest first; of a training step."""
    if plan.what != "train":
        return ()
    found = [*_fsdp(plan), *_heads(plan), *_remat(plan), *_accumulate(plan)]
    state = _state(plan)
    less = [c for c in found if c.bytes < (state if c.bound else plan.numbers.total)]
    return tuple(sorted(less, key=lambda change: change.bytes))


def activations(plan: Plan) -> float | int:
    """The scratch bytes beside the gradients, which are as large as the parameters."""
    held = plan.numbers.held
    return max(0.0, held["scratch"] - held["parameters"])


def _fsdp(plan: Plan) -> Iterator[Change]:
    """The parameters and their moments divided as the batch is."""
    mesh = plan.mesh
    if mesh.data > 1:
        shape = replace(mesh, data=1, fsdp=mesh.batch)
        yield Change(f"--mesh {shape}", _state(plan) / mesh.data, bound=True)


def _heads(plan: Plan) -> Iterator[Change]:
    """More parts of the heads and fewer of the batch."""
    mesh = plan.mesh
    for times in divisors(mesh.data)[1:]:
        shape = replace(mesh, data=mesh.data // times, heads=mesh.heads * times)
        if allowed(plan.experiment, shape):
            yield Change(f"--mesh {shape}", _state(plan) / times, bound=True)


def _state(plan: Plan) -> float | int:
    """The bytes of parameters and optimizer state."""
    return plan.numbers.held["parameters"] + plan.numbers.held["optimizer"]


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
