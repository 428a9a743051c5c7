"""The base of mechanisms that are softmax attention under a mask of their own."""

from dataclasses import dataclass

from attn.kernels.base import bad_knob
from attn.kernels.softmax import Softmax
from attn.masks import Causal, Mask


@dataclass(frozen=True)
class SparseSoftmax(Softmax):
    """Softmax over the keys that both the caller's mask and `shown` show.

    A subclass is its knobs and its mask; the rest is `Softmax`, so tiles that the mask
    hides cost nothing in `blockwise` and in the libraries' kernels that take the mask.
    Where the caller's mask hides every later key, the whole window is before the query.
    """

    family = "sparse"

    def shown(self, T: int, S: int, ahead: bool) -> Mask:
        """The mechanism's own mask on T × S.

        Args:
            ahead: whether some query may see a later key.
        """
        raise NotImplementedError

    def pattern(self, mask: Mask, T: int, S: int) -> Mask:
        return mask & self.shown(T, S, looks_ahead(mask, T, S))

    def check_length(self, T: int) -> None:
        for field in self.least:
            if getattr(self, field) > T:
                raise bad_knob(self, field, f"the sequence has {T} tokens")

    def on_cache(self, mask, L):
        """Softmax under the mask of all L tokens, which one query would not make."""
        bare = Softmax(softcap=self.softcap, sinks=self.sinks)
        return bare, self.pattern(mask, L, L)


def looks_ahead(mask: Mask, T: int, S: int) -> bool:
    """Whether any query on T × S sees a later key."""
    return (mask & ~Causal()).count(T, S) > 0


def sides(width: int, ahead: bool) -> tuple[int, int]:
    """The keys before and after a query in a window of `width`, its own included."""
    return (width // 2, width // 2) if ahead else (width - 1, 0)
