"""What each strategy of a divided sequence sends, in numbers: meant, and in a program."""

import re
from collections import Counter

import jax
import naive
import numpy as np

from attn.parallel.ring import ring_schedule
from attn.parallel.support import LENGTH, PARTS, SENT
from attn.plan.collectives import collectives

IN_PLACE = re.compile(r"source_target_pairs=\{(?:\{(\d+),\1\},?)+\}")
"""A permute of each part to itself: XLA runs it, and no device sends."""


def sent(compiled, mesh):
    """How many collectives of each kind a program runs; a loop's count each turn."""
    assert not IN_PLACE.search(compiled.as_text())
    rows = collectives(compiled.as_text(), mesh.shape, mesh.size)
    assert not any(one.endless for one in rows)
    return sum((Counter({one.kind: int(one.count)}) for one in rows), Counter())


def _states(spec, mask, H):
    """Arrays of a transfer come from all devices; gradients go back, where there are any."""
    random = np.random.default_rng(8)
    given = tuple(np.float32(random.normal(size=(LENGTH, H))) for _ in "qkv")
    given += (naive.own_weights(spec, H, LENGTH) if spec.owns != "nothing" else None,)

    def transfer(q, k, v, weights):
        return spec.transfer(q, k, v, weights=weights)

    moved = jax.jit(lambda given: jax.jvp(transfer, given, given)[1])(given)
    moved = [bool(np.any(x)) for x in jax.tree.leaves(moved)]
    return {"all-gather": len(moved), "reduce-scatter": sum(moved)}


def _ring(spec, mask, H):
    """Keys and values go on at each step, and in the backward pass their gradients, too."""
    schedule = ring_schedule(spec.pattern(mask, LENGTH, LENGTH), LENGTH, LENGTH, PARTS)
    assert schedule.start == 0  # so that all are home again after two steps
    count = 6 * schedule.steps if schedule.steps > 1 else 0
    # Of q, k, v, the output, with sinks its LSE, and their gradients each device keeps a
    # half, and sends one.
    return {"collective-permute": count + schedule.zigzag * 2 * (4 + spec.sinks)}


def _whole(spec, mask, H):
    """The arrays that are read and the output change hands, and so do their gradients."""
    return {"all-to-all": 2 * (len(spec.reads) + 1)}


def _gathered(spec, mask, H):
    """Keys and values come from all devices, and their gradients go back."""
    return {"all-gather": 2, "reduce-scatter": 2}


MEANT = {
    "scan": _states,
    "ring": _ring,
    "all_to_all": _whole,
    "all_gather": _gathered,
}
"""The collectives of each strategy, forward and backward."""


def assert_meant(found, strategy, spec, mask, H):
    """Holds what a program sends to its strategy, beside gradients of weights and a sum."""
    own = Counter(MEANT[strategy](spec, mask, H))
    assert set(own) == set(SENT[strategy])
    arrays = len(naive.own_weights(spec, H, LENGTH)) if spec.owns != "nothing" else 0
    rest = Counter(found)
    rest.subtract(own)
    gathered, sums = rest.pop("all-gather", 0), rest.pop("all-reduce")
    assert not any(rest.values()), (found, own)
    # Weights lie along all axes under `all_to_all`, and their gradients are gathered; those
    # that only choose have none. XLA may merge sums, of which one is the test's own.
    assert 0 <= gathered <= (arrays if strategy == "all_to_all" else 0), (found, own)
    assert 1 <= sums <= 1 + arrays, (found, own)
