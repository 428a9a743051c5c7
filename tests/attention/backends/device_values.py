"""Prints, as JSON, how far each fused kernel of this machine's device is from the oracle.

Run by `test_on_device.py` in a process of its own, since the tests see the CPU alone.
"""

import json
import sys
from functools import partial
from itertools import product
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

sys.path.insert(0, str(Path(__file__).parent))
import oracle

from attn.attention.backends import BACKENDS, CallShape, device_kind
from attn.masks import FULL, BigBird, Causal, Chunk, Global, Window

MASKS = {
    "full": FULL,
    "causal": Causal(),
    "left window": Causal() & Window(100, 0),
    "chunks": Causal() & Chunk(96),
    "window": Window(70, 9),
    "two intervals": Causal() & (Window(100, 0) | Global(4)),
    "first queries see nothing": Causal(offset=-130),
    "random blocks": BigBird(512, block=32),
}
BESIDE = "causal", "two intervals"
"""Masks with which every option is tried."""
SIZES = (64, "bfloat16"), (128, "bfloat16"), (64, "float32")
ROW_IDS = oracle.packed(2, 512, 0), oracle.packed(2, 512, 40, 2)
GIVEN = {
    "": {},
    "lengths": {"q_lengths": jnp.array([512, 70]), "kv_lengths": jnp.array([0, 130])},
    "packing": dict(zip(("q_ids", "kv_ids"), ROW_IDS)),
    "bias": {
        "bias": jnp.asarray(
            np.random.default_rng(3).normal(size=(1, 8, 512, 512)), "bfloat16"
        )
    },
    "softcap": {"softcap": 2.0},
    "sinks": {"sinks": jnp.linspace(-1.0, 1.0, 8)},
}


def distance(kernel, qkv, mask, given):
    """Largest difference of outputs and gradients, over the largest expected value."""
    run = partial(kernel, mask=mask, **oracle.options(**given))
    actual = oracle.with_gradients(run, qkv)
    with jax.default_matmul_precision("highest"):
        define = partial(oracle.attention, mask=mask, **given)
        expected = oracle.with_gradients(define, qkv)
    pairs = zip(jax.tree.leaves(actual), jax.tree.leaves(expected), strict=True)
    pairs = [(np.asarray(a, np.float32), np.asarray(e, np.float32)) for a, e in pairs]
    # max() of Python passes over NaN.
    return float(np.max([abs(a - e).max() / max(1, abs(e).max()) for a, e in pairs]))


def cases():
    """Every kernel of this device with what it serves of each mask and option, by name.

    Options stand beside two masks alone: compiling takes seconds a case.
    """
    masks = [(name, mask, "") for name, mask in MASKS.items()]
    masks += [(name, MASKS[name], asked) for name in BESIDE for asked in GIVEN if asked]
    for (H, dtype), (mask_name, mask, asked) in product(SIZES, masks):
        qkv = oracle.arrays(T=512, S=512, N=8, K=4, H=H, Hv=H, dtype=dtype)
        wanted = frozenset({asked} - {""})
        ask = CallShape(2, 512, 512, 8, 4, H, H, dtype, mask, wanted, device_kind())
        for backend, kernel in BACKENDS.items():
            if kernel.why_unsupported(ask) is None:
                key = f"{backend}, {dtype}, H = {H}, {mask_name} {asked}".strip()
                yield key, (kernel, qkv, mask, GIVEN[asked])


def main():
    found = {key: distance(*case) for key, case in cases()}
    print(json.dumps({"device": device_kind(), "distances": found}))


if __name__ == "__main__":
    main()
