"""Every mechanism by its definition: NumPy, float64, one query at a time, slow.

A new mechanism adds a module here that holds its `ORACLES`; nothing else lists it.
"""

import importlib
import pkgutil
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np

from attn.errors import UserError
from attn.kernels import KERNELS
from naive.oracle import Oracle
from naive.scores import softmax, softmax_row

__all__ = ["ORACLES", "PATHS", "PATTERNS", "SPECS", "Oracle", "softmax", "softmax_row"]


def _find() -> dict[str, Oracle]:
    modules = (
        importlib.import_module(f"{__name__}.{found.name}")
        for found in pkgutil.iter_modules(__path__)
    )
    oracles = [one for module in modules for one in getattr(module, "ORACLES", ())]
    by_name = {one.spec.name: one for one in oracles}
    assert len(by_name) == len(oracles)
    # In the order of the registry; those that it lacks are found by a test.
    order = list(KERNELS)
    return dict(sorted(by_name.items(), key=lambda item: order.index(item[0])))


ORACLES = _find()
"""What the tests know of every mechanism."""
SPECS = {name: oracle.spec for name, oracle in ORACLES.items()}
"""One spec of every mechanism that means something on a sequence of nine tokens."""
PATTERNS = [name for name, oracle in ORACLES.items() if oracle.shows]
"""Those that are softmax under a mask of their own."""
PATHS = [name for name in ORACLES if name not in PATTERNS or name == "window"]
"""One of each way through the library: a mask more is no other way, where it is not the
mask that is tested."""


def visible(spec, T, S, causal, real=None):
    """What each query sees, bool [T, S]; `real` tells keys from padding."""
    shows = ORACLES[spec.name].shows or (lambda spec, t, s, T, causal: True)
    seen = [
        [(s <= t or not causal) and shows(spec, t, s, T, causal) for s in range(S)]
        for t in range(T)
    ]
    return np.array(seen) & (True if real is None else np.asarray(real)[None, :])


def define(spec, q, k, v, seen, weights):
    """The output [T, Hv] of one head, by definition."""
    return ORACLES[spec.name].definition(spec, q, k, v, seen, weights)


def value_width(spec, H, wanted):
    """The width of values to ask for: `wanted`, or H of what takes no other."""
    try:
        spec.check_head(H, wanted)
    except UserError:
        return H
    return wanted


@cache
def own_weights(spec, H, S, N=None):
    """Weights shaped as the spec's `init` makes them, [N, ...] or one head's; normal."""
    random, lead = np.random.default_rng(7), () if N is None else (N,)
    shapes = jax.eval_shape(
        lambda: spec.init(jax.random.key(0), head_dim=H, kv_len=S),
    )
    return {
        name: jnp.asarray(random.normal(size=(*lead, *leaf.shape)), leaf.dtype)
        for name, leaf in shapes.items()
    }


def gradient(function, arrays, cotangent, step=1e-6):
    """d sum(function(arrays) * cotangent) for each array, by central differences."""
    arrays = {name: np.array(x, np.float64) for name, x in arrays.items()}
    found = {name: np.zeros_like(x) for name, x in arrays.items()}
    for name, x in arrays.items():
        for at in np.ndindex(x.shape):
            kept, change = x[at], 0.0
            for sign in (1, -1):
                x[at] = kept + sign * step
                change += sign * (function(**arrays) * cotangent).sum()
            x[at] = kept
            found[name][at] = change / (2 * step)
    return found
