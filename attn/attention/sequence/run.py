"""One call of `attend` on arrays whose sequences a mesh divides, or does not."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

from attn.attention import apply
from attn.attention.call import Call
from attn.attention.choose import note, recording
from attn.attention.sequence.gathered import all_gather, all_to_all
from attn.attention.sequence.ring import ring
from attn.attention.sequence.scan import scan
from attn.attention.sequence.shards import in_force, sequence_axis, without_lengths
from attn.errors import UserError
from attn.parallel.heads import spread, ways
from attn.parallel.shard import explicit_spec
from attn.parallel.strategies import Division, choose_strategy

RUN: dict[str, Callable[[Call, Any, str, bool], Any]] = {
    "scan": scan,
    "ring": ring,
    "all_to_all": all_to_all,
    "all_gather": all_gather,
}
"""What runs each strategy: on a call, the sequence's mesh axis, `impl` and `lse`."""


def run(call: Call, impl: str, lse: bool = False, strategy: str = "auto") -> Any:
    """Computes the output [B, T, N, Hv], and with `lse` the log-sum-exp [B, T, N].

    Raises:
        UserError: no strategy can serve the call, or the one that is named cannot, or
            it is named and the mesh does not divide the sequence.
    """
    axis = sequence_axis(call)
    if axis is None:
        if strategy != "auto":
            raise UserError(
                f"strategy = {strategy!r}, and no mesh divides the sequence of q; leave "
                "it out, or lay q and k along seq"
            )
        return apply.run(call, impl, lse)
    chosen, why = choose_strategy(division(call, axis), strategy)
    k, v = (
        (call.k, call.v) if chosen == "all_to_all" else spread(call.q, call.k, call.v)
    )
    call = without_lengths(replace(call, k=k, v=v))
    with recording() as found:
        out = RUN[chosen](call, axis, impl, lse)
    for choice in dict.fromkeys(found):
        own = f"{chosen} of {choice.implementation}"
        note(call.kernel, own, f"{why}; {choice.reason}")
    return out


def division(call: Call, axis: Any) -> Division:
    """The static facts of a call by which a strategy is chosen."""
    (_, T, N, _), (S, K) = call.q.shape, call.k.shape[1:3]
    spec = explicit_spec(call.q)
    heads = 1 if spec is None else ways(call.q, spec[2])
    mask = in_force(call)
    parts = ways(call.q, axis)
    return Division(call.kernel, mask, T, S, N, K, parts, heads, call.has_positions)
