"""The transformer: embedding, a stack of residual layers, and a head."""

import jax
import jax.numpy as jnp
from flax import nnx
from jaxtyping import Array, Float, Int

from attn import config
from attn.errors import UserError
from attn.kernels import TokenInfo
from attn.model.batch import check_tokens, mean_state, of_batch
from attn.model.memory import Memory
from attn.model.products import product
from attn.model.stack import Encoder, Stack
from attn.model.weights import EMBEDDING, make_norm, weight
from attn.objectives import ClassHead, Head, PairHead, StateHead, TokenHead
from attn.parallel.fsdp import gather
from attn.parallel.rules import lay, layout
from attn.positions import sinusoidal


class Transformer(Stack):
    """A stack of residual layers over embedded tokens, and a head.

    It is a decoder where `model.causal`, else an encoder; with `model.encoder`, an
    encoder-decoder, whose two stacks share the token vectors. On a mesh its weights are
    laid out by `attn.parallel.rules`.
    """

    def __init__(
        self, model: config.ModelConfig, head: Head = TokenHead(), *, rngs: nnx.Rngs
    ):
        for name in ("vocab_size", "max_len"):
            if getattr(model, name) is None:
                raise UserError(f"ModelConfig.{name} is not given; a model needs it")
        D, V = model.d_model, model.vocab_size or 0
        self.head = head
        self._make_embedding(model, rngs)
        super().__init__(model, rngs)
        self.encoder: Encoder | None = nnx.data(None)
        if model.encoder is not None:
            self.encoder = Encoder(model.encoder, rngs)
        width = D
        if isinstance(head, PairHead):
            width = head.hidden(D)
            self.compare = weight(rngs, "D D", 4 * D, width, fan_in=4 * D)
        if isinstance(head, ClassHead):
            self.out = weight(
                rngs, "V D", head.num_classes, width, fan_in=width, role=EMBEDDING
            )
        if isinstance(head, TokenHead) and not model.embedding.tied:
            self.out = weight(rngs, "V D", V, D, fan_in=D, role=EMBEDDING)

    def hidden(
        self,
        tokens: Int[Array, "B T"],
        info: TokenInfo = TokenInfo(),
        memory: Memory | None = None,
        *,
        types: Int[Array, "B T"] | None = None,
        key: Array | None = None,
    ) -> Float[Array, "B T D"]:
        """Computes the states after the last layer; `key` turns dropout on."""
        check_tokens(tokens, self.model.vocab_size)
        info = of_batch(info, tokens)
        return self.run(self.embed(tokens, info, types), info, memory, key)

    def _make_embedding(self, model: config.ModelConfig, rngs: nnx.Rngs) -> None:
        D, V, L = model.d_model, model.vocab_size or 0, model.max_len or 0
        self.embedding = weight(rngs, "V D", V, D, fan_in=D, role=EMBEDDING)
        self.position_embedding = self.type_embedding = nnx.data(None)
        if model.positions == "learned":
            self.position_embedding = weight(
                rngs, "L D", L, D, fan_in=D, role=EMBEDDING
            )
        if kinds := model.embedding.num_types:
            self.type_embedding = weight(
                rngs, "L D", kinds, D, fan_in=D, role=EMBEDDING
            )
        self.embedding_norm = nnx.data(None)
        if model.embedding.norm:
            self.embedding_norm = make_norm(model.norm, D, rngs)

    def __call__(
        self,
        tokens: Int[Array, "B T"],
        info: TokenInfo = TokenInfo(),
        *,
        source: Int[Array, "B S"] | None = None,
        source_info: TokenInfo = TokenInfo(),
        types: Int[Array, "B T"] | None = None,
        at: Int[Array, "B P"] | None = None,
        key: Array | None = None,
    ) -> Float[Array, "rows P V"]:
        """Computes float32 logits, at every position or as the head does.

        A `PairHead` takes sequences two by two, and says something of each pair. A
        `StateHead` gives the states [B, T, D] in place of logits.

        Args:
            info: padding, segments and positions of the tokens.
            source, source_info: what the encoder reads, of an encoder-decoder.
            types: the kind of each token (`Embedding.num_types`); 0 unless given.
            at: the positions that are read out, of a `TokenHead`; all unless given.
            key: turns dropout on.

        Raises:
            UserError: tokens or their info would be misread.
        """
        memory = self.memory(source, source_info, key)
        x = self.hidden(tokens, info, memory, types=types, key=key)
        if isinstance(self.head, ClassHead):
            x = mean_state(x, of_batch(info, tokens).mask)
            if isinstance(self.head, PairHead):
                x = self._compared(x)
        elif at is not None:
            x, at = lay(x, "B L D"), lay(at, "B P")
            x = jax.vmap(lambda states, at: states[at])(x, at)
        return self.read(x)

    def embed(
        self,
        tokens: Int[Array, "B T"],
        info: TokenInfo = TokenInfo(),
        types: Int[Array, "B T"] | None = None,
    ) -> Float[Array, "B T D"]:
        """Embeds tokens with positions, at about unit variance unless a scale is given."""
        D, scale = self.model.d_model, self.model.embedding.scale
        scale = D**0.5 if scale is None else scale
        x = look_up(self.embedding, tokens) * scale
        if self.type_embedding is not None:
            types = jnp.zeros_like(tokens) if types is None else types
            x = x + look_up(self.type_embedding, types)
        if self.position_embedding is not None:
            x = (
                x
                + self._learned(self.position_embedding, info, tokens.shape[1]) * scale
            )
        elif self.model.positions == "sinusoidal":
            at = jnp.arange(tokens.shape[1])[None]
            x = x + sinusoidal(at if info.positions is None else info.positions, D)
        x = x if self.embedding_norm is None else self.embedding_norm(x)
        return x.astype(self.model.dtype)

    def _learned(
        self, table: nnx.Param, info: TokenInfo, T: int
    ) -> Float[Array, "#B T D"]:
        """The learned vectors of the tokens' positions."""
        if info.positions is not None:
            return look_up(table, info.positions)
        if table.shape[0] < T:
            raise UserError(
                f"{T} tokens are more than ModelConfig.max_len = {self.model.max_len}, "
                "for which positions were learned; make the model with a larger max_len"
            )
        return gather(table[...])[None, :T]

    def read(self, x: Float[Array, "B P D"]) -> Float[Array, "B P V"]:
        """Computes the head's float32 logits from the states that it reads."""
        if isinstance(self.head, StateHead):
            return x.astype(jnp.float32)
        spec = self.model.embedding
        tied = isinstance(self.head, TokenHead) and spec.tied
        table = gather((self.embedding if tied else self.out)[...]).astype(x.dtype)
        y = product(x, table.T, "B P V", jnp.float32)
        if isinstance(self.head, ClassHead):
            return y
        y = y if spec.logit_scale == 1 else y * spec.logit_scale
        cap = spec.logit_cap
        return y if cap is None else cap * jnp.tanh(y / cap)

    def memory(
        self,
        source: Int[Array, "B S"] | None,
        info: TokenInfo = TokenInfo(),
        key: Array | None = None,
    ) -> Memory | None:
        """Computes the encoder's states of a source; None without an encoder.

        Raises:
            UserError: there is a source and no encoder, or the other way round.
        """
        if (source is None) != (self.encoder is None):
            raise UserError(
                "the model has an encoder, and was given no source= to read"
                if source is None
                else "the model has no encoder for source=; put the source before the tokens"
            )
        if source is None or self.encoder is None:
            return None
        check_tokens(source, self.model.vocab_size, "source")
        info = of_batch(info, source, "source_")
        key = None if key is None else jax.random.fold_in(key, len(self.layers))
        x = self.encoder.run(self.embed(source, info), info, None, key)
        return Memory(x, info)

    def _compared(self, x: Float[Array, "M 1 D"]) -> Float[Array, "B 1 F"]:
        """The hidden units of a `PairHead`, from the states of both documents in turn."""
        shape = (len(x) // 2, 2, x.shape[-1])
        pairs = jnp.reshape(x, shape, out_sharding=layout("B M D"))
        u, v = pairs[:, :1], pairs[:, 1:]
        both = jnp.concatenate([u, v, u * v, u - v], axis=-1)
        weights = gather(self.compare[...]).astype(x.dtype)
        return jax.nn.relu(product(both, weights, "B P F"))

    def maps(
        self,
        tokens: Int[Array, "B T"],
        info: TokenInfo = TokenInfo(),
        *,
        source: Int[Array, "B S"] | None = None,
        source_info: TokenInfo = TokenInfo(),
        types: Int[Array, "B T"] | None = None,
    ) -> dict[str, Float[Array, "_ N _ _"]]:
        """Computes the effective map of each attention layer that has one, by name.

        Layers are `layer_0`, ... and an encoder's `encoder_0`, ...
        """
        check_tokens(tokens, self.model.vocab_size)
        found, info = {}, of_batch(info, tokens)
        memory = self.memory(source, source_info)
        if memory is not None and source is not None and self.encoder is not None:
            states = self.embed(source, memory.info)
            found = maps_of(self.encoder, "encoder", states, memory.info)
        x = self.embed(tokens, info, types)
        return found | maps_of(self, "layer", x, info, memory)

    def heads(self, tokens: Int[Array, "B T"]) -> dict[str, tuple[Array, Array, Array]]:
        """Computes q [B, T, N, H], k and v [B, T, K, H] of every attention layer."""
        check_tokens(tokens, self.model.vocab_size)
        info = of_batch(TokenInfo(), tokens)
        inputs = self.attention_inputs(self.embed(tokens, info), info)
        return {f"layer_{i}": layer.project(x, TokenInfo()) for i, layer, x in inputs}


def maps_of(
    stack: Stack,
    name: str,
    x: Float[Array, "B T D"],
    info: TokenInfo,
    memory: Memory | None = None,
) -> dict[str, Float[Array, "_ N _ _"]]:
    """Computes the effective map of each attention layer of a stack on embedded tokens."""
    seen = stack.seen(info)
    return {
        f"{name}_{i}": layer.map(x, seen, memory)
        for i, layer, x in stack.attention_inputs(x, info, memory)
        if "map" in layer.kernel.can
    }


def look_up(table: nnx.Param, rows: Int[Array, "B T"]) -> Float[Array, "B T D"]:
    """The rows of a table of vectors, sharded by sequence."""
    return gather(table[...]).at[rows].get(out_sharding=layout("B T D"))
