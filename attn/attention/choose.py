"""The choice of an implementation for a call, its reasons, and a record of choices."""

from collections.abc import Iterable, Iterator
from contextlib import contextmanager
from contextvars import ContextVar
from dataclasses import dataclass, replace

from attn.attention.backends import BACKENDS, CallShape
from attn.device import vendor
from attn.errors import UserError, unknown
from attn.kernels.base import Kernel
from attn.kernels.blockwise import SCORES_AT_ONCE
from attn.kernels.softmax import Softmax

DENSE_SCORES = {"cpu": SCORES_AT_ONCE, "NVIDIA": 2**26}
"""The number of scores of all heads up to which `auto` holds them at once, by vendor; on
a CPU what the tiles hold in one step. On an H200 2**30 of them, at 6 to 10 bytes each, are
4 to 7 times as fast as tiles (`bench --suite gpu`)."""
DENSE_SCORES_ELSEWHERE = 2**23
"""The same on other accelerators, where one large product is faster than many small
ones."""
CHANNELS, WIDEST, SHOWN = 8, 64, 0.4
"""On a CPU softmax may hold the scores once more for every so many channels of a head,
up to a width, under a mask that shows at least this share: tiles make scores again for
the gradient, which costs the more the wider heads are, and hide nothing there."""

BY_NAME = "taken by name only: no device has timed it"
"""The reason why `auto` passes over a kernel that could serve."""


def choose_implementation(
    kernel: Kernel, shape: CallShape, impl: str = "auto"
) -> tuple[str, dict[str, str]]:
    """Chooses an implementation, and says of each why it is taken or is not.

    `auto` takes a library's kernel where one supports the call; else the definition
    while its scores are few, and the blockwise kernel beyond.

    Raises:
        UserError: `impl` names one that does not exist or does not support the call.
    """
    own = kernel.implementations
    names = (*own, *kernel.backends)
    if impl not in ("auto", *names):
        raise unknown(f"impl of kernel {kernel.name!r}", impl, ("auto", *names))
    shape = replace(shape, mask=kernel.pattern(shape.mask, shape.T, shape.S))
    unsupported = {
        name: BACKENDS[name].why_unsupported(shape) for name in kernel.backends
    }
    if unsupported.get(impl):
        raise UserError(
            f"impl = {impl!r}: {unsupported[impl]}; 'auto' would choose another"
        )
    if impl == "auto":
        passed = {name: BY_NAME for name in unsupported if BACKENDS[name].by_name_only}
        unsupported |= {n: unsupported[n] or why for n, why in passed.items()}
    able = [name for name, reason in unsupported.items() if reason is None]
    if impl != "auto":
        why, why_not = "asked for by name", "not asked for"
    elif able:
        impl = able[0]
        why = why_not = f"{impl} can serve"
    else:
        few, why = _are_few(kernel, shape)
        impl, why_not = own[0] if few else own[-1], why
    reasons = {name: unsupported.get(name) or why_not for name in names}
    return impl, reasons | {impl: why}


def _are_few(kernel: Kernel, shape: CallShape) -> tuple[bool, str]:
    """Whether the scores of all heads fit in memory at once, and why."""
    most = DENSE_SCORES.get(vendor(shape.device), DENSE_SCORES_ELSEWHERE)
    scores = shape.B * shape.N * shape.T * shape.S
    if shape.device == "cpu" and isinstance(kernel, Softmax):
        wide = most * max(1, min(shape.H, WIDEST) // CHANNELS)
        if most < scores <= wide and shape.mask.density(shape.T, shape.S) >= SHOWN:
            most = wide
    few = scores <= most
    return few, f"{scores:,} scores are {'within' if few else 'over'} {most:,}"


@dataclass(frozen=True)
class Choice:
    """The implementation that one call of `attend` got, and why."""

    scope: str
    """The layer that called, as `scope` names it; "" outside of any."""
    kernel: str
    implementation: str
    reason: str


_scope: ContextVar[str] = ContextVar("attend_scope", default="")
_record: ContextVar[list[Choice] | None] = ContextVar("attend_record", default=None)


@contextmanager
def recording() -> Iterator[list[Choice]]:
    """Yields a list to which every call inside appends its `Choice`.

    A call appends where it runs or is traced, so one whose trace jax holds already
    appends nothing. An inner record keeps its calls from an outer one.
    """
    found: list[Choice] = []
    token = _record.set(found)
    try:
        yield found
    finally:
        _record.reset(token)


def by_layer(choices: Iterable[Choice]) -> dict[str, Choice]:
    """The last choice of each layer.

    Calls of no layer are left out, if there are others: a backward pass is traced after
    its layer, and may call again.
    """
    chosen = {choice.scope: choice for choice in choices}
    return {name: one for name, one in chosen.items() if name} or chosen


@contextmanager
def scope(name: str) -> Iterator[None]:
    """Names the layer whose calls are recorded inside; inner names follow a "/"."""
    outer = _scope.get()
    token = _scope.set(f"{outer}/{name}" if outer else name)
    try:
        yield
    finally:
        _scope.reset(token)


def note(kernel: Kernel, implementation: str, reason: str) -> None:
    """Appends a choice to the record, if there is one."""
    found = _record.get()
    if found is not None:
        found.append(Choice(_scope.get(), kernel.name, implementation, reason))
