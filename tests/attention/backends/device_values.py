"""Prints, as JSON, how far each fused kernel of this machine's device is from the oracle.

Run by `test_on_device.py` in a process of its own, since the tests see the CPU alone.
"""

import json
import sys
from concurrent.futures import ThreadPoolExecutor
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
    """Every kernel of this device with every mask and option that it serves, by name."""
    for H, dtype in product((64, 128), (jnp.bfloat16, jnp.float32)):
        name = jnp.dtype(dtype).name
        qkv = oracle.arrays(T=512, S=512, N=8, K=4, H=H, Hv=H, dtype=dtype)
        for (mask_name, mask), (asked, given) in product(MASKS.items(), GIVEN.items()):
            wanted = frozenset({asked} - {""})
            ask = CallShape(2, 512, 512, 8, 4, H, H, name, mask, wanted, device_kind())
            for backend, kernel in BACKENDS.items():
                if kernel.why_unsupported(ask) is None:
                    key = f"{backend}, {name}, H = {H}, {mask_name} {asked}".strip()
                    yield key, (kernel, qkv, mask, given)


def main():
    # Compiling takes most of the time, and a thread each of it.
    with ThreadPoolExecutor() as pool:
        found = {key: pool.submit(distance, *case) for key, case in cases()}
    distances = {key: future.result() for key, future in found.items()}
    print(json.dumps({"device": device_kind(), "distances": distances}))


if __name__ == "__main__":
    main()
