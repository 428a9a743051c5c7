"""The base of rivals: a library's attention, made ready for a case."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from importlib.util import find_spec
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from attn.bench.cases import Case
from attn.bench.check import Inputs
from attn.bench.device import free_memory, queues
from attn.bench.measure import Queued
from attn.kernels import Softmax


class Unsupported(Exception):
    """Raised where a rival cannot run a case; the message says why."""


@dataclass(frozen=True)
class Built:
    """A rival made ready for a case, and the results of its first call."""

    call: Callable[[], Sequence[Any]]
    """Runs once and returns when the outputs are there; on an accelerator, `Queued`."""
    outputs: list[np.ndarray]
    """The output, and dq, dk, dv of a backward case, [B, T or S, N or K, H]."""
    compile_seconds: float
    """Time to compile; of torch and of whole models that of the first call, too."""
    temp_bytes: int | None = None
    """Scratch memory, where the library reports it."""
    note: str = ""


@dataclass(frozen=True)
class Runner:
    """A whole model by one library, and how it is made ready."""

    name: str
    build: Callable[[], Built]
    needs: tuple[str, ...] = ()
    """The packages that it needs."""


class Rival:
    """A library's attention; subclasses declare its limits and build the call."""

    name: str
    package: ClassVar[str] = "jax"
    promises: ClassVar[bool] = True
    """Whether its outputs must match the definition, and not only be finite."""

    def computes(self, mechanism: str) -> bool:
        """Whether it is made for a mechanism, by its name in `KERNELS`."""
        return mechanism == Softmax.name

    def why_unsupported(self, case: Case) -> str | None:
        """Returns the reason why it cannot run `case`, if known before building."""
        if find_spec(self.package) is None:
            return f"not installed: pip install {self.package}"
        return None

    def note(self, case: Case) -> str:
        """A remark for the tables on how it runs `case`."""
        return ""

    def function(self, case: Case) -> Callable[..., Any]:
        """The attention function of q, k, v in the library's own arrays and layout."""
        raise NotImplementedError

    def build(self, case: Case, inputs: Inputs) -> Built:
        """Compiles, and puts the inputs on the device; raises `Unsupported`."""
        raise NotImplementedError


class JaxRival(Rival):
    """A rival that is a function of JAX arrays, compiled ahead of time."""

    heads_first: ClassVar[bool] = False
    """Whether its layout is [B, N, T, H], not [B, T, N, H]."""

    def wants_mask(self, case: Case) -> bool:
        """Whether the mask must be passed as an array [1, 1, T, S]."""
        return False

    def extras(self, case: Case) -> list[Any]:
        """The arguments of `function` after q, k, v: the mask if it `wants_mask`."""
        if not self.wants_mask(case):
            return []
        return [jnp.asarray(case.mask.dense(case.T, case.S)[None, None])]

    def trains_extras(self, case: Case) -> bool:
        """Whether gradients of the extras are computed too."""
        return False

    def note(self, case: Case) -> str:
        return "dense mask" if self.wants_mask(case) else ""

    def _swap(self, x):
        return x.swapaxes(1, 2) if self.heads_first else x

    def build(self, case: Case, inputs: Inputs) -> Built:
        dtype = jnp.dtype(case.dtype)
        arrays = [jnp.array(self._swap(x), dtype) for x in inputs.arrays]
        args = (arrays if case.backward else arrays[:3], self.extras(case))
        start = time.perf_counter()
        run = program(self.function(case), case, self.trains_extras(case))
        compiled = jax.jit(run).lower(*args).compile()
        took = time.perf_counter() - start
        memory = compiled.memory_analysis()
        temp = memory.temp_size_in_bytes if memory else None
        require_memory(temp or 0)

        def call():
            return jax.block_until_ready(compiled(*args))

        if queues():
            call = Queued(lambda: compiled(*args), jax.block_until_ready)
        outputs = call()[: len(args[0]) if case.backward else 1]
        found = [self._swap(np.asarray(x.astype(jnp.float32))) for x in outputs]
        return Built(call, found, took, temp, self.note(case))


def program(
    function: Callable[..., jax.Array], case: Case, trains_extras: bool = False
) -> Callable[..., Any]:
    """A function of ([q, k, v], extras) or ([q, k, v, g], extras): out, gradients.

    Args:
        trains_extras: whether the gradients of the extras come too, after q, k and v's.
    """

    def forward(arrays, extras):
        return [function(*arrays, *extras)]

    def backward(arrays, extras):
        *qkv, g = arrays
        trained, fixed = (extras, []) if trains_extras else ([], extras)
        out, pull = jax.vjp(lambda *x: function(*x, *fixed), *qkv, *trained)
        return [out, *pull(g)]

    return backward if case.backward else forward


def require_memory(needed: float | int, free: float | None = None) -> None:
    """Raises `Unsupported` where a call would need most of the free memory, jax's or `free`."""
    free = free_memory() if free is None else free
    if needed > 0.8 * free:
        raise Unsupported(
            f"needs {needed / 2**30:.1f} GiB of scratch; {free / 2**30:.1f} GiB are free"
        )
