"""Attention layers as plain data: the mechanism, and how a layer makes its heads."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, Literal, get_args

from attn.config.layers import Layer
from attn.errors import UserError, require_positive, unknown
from attn.kernels import Kernel, Softmax
from attn.kernels.base import matmul_flops
from attn.masks import FULL

if TYPE_CHECKING:
    from attn.config.model import ModelConfig

HeadPositions = Literal["none", "rotary", "alibi", "t5"]
"""Ways in which queries and keys know their positions."""
T5_BUCKETS = 32
"""Buckets of distances, each a learned number a head (Raffel et al. 2020, 2.1)."""


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
    impl: str | None = None
    """One of the kernel's implementations or backends, or `auto`."""
    attention_dropout: float | None = None
    """Share of the keys that a query is not shown in a training step."""

    def __post_init__(self):
        require_positive(self, "num_heads", "num_kv_heads", "head_dim", "rope_base")
        if self.positions not in (None, *get_args(HeadPositions)):
            raise unknown(
                "Attention.positions", self.positions, get_args(HeadPositions)
            )

    def resolve(self, model: "ModelConfig") -> "Attention":
        N, D = self.num_heads or model.num_heads, model.d_model
        head_dim = self.head_dim or model.head_dim
        if head_dim is None and D % N:
            raise UserError(
                f"num_heads = {N} does not divide d_model = {D}; choose a divisor, or "
                "give head_dim"
            )
        given = {
            "kernel": model.kernel if self.kernel is None else self.kernel,
            "num_heads": N,
            "num_kv_heads": self.num_kv_heads or self.shared_kv_heads(model) or N,
            "head_dim": head_dim or D // N,
            "positions": self.positions or model.head_positions,
            "rope_base": self.rope_base or model.rope_base,
            "impl": self.impl or model.attention_impl,
            "attention_dropout": (
                model.attention_dropout
                if self.attention_dropout is None
                else self.attention_dropout
            ),
        }
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
    def key_width(self) -> int:
        """Width of the queries and keys that the kernel is given."""
        return self.sizes[2]

    @property
    def base(self) -> float:
        """The base of a resolved layer's rotary frequencies."""
        return self.rope_base  # pyright: ignore[reportReturnType]

    @property
    def rotary(self) -> bool:
        """Whether queries and keys are rotated by their positions."""
        return self.positions == "rotary" and self.mechanism.rotates

    def check_heads(self) -> None:
        """Raises `UserError` where the head sizes are inconsistent."""
        (N, K, _), kernel = self.sizes, self.mechanism
        if N % K:
            raise UserError(f"num_kv_heads = {K} does not divide num_heads = {N}")
        ways = ("auto", *kernel.implementations, *kernel.backends)
        if self.impl not in ways:
            raise unknown(f"attention_impl of {kernel.name!r}", str(self.impl), ways)
        biased = self.positions in ("alibi", "t5")
        if biased and "relative_bias" not in kernel.can:
            raise kernel.unable(
                "relative_bias", f"asked for {self.positions!r} positions"
            )
        if self.attention_dropout:
            self.check_dropout()
        self.check_rotary()

    def check_dropout(self) -> None:
        """Raises `UserError` where keys cannot be hidden by a bias of the scores."""
        share, kernel = self.attention_dropout, self.mechanism
        if "bias" not in kernel.can:
            raise kernel.unable("bias", f"asked for attention_dropout = {share}")
        taken = {
            f"positions = {self.positions!r}": self.positions in ("alibi", "t5"),
            "a soft-cap": getattr(kernel, "softcap", None) is not None,
        }
        for what in (what for what, is_so in taken.items() if is_so):
            raise UserError(
                f"attention_dropout = {share} hides keys by a bias of the scores, which "
                f"{what} does not leave free; leave out one of them"
            )

    def check_rotary(self) -> None:
        """Raises `UserError` where rotary positions have no channel pairs to rotate."""
        if self.positions == "rotary" and self.sizes[2] % 2:
            raise UserError(
                f"head_dim = {self.sizes[2]} is odd, and rotary positions rotate pairs; "
                "choose an even head_dim, or other positions"
            )

    def projections(self, D: int) -> int:
        """Parameters of the projections to what the kernel reads, and of the output."""
        N, K, H = self.sizes
        heads = {"q": N, "k": K, "v": K}
        return D * H * (sum(heads[name] for name in self.mechanism.reads) + N)

    def num_params(self, D, L):
        (N, _, H), kernel = self.sizes, self.mechanism
        own = N * kernel.num_weights(self.key_width, L) + N * H * kernel.head_norm
        return self.projections(D) + own + N * T5_BUCKETS * (self.positions == "t5")

    def flops(self, D, T, mask):
        N, _, H = self.sizes
        mixing = self.mechanism.flops(T, T, self.key_width, H, mask)
        return matmul_flops(T, self.projections(D)) + N * mixing

    def state_size(self, D, T):
        (N, K, H), kernel = self.sizes, self.mechanism
        # Each head's sums are over its own features, so a group's heads cannot share them.
        shared = kernel.owns == "nothing" or "exact" in kernel.can
        return (K if shared else N) * kernel.state_size(T, self.key_width, H)

    def check_mesh(self, shape):
        N, K, _ = self.sizes
        shape.check_divides("heads", {"num_heads": N})
        if K % shape.heads and shape.heads % K:
            raise UserError(
                f"mesh heads = {shape.heads} and num_kv_heads = {K}: one must divide the "
                "other"
            )

    def check(self, mask, T, required):
        kernel = self.mechanism
        if mask == FULL and kernel.can.isdisjoint({"bidirectional", "any_mask"}):
            raise UserError(
                f"kernel {kernel.name!r} looks back alone, and the model is an encoder; "
                "ModelConfig.causal = True (--model.causal) makes its tokens look back"
            )
        kernel.check(mask, T, T, required)
        kernel.check_length(T)
        kernel.check_head(self.key_width, self.sizes[2])


