"""Who runs: our kernel, and what a user of JAX would pick instead."""

import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from functools import lru_cache
from importlib.util import find_spec
from typing import Any, ClassVar

import jax
import jax.numpy as jnp
import numpy as np

from attn.attention import attend, explain
from attn.bench.cases import Case
from attn.bench.check import Inputs
from attn.bench.measure import free_memory
from attn.kernels import Softmax
from attn.masks import FULL, Causal, Mask, Window


class Refused(Exception):
    """A rival cannot run a case; the message says why."""


@dataclass(frozen=True)
class Built:
    """A rival made ready for a case, and what its first call gave."""

    call: Callable[[], Sequence[Any]]
    """Runs once and returns when the outputs are there."""
    outputs: list[np.ndarray]
    """The output, and dq, dk, dv of a backward case, [B, T or S, N or K, H]."""
    compile_seconds: float
    """Of compiling; for torch, which compiles when it is called, of the first call."""
    temp_bytes: int | None = None
    """Scratch memory, where the library tells it."""
    note: str = ""


class Rival:
    """A library's attention. Subclasses say what they refuse, and build the rest."""

    name: str
    package: ClassVar[str] = "jax"
    promises: ClassVar[bool] = True
    """Whether it gives the definition of a case, and not only something finite."""

    def why_unsupported(self, case: Case) -> str | None:
        """Why it cannot run `case`, as far as known before building; None if it can."""
        if find_spec(self.package) is None:
            return f"not installed: pip install {self.package}"
        return None

    def build(self, case: Case, inputs: Inputs) -> Built:
        """Compiles, and puts the inputs where they are wanted; raises `Refused`."""
        raise NotImplementedError


class JaxRival(Rival):
    """A function of JAX arrays, compiled ahead of time."""

    heads_first: ClassVar[bool] = False
    """Whether it takes [B, N, T, H] in place of [B, T, N, H]."""

    def function(self, case: Case) -> Callable[..., jax.Array]:
        """Of q, k, v, and of what `extras` gives."""
        raise NotImplementedError

    def extras(self, case: Case) -> list[Any]:
        """What it takes beside q, k and v: the dense mask if it `wants_mask`."""
        if not self.wants_mask(case):
            return []
        return [jnp.asarray(case.mask.dense(case.T, case.S)[None, None])]

    def moves(self, case: Case) -> bool:
        """Whether the gradients of its extras are asked for too."""
        return False

    def wants_mask(self, case: Case) -> bool:
        """Whether the mask has to be handed over as an array [1, 1, T, S]."""
        return False

    def note(self, case: Case) -> str:
        """What a reader should know about how it runs `case`."""
        return "dense mask" if self.wants_mask(case) else ""

    def _turn(self, x):
        return x.swapaxes(1, 2) if self.heads_first else x

    def build(self, case: Case, inputs: Inputs) -> Built:
        dtype = jnp.dtype(case.dtype)
        arrays = [jnp.array(self._turn(x), dtype) for x in inputs.arrays]
        args = (arrays if case.backward else arrays[:3], self.extras(case))
        start = time.perf_counter()
        run = program(self.function(case), case, self.moves(case))
        compiled = jax.jit(run).lower(*args).compile()
        took = time.perf_counter() - start
        memory = compiled.memory_analysis()
        temp = memory.temp_size_in_bytes if memory else None
        refuse_memory(temp or 0)

        def call():
            return jax.block_until_ready(compiled(*args))

        outputs = call()[: len(args[0]) if case.backward else 1]
        found = [self._turn(np.asarray(x.astype(jnp.float32))) for x in outputs]
        return Built(call, found, took, temp, self.note(case))


def program(
    function: Callable[..., jax.Array], case: Case, moves: bool = False
) -> Callable[..., Any]:
    """Of ([q, k, v], extras), or of ([q, k, v, g], extras): outputs, and gradients.

    Args:
        moves: whether the gradients of the extras come too, after those of q, k and v.
    """

    def forward(arrays, extras):
        return [function(*arrays, *extras)]

    def backward(arrays, extras):
        *qkv, g = arrays
        moved, fixed = (extras, []) if moves else ([], extras)
        out, pull = jax.vjp(lambda *x: function(*x, *fixed), *qkv, *moved)
        return [out, *pull(g)]

    return backward if case.backward else forward


def refuse_memory(needed: float | int) -> None:
    """Raises `Refused` where a call would need most of what is free."""
    free = free_memory()
    if needed > 0.8 * free:
        raise Refused(
            f"needs {needed / 2**30:.1f} GiB of scratch; {free / 2**30:.1f} GiB are free"
        )


