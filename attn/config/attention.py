"""Attention layers as plain data: the mechanism, and how a layer makes its heads."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal

from attn.config.attention_checks import (
    check_cross,
    check_heads,
    check_mask,
    check_memory,
)
from attn.config.layers import Bias, Layer
from attn.errors import (
    UserError,
    require_above_zero,
    require_choice,
    require_positive,
)
from attn.kernels import Kernel, Softmax
from attn.kernels.base import matmul_flops
from attn.masks import FULL, Causal, Mask, Window
from attn.parallel.strategies import Division, choose_strategy
from attn.positions import RopeScaling

if TYPE_CHECKING:
    from attn.config.model import ModelConfig

HeadPositions = Literal["none", "rotary", "alibi", "t5"]
"""Ways in which queries and keys know their positions."""
Source = Literal["self", "memory"]
"""Sequences that a layer may attend to."""
T5_BUCKETS = 32
"""Buckets of distances, each a learned number a head (Raffel et al. 2020, 2.1)."""

INHERITED = (
    *("rope_base", "rope_dim", "rope_scaling"),
    *("bias", "qk_norm", "gate", "attention_dropout"),
)
"""Fields that are the model's of the same name unless given."""


@dataclass(frozen=True)
class Attention(Layer):
    """Multi-head attention: project, attend on every head, concatenate, project.

    K = N key/value heads are multi-head attention (Vaswani et al. 2017, section 3.2.2),
    K = 1 multi-query (Shazeer 2019), and what lies between grouped-query attention
    (Ainslie et al. 2023).
    """

    name = "attention"

    kernel: Kernel | None = None
    """The mechanism."""
    num_heads: int | None = None
    """Query heads, N."""
    num_kv_heads: int | None = None
    """Key and value heads, K."""
    head_dim: int | None = None
    """Width of a head, H."""
    positions: HeadPositions | None = None
    """Rotary positions, a bias by distance (ALiBi, T5), or none."""
    rope_base: float | None = None
    """Base of the rotary frequencies."""
    rope_dim: int | None = None
    """Channels of each head that rotary positions rotate, its first ones; all of them
    unless given."""
    rope_scaling: RopeScaling | None = None
    """How rotary frequencies are changed for longer sequences."""
    source: Source = "self"
    """What is attended to: the layer's own sequence, or the encoder's states
    (`memory`), which are all seen and have no position."""
    window: int | None = None
    """Positions that a query sees to each side, its own included, of those that the
    model's mask shows; all unless given."""
    scale: float | None = None
    """Factor of the scores; 1 / sqrt(H) unless given."""
    bias: Bias | None = None
    """Projections that add a bias."""
    qk_norm: bool | None = None
    """Whether each query and key is divided by its root mean square and scaled by
    learned factors, before any rotation (Henry et al. 2020; Qwen 3)."""
    gate: bool | None = None
    """Whether each channel of each head's output is multiplied by sigmoid(x W) (Qiu et
    al. 2025, section 3)."""
    impl: str | None = None
    """One of the kernel's implementations or backends, or `auto`."""
    attention_dropout: float | None = None
    """Share of the keys that a query is not shown in a training step."""

    def __post_init__(self):
        require_positive(self, "num_heads", "num_kv_heads", "head_dim", "rope_base")
        require_positive(self, "rope_dim", "window")
        require_above_zero(self, "scale")
        require_choice(self, positions=HeadPositions, source=Source, bias=Bias)
        if self.crosses:
            check_memory(self)

    def resolve(self, model: "ModelConfig") -> "Attention":
        N, D = self.num_heads or model.num_heads, model.d_model
        head_dim = self.head_dim or model.head_dim
        if head_dim is None and D % N:
            raise UserError(
                f"num_heads = {N} does not divide d_model = {D}; choose a divisor, or "
                "give head_dim"
            )
        given = {
            name: getattr(model if getattr(self, name) is None else self, name)
            for name in INHERITED
        }
        given |= {
            "kernel": self.kernel or (Softmax() if self.crosses else model.kernel),
            "num_heads": N,
            "num_kv_heads": self.num_kv_heads or self.shared_kv_heads(model) or N,
            "head_dim": head_dim or D // N,
            "positions": self.positions or model.head_positions,
            "impl": self.impl or model.attention_impl,
        }
        if self.crosses:
            given |= dict.fromkeys(("rope_base", "rope_dim", "rope_scaling"))
            given["positions"] = "none"
        layer = replace(self, **given)
        layer.check_heads()
        return layer

    def shared_kv_heads(self, model: "ModelConfig") -> int | None:
        """The model's key and value heads, where the layer can have fewer than queries."""
        return model.num_kv_heads

    @property
    def sizes(self) -> tuple[int, int, int]:
        """N, K and H of a resolved layer."""
        return self.num_heads, self.num_kv_heads, self.head_dim  # pyright: ignore

    @property
    def mechanism(self) -> Kernel:
        """The kernel of a resolved layer."""
        return Softmax() if self.kernel is None else self.kernel

    @property
    def crosses(self) -> bool:
        """Whether it attends to the encoder's states."""
        return self.source == "memory"

    def seen(self, mask: Mask) -> Mask:
        """The mask of the layer in a model with this one."""
        if self.crosses:
            return FULL
        if self.window is None:
            return mask
        return mask & Window(self.window - 1, self.window - 1)

    @property
    def key_width(self) -> int:
        """Width of the queries and keys that the kernel is given."""
        return self.sizes[2]

    @property
    def base(self) -> float:
        """The base of a resolved layer's rotary frequencies."""
        return self.rope_base  # pyright: ignore[reportReturnType]

    @property
    def rotated_width(self) -> int:
        """Channels of a head that rotary positions rotate."""
        return self.rope_dim or self.sizes[2]

    @property
    def rotary(self) -> bool:
        """Whether queries and keys are rotated by their positions."""
        return self.positions == "rotary" and self.mechanism.rotates

    def check_heads(self) -> None:
        """Raises `UserError` where the head sizes are inconsistent."""
        check_heads(self)
        self.check_rotary()

    def check_rotary(self) -> None:
        """Raises `UserError` where rotary positions have no channel pairs to rotate."""
        H, U = self.sizes[2], self.rotated_width
        if self.positions == "rotary" and U % 2:
            name = "head_dim" if self.rope_dim is None else "rope_dim"
            raise UserError(
                f"{name} = {U} is odd, and rotary positions rotate pairs; choose an even "
                f"{name}, or other positions"
            )
        if H < U:
            raise UserError(
                f"rope_dim = {U} is above head_dim = {H}; rotate at most the whole head"
            )

    def projections(self, D: int) -> int:
        """Parameters of the projections to what the kernel reads, and of the output."""
        N, _, H = self.sizes
        return self.read_heads("qkv") * D * H + N * H * D

    def read_heads(self, names: str) -> int:
        """The heads that the kernel reads, of queries, keys and values."""
        N, K, _ = self.sizes
        heads = {"q": N, "k": K, "v": K}
        return sum(heads[name] for name in self.mechanism.reads & {*names})

    def num_params(self, D, L):
        (N, _, H), kernel = self.sizes, self.mechanism
        own = N * kernel.num_weights(self.key_width, L) + N * H * kernel.head_norm
        own += N * T5_BUCKETS * (self.positions == "t5") + D * N * H * bool(self.gate)
        biases = H * self.read_heads("qkv") * (self.bias != "none")
        biases += D * (self.bias == "all")
        return self.projections(D) + own + biases + 2 * H * bool(self.qk_norm)

    def flops(self, D, T, mask, S=0):
        N, _, H = self.sizes
        S = S if self.crosses else T
        mixing = self.mechanism.flops(T, S, self.key_width, H, self.seen(mask))
        projected = T * (self.projections(D) + D * N * H * bool(self.gate))
        if self.crosses:
            projected += (S - T) * self.read_heads("kv") * D * H
        return matmul_flops(projected) + N * mixing

    def state_size(self, D, T, S=0):
        (N, K, H), kernel = self.sizes, self.mechanism
        # Each head's sums are over its own features, so a group's heads cannot share them.
        shared = kernel.owns == "nothing" or kernel.keeps == "keys"
        heads = K if shared else N
        if self.crosses:
            return heads * S * (self.key_width + H)
        return heads * kernel.state_size(T, self.key_width, H, self.seen(Causal()))

    @property
    def state_is_float32(self) -> bool:
        """Whether its decoding state is float32 whatever the model's dtype."""
        return self.mechanism.keeps == "state" and not self.crosses

    def check_mesh(self, shape, mask, T, S=0):
        N, K, _ = self.sizes
        shape.check_heads(N, K)
        if shape.seq > 1:
            keys, kernel = (S if self.crosses else T), self.mechanism
            seen = kernel.pattern(self.seen(mask), T, keys)
            parts = shape.seq, shape.heads
            choose_strategy(Division(kernel, seen, T, keys, N, K, *parts))

    def check(self, mask, T, required=(), S=0):
        kernel, seen = self.mechanism, self.seen(mask)
        check_mask(kernel, seen)
        if self.crosses:
            required = (*required, "cross")
            check_cross(kernel, mask, T, S)
        kernel.check(seen, T, S if self.crosses else T, required)
        kernel.check_length(T)
        kernel.check_head(self.key_width, self.sizes[2])