@dataclass(frozen=True)
class LatentAttention(Attention):
    """Multi-head latent attention: all heads' keys and values from one small vector.

    DeepSeek-AI 2024 (DeepSeek-V2), section 2.1. It is a way to make heads, not a
    mechanism: any kernel that compares queries with keys can run on them.
    """

    name = "latent_attention"

    kv_rank: int | None = None
    """Width of the latent that keys and values are made from, R."""
    rope_dim: int | None = None
    """Channels that rotary positions rotate beside a head, U; default H / 2, made
    even."""

    def __post_init__(self):
        super().__post_init__()
        require_positive(self, "kv_rank", "rope_dim")

    def resolve(self, model: "ModelConfig") -> "Attention":
        rank = self.kv_rank or model.kv_rank
        if rank is None:
            raise UserError("a latent attention layer needs kv_rank; give it")
        rope_dim = self.rope_dim or model.rope_dim
        own = replace(self, kv_rank=rank, rope_dim=rope_dim)
        return super(LatentAttention, own).resolve(model)

    def shared_kv_heads(self, model):
        return None

    @property
    def rope_width(self) -> int:
        """Extra channels, beside the H, that rotary positions rotate, U."""
        if not self.rotary:
            return 0
        return self.rope_dim or max(2, self.sizes[2] // 4 * 2)

    @property
    def key_width(self) -> int:
        return self.sizes[2] + self.rope_width

    def check_heads(self):
        super().check_heads()
        N, K, _ = self.sizes
        if K != N:
            raise UserError(
                f"kv_rank = {self.kv_rank} makes keys and values for every head; leave "
                f"out num_kv_heads = {K}"
            )
        kernel = self.mechanism
        if kernel.reads != frozenset("qkv"):
            raise UserError(
                f"kv_rank = {self.kv_rank} makes keys and values to compare with queries; "
                f"kernel {kernel.name!r} reads {', '.join(sorted(kernel.reads))} alone"
            )

    def check_rotary(self):
        if self.rope_dim is not None and self.rope_dim % 2:
            raise UserError(
                f"rope_dim = {self.rope_dim} is odd, and rotary positions rotate pairs"
            )

    def projections(self, D):
        (N, _, H), R, U = self.sizes, self.kv_rank or 0, self.rope_width
        return D * (N * (H + U) + R + U) + 2 * R * N * H + N * H * D

    def num_params(self, D, L):
        return super().num_params(D, L) + (self.kv_rank or 0)

    def state_size(self, D, T):
        if "exact" not in self.mechanism.can:
            return super().state_size(D, T)
        # One key for all heads; its latent part is the value too.
        width = (self.kv_rank or 0) + self.rope_width
        return self.mechanism.state_size(T, width, 0)
