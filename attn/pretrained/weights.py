"""The weights of a model from a checkpoint, one at a time, in a dtype and on a mesh."""

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from attn.config import ModelConfig
from attn.model import Transformer
from attn.objectives import Head
from attn.pretrained.checkpoint import Checkpoint
from attn.pretrained.table import Source


def fill(
    model: ModelConfig,
    head: Head,
    found: dict[str, Source],
    checkpoint: Checkpoint,
    mesh: Mesh | None,
) -> Transformer:
    """Makes a model with the weights of a checkpoint; needs its mesh set, if any.

    What a kernel owns, and the checkpoint has not, is drawn anew from seed 0.
    """

    def make() -> Transformer:
        return Transformer(model, head, rngs=nnx.Rngs(0))

    def drawn() -> dict[str, jax.Array]:
        flat = nnx.to_flat_state(nnx.state(make()))
        return {name(at): leaf[...] for at, leaf in flat if name(at) not in found}

    graph, state = nnx.split(nnx.eval_shape(make))
    flat = nnx.to_flat_state(state)
    own = jax.jit(drawn)() if any(name(at) not in found for at, _ in flat) else {}
    leaves = []
    for at, leaf in flat:
        value = own.get(name(at))
        if value is None:
            value = _weight(found[name(at)], checkpoint, leaf.get_value(), model, mesh)
        leaves.append((at, leaf.replace(value)))
    return nnx.merge(graph, nnx.from_flat_state(leaves))


def name(at: tuple) -> str:
    """The path of a weight, as in `layers/0/layer/q`."""
    return "/".join(map(str, at))


def _weight(
    source: Source,
    checkpoint: Checkpoint,
    leaf: jax.ShapeDtypeStruct,
    model: ModelConfig,
    mesh: Mesh | None,
) -> jax.Array:
    """Reads a weight; vectors stay float32."""
    x = source.convert(checkpoint.read(source.name))
    if "K" in source.axes:
        x = pooled(x, source.axes.index("K"), model)
    x = np.asarray(x, np.float32 if x.ndim < 2 else jnp.dtype(model.dtype))
    if mesh is None:
        return jnp.asarray(x)
    spec = P() if leaf.sharding is None else leaf.sharding.spec
    return jax.device_put(x, NamedSharding(mesh, spec))


def pooled(x: np.ndarray, axis: int, model: ModelConfig) -> np.ndarray:
    """The means of groups of key or value heads: Ainslie et al. 2023, section 2.1."""
    K = model.attention_layers[0].sizes[1]
    if x.shape[axis] == K:
        return x
    grouped = x.reshape(*x.shape[:axis], K, -1, *x.shape[axis + 1 :])
    return grouped.astype(np.float32).mean(axis=axis + 1)
