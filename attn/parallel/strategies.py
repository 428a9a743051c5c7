"""Strategies of attention over a sequence that a mesh divides, and the rule of choice.

Each device holds T / P queries and S / P keys of a sequence. A strategy says what is sent
so that every query still meets every key that it sees:

- `scan`: the state that the tokens of a device leave behind, which those of later
  devices go on from; of mechanisms that have one.
- `ring`: keys and values, from device to device; outputs over the keys of one device
  merge by their log-sum-exps. Liu et al. 2023 (Ring Attention), section 3.
- `all_to_all`: queries, keys and values, so that a device has whole sequences of some
  heads. Jacobs et al. 2023 (DeepSpeed Ulysses), section 3.1.
- `all_gather`: the keys and values of all devices, to all; queries stay. Grattafiori et
  al. 2024 (Llama 3), section 3.3.2.
"""

from dataclasses import dataclass

from attn.errors import UserError, unknown
from attn.kernels.base import Kernel
from attn.masks import Causal, Mask, PerHead
from attn.parallel.ring import ring_schedule

STRATEGIES = ("scan", "ring", "all_to_all", "all_gather")
"""Every strategy; a kernel names those that compute it (`Kernel.strategies`)."""


@dataclass(frozen=True)
class Division:
    """The static facts of a call whose sequences a mesh divides."""

    kernel: Kernel
    mask: Mask
    """The mask in force, the kernel's own pattern included."""
    T: int
    S: int
    N: int
    K: int
    seq: int
    """The number of parts of the sequence, P."""
    heads: int = 1
    """The number of parts of the heads."""
    has_positions: bool = False
    """Whether tokens have positions that are known only at run time."""

    @property
    def name(self) -> str:
        """The kernel and what it runs, as errors say it."""
        sizes = f"T = {self.T}, S = {self.S}, {self.N} heads, {self.K} key/value heads"
        return f"kernel {self.kernel.name!r} on {sizes} under {self.mask}"


def why_unsupported(strategy: str, call: Division) -> str | None:
    """Returns the reason why a strategy cannot serve a call; None if it can."""
    for name, length in (("T", call.T), ("S", call.S)):
        if length % call.seq:
            return f"seq = {call.seq} does not divide {name} = {length}"
    able = call.kernel.strategies
    if strategy not in able:
        return f"kernel {call.kernel.name!r} is computed by {', '.join(able)}"
    if isinstance(call.mask, PerHead):
        if strategy != "all_gather":
            return "a mask for each head needs all heads beside each other: all_gather"
        if call.heads > 1:
            return f"a mask for each head, and the mesh divides heads by {call.heads}"
    if strategy == "all_to_all":
        return _why_not_heads(call)
    if strategy == "scan" and call.mask == Causal() and call.T != call.S:
        return f"T = {call.T} and S = {call.S} differ, and queries look back"
    return None


def _why_not_heads(call: Division) -> str | None:
    """Says why heads cannot be divided by all devices of a sequence; None if they can."""
    parts = call.heads * call.seq
    if call.N % parts:
        return f"heads x seq = {parts} parts do not divide {call.N} heads"
    if call.K % parts and parts % call.K:
        return (
            f"of {call.K} key/value heads and {parts} parts, one must divide the other"
        )
    return None


def choose_strategy(call: Division, strategy: str = "auto") -> tuple[str, str]:
    """Chooses a strategy, and says why.

    `auto` takes `scan` where there is a state; `ring` where the mask lets it stop early;
    `all_to_all` where devices divide key/value heads, none of which is then copied; then
    `ring`, `all_gather`, and last `all_to_all` with copies.

    Raises:
        UserError: `strategy` is unknown or cannot serve the call, or none can.
    """
    if strategy not in ("auto", *STRATEGIES):
        raise unknown("strategy", strategy, ("auto", *STRATEGIES))
    reasons = {name: why_unsupported(name, call) for name in STRATEGIES}
    able = [name for name in STRATEGIES if reasons[name] is None]
    if strategy in able:
        return strategy, "asked for by name"
    if strategy != "auto":
        would = f"{' or '.join(able)} can serve" if able else "no other can serve"
        raise UserError(
            f"strategy = {strategy!r} for {call.name}: {reasons[strategy]}; {would}"
        )
    if not able:
        own = "; ".join(f"{n}: {reasons[n]}" for n in call.kernel.strategies)
        raise UserError(f"{call.name} over seq = {call.seq} devices: {own}")
    return _preferred(call, able)


def _preferred(call: Division, able: list[str]) -> tuple[str, str]:
    """The strategy that `auto` takes of those that can serve, and why."""
    if "scan" in able:
        return "scan", "a state is all that is sent"
    if "ring" in able:
        steps = ring_schedule(
            call.mask, call.T, call.S, call.seq, call.has_positions
        ).steps
        if steps < call.seq:
            return "ring", f"the mask needs keys of {steps} of {call.seq} devices"
    if "all_to_all" in able and call.K % (call.heads * call.seq) == 0:
        return "all_to_all", "each device takes key/value heads of its own"
    name = next(n for n in ("ring", "all_gather", "all_to_all") if n in able)
    return (
        name,
        f"{call.K} key/value heads are too few for every device, or it is alone",
    )
