"""Choice of the next token from its logits: the most likely one, or by chance."""

from dataclasses import dataclass

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float, Int

from attn.errors import UserError


@dataclass(frozen=True)
class Sampler:
    """A rule that chooses tokens; the default is greedy."""

    temperature: float = 0.0
    """Divisor of the logits before they are sampled from; 0 takes the most likely."""
    top_k: int | None = None
    """The number of most likely tokens that are left (Fan et al. 2018)."""
    top_p: float | None = None
    """The probability of the fewest, most likely tokens that are left (Holtzman et al.
    2020), after the temperature and `top_k`."""

    def __post_init__(self):
        if not 0 <= self.temperature < float("inf"):
            raise UserError(f"temperature = {self.temperature}; it must be 0 or more")
        if self.top_k is not None and self.top_k < 1:
            raise UserError(f"top_k = {self.top_k}; it must be at least 1")
        if self.top_p is not None and not 0 < self.top_p <= 1:
            raise UserError(f"top_p = {self.top_p}; it must be above 0, and at most 1")
        if not self.temperature and (self.top_k, self.top_p) != (None, None):
            raise UserError(
                "top_k and top_p choose what is sampled from; give a temperature above 0"
            )

    def __call__(
        self, logits: Float[Array, "B V"], key: Array | None
    ) -> Int[Array, "B"]:
        """Chooses a token of each sequence."""
        if not self.temperature:
            return jnp.argmax(logits, axis=-1).astype(jnp.int32)
        if key is None:
            raise UserError(
                "a temperature above 0 samples; give a key, jax.random.key(0)"
            )
        kept = self.kept(logits / self.temperature)
        return jax.random.categorical(key, kept).astype(jnp.int32)

    def kept(self, logits: Float[Array, "B V"]) -> Float[Array, "B V"]:
        """The logits of tokens that may be sampled, -inf for the others."""
        # By rank, so that of equal logits no more are kept than are asked for.
        order = jnp.argsort(logits, axis=-1, descending=True)
        rank = jnp.argsort(order, axis=-1)
        if self.top_k is not None:
            logits = jnp.where(rank < self.top_k, logits, -jnp.inf)
        if self.top_p is not None:
            ordered = jnp.take_along_axis(logits, order, axis=-1)
            p = jax.nn.softmax(ordered, axis=-1)
            before = jnp.cumsum(p, axis=-1) - p
            # The most likely token is kept whatever its probability.
            count = jnp.sum(before < self.top_p, axis=-1, keepdims=True)
            logits = jnp.where(rank < count, logits, -jnp.inf)
        return logits


GREEDY = Sampler()
