"""Inputs of a mechanism whose promises are tested, small enough to compile quickly."""

import jax
import naive
import numpy as np

from attn.masks import Causal

T, H, HV = 9, 4, 4


def inputs(spec, T=T, S=T, N=2):
    """q, k, v [1, ., N, .] in NumPy and stacked weights, or None."""
    random = np.random.default_rng(8)
    shapes = ((1, T, N, H), (1, S, N, H), (1, S, N, HV))
    arrays = [random.normal(size=s).astype(np.float32) for s in shapes]
    return arrays, stacked(spec, S, N)


def compiled(function, *arrays):
    """What one program makes of the arrays, in NumPy."""
    return jax.device_get(jax.jit(function)(*arrays))


def stacked(spec, S, N=2):
    return naive.own_weights(spec, H, S, N) or None


def base_mask(spec):
    """A mask that the kernel takes."""
    return {} if "bidirectional" in spec.can else {"mask": Causal()}
