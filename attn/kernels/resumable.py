"""The base of mechanisms with a state that tokens on another device can go on from."""

from dataclasses import dataclass
from typing import Any, ClassVar

from jaxtyping import Array

from attn.kernels.base import Kernel, Weights
from attn.kernels.tokens import NO_INFO, TokenInfo
from attn.masks import Mask


@dataclass(frozen=True)
class Resumable(Kernel):
    """A mechanism whose tokens act on a state, each sequence beginning with `begin`'s.

    A part of a sequence is summed up in a transfer, whose size does not depend on its
    length; the parts after it need no more of it.
    """

    strategies = ("scan", "all_to_all")
    resumes: ClassVar[str] = "chunked"
    """The implementation that `resume` is."""

    def transfer(
        self,
        q: Array,
        k: Array,
        v: Array,
        *,
        weights: Weights | None = None,
        kv_info: TokenInfo = NO_INFO,
    ) -> Any:
        """Summarises tokens by what they do to the state before them."""
        raise NotImplementedError

    def after(self, state: Any, transfer: Any) -> Any:
        """The state after the tokens of a transfer, of the state before them."""
        raise NotImplementedError

    def resume(
        self,
        state: Any,
        q: Array,
        k: Array,
        v: Array,
        *,
        mask: Mask,
        weights: Weights | None = None,
        kv_info: TokenInfo = NO_INFO,
    ) -> Array:
        """Attends from tokens that go on from a state; without a mask it holds theirs."""
        raise NotImplementedError
