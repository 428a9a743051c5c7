"""A call on a mesh that divides its sequence, held to the same call on one device."""

from functools import cache

import jax
import jax.numpy as jnp
import naive
import numpy as np
from jax.sharding import PartitionSpec as P
from meshes import make
from sent import sent

from attn.attention import attend, attend_with_lse
from attn.parallel.support import HEADS, LENGTH
from attn.positions import Alibi, alibi_slopes

B, T, N, H = 2, LENGTH, HEADS, 4


@cache
def options(*names):
    """Optional arguments of a call, by name."""
    random = np.random.default_rng(3)
    segments = jnp.asarray(np.sort(random.integers(0, 3, (B, T))), jnp.int32)
    every = {
        "padding": {"kv_mask": jnp.asarray(random.random((B, T)) < 0.7)},
        "lengths": {"q_lengths": jnp.array([T, 11]), "kv_lengths": jnp.array([T, 11])},
        "segments": {"q_segment_ids": segments, "kv_segment_ids": segments},
        "alibi": {"bias": Alibi(alibi_slopes(N))},
        "bias": {"bias": jnp.asarray(random.normal(size=(1, N, T, T)), "float32")},
        "positions": {
            "q_positions": jnp.flip(jnp.arange(T))[None].repeat(B, 0),
            "kv_positions": jnp.flip(jnp.arange(T))[None].repeat(B, 0),
        },
    }
    return {k: x for name in names for k, x in every[name].items()}


def arrays_of(spec, K):
    """The arrays that move, and the kernel's own where it has any."""
    random = np.random.default_rng(6)
    shapes = {"q": (B, T, N, H), "k": (B, T, K, H)}
    shapes["v"] = (B, T, K, naive.value_width(spec, H, 3))
    arrays = {
        n: jnp.asarray(random.normal(size=s), "float32") for n, s in shapes.items()
    }
    if spec.owns != "nothing":
        arrays["weights"] = naive.own_weights(spec, H, T, N)
    return arrays


def values(spec, mask, strategy, asked):
    """Makes the function of arrays to outputs and gradients."""
    scale = 0.3 if "scale" in asked else None
    # So few scores are `dense` otherwise, and those of one device are.
    impl = "blockwise" if "tiles" in asked and strategy != "auto" else "auto"
    options = {"mask": mask, "strategy": strategy, "scale": scale, "impl": impl}

    def loss(moving, still):
        call = attend_with_lse if "lse" in asked else attend
        found = call(spec, **moving, **still, **options)
        out, *lse = found if "lse" in asked else (found,)
        seen = [jnp.where(jnp.isfinite(x), x, 0).sum() for x in lse]
        return jnp.sin(out).sum() + sum(seen), found

    return jax.jit(jax.value_and_grad(loss, has_aux=True, allow_int=True))


def laid(name, x, heads):
    """An array of a call on the mesh; the sequence lies along seq."""
    if (name == "bias" and not isinstance(x, jax.Array)) or name == "weights":
        return jax.tree.map(lambda leaf: jax.device_put(leaf, P("heads")), x)
    spec = P("data", "seq") if x.ndim == 2 else P("data")
    if x.ndim == 4:
        spec = P("data", "seq", "heads" if x.shape[2] % heads == 0 else None, None)
    if name == "bias":
        spec = P(None, "heads", "seq", None)
    return jax.device_put(x, spec)


def assert_as_one_device(spec, mask, strategy, asked=(), shape=(1, 1, 2), K=N):
    """Compares values and gradients with one device's; returns what is sent."""
    moving, given = (
        arrays_of(spec, K),
        options(*(set(asked) - {"lse", "scale", "tiles"})),
    )
    moving |= {n: x for n, x in given.items() if n == "bias"}
    still = {n: x for n, x in given.items() if n != "bias"}
    alone = values(spec, mask, "auto", asked)(moving, still)
    mesh = make(shape)
    with jax.set_mesh(mesh):
        moving, still = (
            {n: laid(n, x, shape[1]) for n, x in part.items()}
            for part in (moving, still)
        )
        compiled = values(spec, mask, strategy, asked).lower(moving, still).compile()
        found = compiled(moving, still)
    (_, out), _ = found
    assert jax.tree.leaves(out)[0].sharding.spec[1] == "seq"
    for a, e in zip(jax.tree.leaves(found), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(e), rtol=1e-5, atol=1e-5)
    return sent(compiled, mesh)
