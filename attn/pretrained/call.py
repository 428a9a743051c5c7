"""Pretrained models as they are called: inputs are checked, and padding may be anywhere."""

from collections.abc import Sequence
from functools import cached_property, partial
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from flax import nnx
from jax.core import Tracer
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P
from jaxtyping import Array, Bool, Float, Int

from attn.errors import UserError
from attn.kernels import TokenInfo
from attn.model import Transformer
from attn.parallel.mesh import using
from attn.pretrained.checkpoint import Checkpoint


class Pretrained:
    """A decoder or an encoder with the weights of a checkpoint."""

    def __init__(
        self, transformer: Transformer, checkpoint: Checkpoint, mesh: Mesh | None
    ):
        self.transformer, self.mesh = transformer, mesh
        self.checkpoint = checkpoint
        graph, _ = nnx.split(transformer)
        self._forward = jax.jit(partial(_forward, graph))

    def __call__(
        self,
        tokens: Int[Any, "B T"],
        kv_mask: Bool[Any, "B T"] | None = None,
        types: Int[Any, "B T"] | None = None,
    ) -> Float[Array, "B T E"]:
        """Computes float32 logits [B, T, V] of a decoder, states [B, T, D] of an encoder.

        Args:
            kv_mask: False where a token is padding, on the left or on the right.
            types: the kind of each token (BERT's token types); 0 unless given.

        Raises:
            UserError: no token, one outside the vocabulary, or more than there are
                learned positions for.
        """
        info = self._checked(tokens, kv_mask)
        return self._run(tokens, info, types)

    @cached_property
    def tokenizer(self) -> Any:
        """The checkpoint's `tokenizers.Tokenizer`; raises `UserError` without one."""
        return self.checkpoint.tokenizer()

    def encode(self, texts: Sequence[str]) -> tuple[Int[Any, "B T"], Bool[Any, "B T"]]:
        """Turns texts into tokens, padded on the right, and the mask of the real ones.

        Raises:
            UserError: a text is empty, or there is no tokenizer.
        """
        rows = [self.tokenizer.encode(text).ids for text in texts]
        for text, row in zip(texts, rows):
            if not row or not text:
                raise UserError(f"prompt {text!r} has no token; give some text")
        tokens = np.zeros((len(rows), max(map(len, rows), default=0)), np.int32)
        mask = np.zeros(tokens.shape, bool)
        for i, row in enumerate(rows):
            tokens[i, : len(row)], mask[i, : len(row)] = row, True
        return tokens, mask

    def _run(self, *inputs: Any) -> Array:
        state = nnx.state(self.transformer)
        given = jax.tree.map(self._placed, inputs)
        with using(self.mesh):
            return self._forward(state, *given)

    def _placed(self, x: Any) -> Array:
        if self.mesh is None:
            return jnp.asarray(x)
        return jax.device_put(x, NamedSharding(self.mesh, P("data", None)))

    def _checked(self, tokens: Any, kv_mask: Any) -> TokenInfo:
        """Checks tokens, and makes their token info."""
        if np.ndim(tokens) != 2 or 0 in np.shape(tokens):
            raise UserError(
                f"tokens have shape {np.shape(tokens)}; give [B, T] with a token at least"
            )
        self._check_ids(tokens)
        model, T = self.transformer.model, np.shape(tokens)[1]
        if model.positions == "learned" and (model.max_len or 0) < T:
            raise UserError(
                f"{T} tokens are more than the {model.max_len} positions of "
                f"{self.checkpoint.path}; give fewer"
            )
        return token_info(kv_mask, np.shape(tokens), model.positions == "learned")

    def _check_ids(self, tokens: Any) -> None:
        V = self.transformer.model.vocab_size or 0
        if isinstance(tokens, Tracer):
            return
        least, most = int(np.min(tokens)), int(np.max(tokens))
        if least < 0 or most >= V:
            wrong = least if least < 0 else most
            raise UserError(f"token {wrong} is none of the vocabulary's {V}")


class EncoderDecoder(Pretrained):
    """An encoder-decoder with the weights of a checkpoint."""

    def __call__(  # pyright: ignore[reportIncompatibleMethodOverride]
        self,
        tokens: Int[Any, "B S"],
        target_tokens: Int[Any, "B T"],
        kv_mask: Bool[Any, "B S"] | None = None,
    ) -> Float[Array, "B T V"]:
        """Computes float32 logits of the targets, which have read the tokens.

        Args:
            kv_mask: False where one of `tokens` is padding.
        """
        source_info = self._checked(tokens, kv_mask)
        info = self._checked(target_tokens, None)
        return self._run(target_tokens, info, None, tokens, source_info)


def _forward(
    graph: nnx.GraphDef,
    state: Any,
    tokens: Array,
    info: TokenInfo,
    types: Array | None,
    source: Array | None = None,
    source_info: TokenInfo = TokenInfo(),
) -> Array:
    model = nnx.merge(graph, state)
    return model(tokens, info, source=source, source_info=source_info, types=types)


def token_info(kv_mask: Any, shape: tuple[int, ...], absolute: bool) -> TokenInfo:
    """The token info of a mask; real tokens are counted where positions are `absolute`.

    Distances are the same without counting, and kernels skip more.
    """
    if kv_mask is None:
        return TokenInfo()
    if np.shape(kv_mask) != shape:
        raise UserError(
            f"kv_mask has shape {np.shape(kv_mask)}, and tokens have {shape}"
        )
    mask = jnp.asarray(kv_mask, bool)
    if not isinstance(mask, Tracer) and not np.asarray(mask).any(axis=1).all():
        raise UserError("kv_mask hides every token of a row; each needs a real one")
    if not absolute:
        return TokenInfo(mask=mask)
    counted = jnp.cumsum(mask.astype(jnp.int32), axis=1) - 1
    return TokenInfo(positions=jnp.maximum(counted, 0), mask=mask)
