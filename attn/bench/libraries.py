"""The rivals: other attention libraries for JAX, and all rivals by name."""

from collections.abc import Callable
from functools import partial
from importlib.util import find_spec

import jax

from attn.attention.backends.cudnn import flags
from attn.bench.cases import Case
from attn.bench.fla_rival import Fla
from attn.bench.ours import OURS, Ours, implementations
from attn.bench.rival import JaxRival, Rival
from attn.bench.torch_rivals import FlexAttention, TorchSDPA
from attn.masks import FULL, Causal


class JaxNN(JaxRival):
    """`jax.nn.dot_product_attention`, with flags for causal bands."""

    name = "jax.nn"

    def wants_mask(self, case: Case) -> bool:
        band = case.mask.band(case.T, case.S)
        return band is None or band[1] not in (None, 0)

    def attention(self) -> Callable[..., jax.Array]:
        """The attention function of the library."""
        return jax.nn.dot_product_attention

    def function(self, case: Case) -> Callable[..., jax.Array]:
        attention = self.attention()
        named = {} if self.wants_mask(case) else flags(case.mask, case.T, case.S)

        def call(q, k, v, mask=None):
            return attention(q, k, v, mask=mask, **named)

        return call


class Tokamax(JaxNN):
    """tokamax's chunked attention: linear memory, and runs on every backend."""

    name, package = "tokamax", "tokamax"

    def why_unsupported(self, case: Case) -> str | None:
        if find_spec(self.package) is None:
            # Its requirements conflict with those of our command line.
            return "not installed: CONTRIBUTING.md says how, under Other machines"
        if case.T > case.S:
            return "takes as many keys as queries, or more"
        return None

    def attention(self) -> Callable[..., jax.Array]:
        from attn.attention.backends.tokamax import library

        return partial(library().dot_product_attention, implementation="xla_chunked")


class Flax(JaxRival):
    """flax's `nnx.dot_product_attention`, with a flag for causal masks only."""

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
    """attnax's `flash_attention`: off GPUs it is blockwise under a dense mask."""

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

        return lambda q, k, v, mask=None: flash_attention(q, k, v, mask=mask)


def all_rivals() -> dict[str, Rival]:
    """All rivals by name, our own first."""
    ours = [Ours(OURS, "auto")]
    ours += [Ours(f"{OURS} {impl}", impl) for impl in implementations()]
    others = [JaxNN(), Flax(), TorchSDPA(), FlexAttention(), Attnax(), Tokamax(), Fla()]
    return {rival.name: rival for rival in (*ours, *others)}