@lru_cache
def chosen_by_auto(case: Case) -> str:
    """The implementation that `attn.attend` picks by itself."""
    q, k = (
        jax.ShapeDtypeStruct((case.B, tokens, heads, case.H), case.dtype)
        for tokens, heads in ((case.T, case.N), (case.S, case.K))
    )
    return explain(Softmax(), q, k, k, mask=case.mask).implementation


class Ours(JaxRival):
    """`attn.attend` with the softmax kernel."""

    def __init__(self, name: str, impl: str):
        self.name, self.impl = name, impl

    def why_unsupported(self, case: Case) -> str | None:
        chosen = chosen_by_auto(case)
        return f"attn chose {chosen}: the same program" if self.impl == chosen else None

    def note(self, case: Case) -> str:
        return chosen_by_auto(case) if self.impl == "auto" else ""

    def function(self, case: Case) -> Callable[..., jax.Array]:
        def call(q, k, v):
            return attend(Softmax(), q, k, v, mask=case.mask, impl=self.impl)

        return call


def flags(mask: Mask) -> dict[str, Any] | None:
    """What names `mask` to `jax.nn.dot_product_attention`; None if nothing does."""
    if mask == FULL:
        return {}
    if mask == Causal():
        return {"is_causal": True}
    if isinstance(mask, Window):
        return {"local_window_size": (mask.left, mask.right)}
    return None


class JaxNN(JaxRival):
    name = "jax.nn"

    def wants_mask(self, case: Case) -> bool:
        return flags(case.mask) is None

    def function(self, case: Case) -> Callable[..., jax.Array]:
        named = flags(case.mask) or {}

        def call(q, k, v, mask=None):
            return jax.nn.dot_product_attention(q, k, v, mask=mask, **named)

        return call


class Flax(JaxRival):
    name, package = "flax", "flax"

    def wants_mask(self, case: Case) -> bool:
        return case.mask not in (FULL, Causal())

    def function(self, case: Case) -> Callable[..., jax.Array]:
        from flax import nnx

        causal = case.mask == Causal()

        def call(q, k, v, mask=None):
            return nnx.dot_product_attention(q, k, v, mask=mask, is_causal=causal)

        return call


class Attnax(JaxRival):
    """Its `flash_attention`, which off GPUs is blockwise under a dense mask."""

    name, package = "attnax", "attnax"
    heads_first = True
    block = 512

    def wants_mask(self, case: Case) -> bool:
        return case.mask != FULL

    def why_unsupported(self, case: Case) -> str | None:
        tiles = -(-case.T // self.block) * -(-case.S // self.block)
        if case.K != case.N:
            return "takes as many key/value heads as heads"
        if tiles > 256:
            return f"writes out its {tiles} tiles one by one: too many to compile"
        return super().why_unsupported(case)

    def function(self, case: Case) -> Callable[..., jax.Array]:
        from attnax import (  # pyright: ignore[reportMissingImports]
            flash_attention,
        )

        def call(q, k, v, mask=None):
            return flash_attention(q, k, v, mask=mask)

        return call


class Tokamax(JaxNN):
    """Its chunked implementation, the one in linear memory that runs everywhere."""

    name, package = "tokamax", "tokamax"

    def why_unsupported(self, case: Case) -> str | None:
        if find_spec(self.package) is None:
            # Its own requirements undo those of our command line.
            return "not installed: CONTRIBUTING.md says how, under Other machines"
        if case.T > case.S:
            return "takes as many keys as queries, or more"
        return None

    def function(self, case: Case) -> Callable[..., jax.Array]:
        from attn.attention.backends.tokamax import library

        tokamax, named = library(), flags(case.mask) or {}

        def call(q, k, v, mask=None):
            return tokamax.dot_product_attention(
                q, k, v, mask=mask, implementation="xla_chunked", **named
            )

        return call


OURS = "attn"
"""The rival that every ratio is to: what a user of this package gets."""


def all_rivals() -> dict[str, Rival]:
    """Every rival by its name, ours first."""
    from attn.bench.torch_rivals import FlexAttention, TorchSDPA

    ours = [
        Ours(OURS, "auto"),
        Ours("attn dense", "dense"),
        Ours("attn blockwise", "blockwise"),
    ]
    others = [JaxNN(), Flax(), TorchSDPA(), FlexAttention(), Attnax(), Tokamax()]
    return {rival.name: rival for rival in (*ours, *others)}
