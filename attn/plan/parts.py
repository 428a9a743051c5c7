"""Parts of an experiment to compile alone: one layer's attention, and one decoding step."""

from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
from flax import nnx
from jax.sharding import NamedSharding

from attn import config
from attn.attention import attend
from attn.config import Experiment
from attn.errors import UserError
from attn.model.attention import Attention
from attn.model.decode import Decoded, advance
from attn.parallel.mesh import MeshShape
from attn.parallel.rules import spec
from attn.train.state import build, model_def, new_model


@dataclass(frozen=True)
class Lowered:
    """A program lowered for the current mesh, and the arrays that it is given, by kind."""

    lowered: jax.stages.Lowered
    kinds: dict[str, Any]


def lower_attention(experiment: Experiment) -> Lowered:
    """Lowers the first attention layer's `attend`, and its gradients by q, k and v.

    Raises:
        UserError: the model has no layer of self-attention.
    """
    _require_attention(experiment)
    layer = nnx.eval_shape(lambda: _first(experiment))
    options = {"mask": layer.mask, "scale": layer.spec.scale}
    impl = layer.spec.impl or "auto"
    held = jax.eval_shape(lambda: _arrays(experiment))

    def run(q, k, v, seen, held, d_out):
        given = options | {"kv_mask": seen, "weights": held[0], "bias": held[1]}
        call = lambda *heads: attend(layer.kernel, *heads, **given, impl=impl)  # noqa: E731
        out, backward = jax.vjp(call, q, k, v)
        return out, backward(d_out)

    q, k, v, seen = _heads(experiment, layer)
    d_out = _shape("B T N H", (*q.shape[:3], v.shape[-1]), q.dtype)
    kinds = {
        "parameters": held,
        "queries, keys and values": (q, k, v, seen),
        "gradient of the output": d_out,
    }
    return Lowered(jax.jit(run).lower(q, k, v, seen, held, d_out), kinds)


def attention_flops(experiment: Experiment) -> float:
    """FLOPs of what `lower_attention` lowers: three forward passes of its products."""
    _require_attention(experiment)
    own, T = _own(experiment)[0], experiment.lengths[0]
    N, _, H = own.sizes
    mask = own.seen(experiment.mask)
    each = N * own.mechanism.flops(T, T, own.key_width, H, mask)
    return 3 * _sequences(experiment) * each


def lower_decoding(experiment: Experiment) -> Lowered:
    """Lowers the decoding of one more token of each row, with caches of whole sequences.

    Raises:
        UserError: a layer does not decode.
    """
    model = model_def(experiment)
    params, features = jax.eval_shape(lambda: build(experiment, jax.random.key(0)))
    L, rows, source = experiment.lengths[0], experiment.train.batch_size, None
    if experiment.model.encoder is not None:
        source = _shape("B S", (rows, experiment.lengths[1]), "int32")

    def begin(params, features, source):
        made = model.merge(params, features)
        return made.begin(rows, L, made.memory(source))

    def step(params, features, tokens, caches, position):
        state = Decoded(caches, position, None, L)
        after = advance(model.merge(params, features), tokens, state)
        return after.logits, after.caches, after.position

    caches = jax.eval_shape(begin, params, features, source)
    ints = _shape("B", (rows,), "int32")
    run = jax.jit(step, donate_argnums=(3, 4))
    kinds = {"parameters": (params, features), "cache": caches, "batch": (ints, ints)}
    return Lowered(run.lower(params, features, ints, caches, ints), kinds)


def check_decoding(experiment: Experiment, shape: MeshShape) -> None:
    """Raises `UserError` for what does not decode, and for a mesh that decoding cannot use."""
    if not experiment.task.objective.causal:
        raise UserError(
            f"--what decode: task {experiment.task.name!r} writes no text; take a causal "
            "one, or --what train"
        )
    if shape.seq > 1:
        raise UserError(
            f"--what decode divides rows and heads, and --mesh {shape} the sequence; take "
            "data, fsdp and heads"
        )


def _require_attention(experiment: Experiment) -> None:
    if not _own(experiment):
        raise UserError(
            f"--what attend: {experiment.name!r} has no layer of self-attention with heads; "
            "choose another experiment, or --what train"
        )


def _own(experiment: Experiment) -> list[Any]:
    """The specs of a model's layers of self-attention."""
    layers = experiment.resolved_model.one_block
    return [x for x in layers if isinstance(x, config.Attention) and not x.crosses]


def _first(experiment: Experiment) -> Attention:
    """The first layer of self-attention of a new model."""
    blocks = new_model(experiment, 0).layers
    found = (block.layer for block in blocks if isinstance(block.layer, Attention))
    return next(layer for layer in found if not layer.spec.crosses)


def _arrays(experiment: Experiment) -> tuple[Any, Any]:
    """The weights of its kernel and its relative bias, which `attend` is given."""
    layer = _first(experiment)
    return layer.weights, layer.bias


def _sequences(experiment: Experiment) -> int:
    """The sequences that one `attend` is given: of a part of a batch that is accumulated."""
    rows = experiment.train.batch_size // experiment.train.accumulate
    return rows * experiment.task.objective.num_documents


def _heads(experiment: Experiment, layer: Attention) -> tuple[Any, ...]:
    """The shapes of q, k and v, and of the mask of padding, where the task has any."""
    B, T, (N, K, H) = _sequences(experiment), experiment.lengths[0], layer.spec.sizes
    dtype, width = experiment.model.dtype, layer.spec.key_width
    return (
        _shape("B T N H", (B, T, N, width), dtype),
        _shape("B S K H", (B, T, K, width), dtype),
        _shape("B S K H", (B, T, K, H), dtype),
        _shape("B S", (B, T), "bool") if experiment.task.padded else None,
    )


def _shape(dims: str, shape: tuple[int, ...], dtype: Any) -> jax.ShapeDtypeStruct:
    """An array that is not there, laid out on the current mesh."""
    sharding = NamedSharding(jax.sharding.get_mesh(), spec(dims, shape))
    return jax.ShapeDtypeStruct(shape, jnp.dtype(dtype), sharding=sharding)
