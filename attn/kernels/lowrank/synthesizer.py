"""Synthesizer: attention maps without products of queries and keys."""

from dataclasses import dataclass
from typing import ClassVar

import jax
import jax.numpy as jnp
from jaxtyping import Array, Float

from attn.errors import UserError, unknown
from attn.kernels.base import Weights, matmul_flops, sums_dtype
from attn.kernels.composed import Composed, SoftmaxOf

KINDS = ("dense", "random")


@dataclass(frozen=True)
class Synthesizer(Composed):
    """Attention with learned scores, softmax(scores) v: Tay et al. 2020, section 3.

    "dense" has scores relu(q W1) W2: each token alone decides where it looks. "random",
    the paper's factorised one, has R1^T R2: the same map for every sequence. Both are
    softmax attention with queries and keys of width `rank` and one learned key a
    position, so time is O(T S) and memory as softmax's. It is made for one longest
    sequence, of which a shorter one takes the first positions, and for as many queries
    as keys.

    The paper's dense map has biases, and a hidden layer as wide as the model that reads
    the layer's input; this one has none, and reads the head's query.
    """

    name = "synthesizer"
    family = "lowrank"
    can: ClassVar[frozenset[str]] = frozenset(
        {"causal", "bidirectional", "any_mask", "key_padding", "packing", "map"}
        | {"normalised"}
    )
    least: ClassVar = {"rank": 1}
    within = ("rank",)
    rotates = False

    kind: str = "dense"
    """Whether the scores come from the queries or are learned themselves."""
    rank: int = 32
    """Width of the learned factors, R."""

    @property
    def reads(self):
        return frozenset("qv" if self.kind == "dense" else "v")

    @property
    def owns(self):
        return "weights"

    def __post_init__(self):
        if self.kind not in KINDS:
            raise unknown("synthesizer.kind", self.kind, KINDS)
        super().__post_init__()

    def init(self, key, *, head_dim, kv_len):
        """Draws W1 [H, R] and W2 [R, S], or R1 and R2 [R, S]: scores of variance 1."""
        of_q, of_k = jax.random.split(key)
        R, S = self.rank, kv_len
        if self.kind == "random":
            return {
                "R1": jax.random.normal(of_q, (R, S)) * R**-0.25,
                "R2": jax.random.normal(of_k, (R, S)) * R**-0.25,
            }
        return {
            "W1": jax.random.normal(of_q, (head_dim, R)) * head_dim**-0.5,
            "W2": jax.random.normal(of_k, (R, S)) * (2 / R) ** 0.5,
        }

    def num_weights(self, H, S):
        return self.rank * (S + (H if self.kind == "dense" else S))

    def flops(self, T, S, H, Hv, mask):
        made = matmul_flops(T, H, self.rank) if self.kind == "dense" else 0
        return made + matmul_flops(T, S, self.rank + Hv) * mask.density(T, S)

    def state_size(self, S, H, Hv, mask):
        return S * Hv

    def compose(
        self,
        softmax: SoftmaxOf,
        q: Float[Array, "B T N H"],
        k: Float[Array, "B T K H"],
        v: Float[Array, "B T K Hv"],
        weights: Weights,
        scale: float | None,
    ) -> Float[Array, "B T N Hv"]:
        """Attends. T may be shorter than the length given to `init`."""
        T = q.shape[1]
        kv_len = weights["R2" if self.kind == "random" else "W2"].shape[-1]
        if kv_len < T:
            raise UserError(
                f"synthesizer was made for sequences of {kv_len} keys and was given {T}; "
                f"init it with kv_len = {T}"
            )
        queries, keys = self.factors(q, weights)
        return softmax(queries.astype(v.dtype), keys.astype(v.dtype), v, 1.0)

    def factors(
        self, q: Float[Array, "B T N H"], weights: Weights
    ) -> tuple[Float[Array, "#B T N R"], Float[Array, "1 T N R"]]:
        """The two factors of the scores, in place of queries and keys."""
        T = q.shape[1]

        def of_positions(name: str) -> Float[Array, "1 T N R"]:
            return jnp.transpose(weights[name][..., :T], (2, 0, 1))[None]

        if self.kind == "random":
            return of_positions("R1"), of_positions("R2")
        W1 = weights["W1"].astype(q.dtype)
        hidden = jnp.einsum(
            "btnh,nhr->btnr", q, W1, preferred_element_type=sums_dtype(q)
        )
        return jax.nn.relu(hidden), of_positions("W2")
