"""Multi-head latent attention as plain data."""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING

from attn.config.attention import Attention
from attn.config.layers import Bias
from attn.errors import UserError, require_positive
from attn.masks import Causal

if TYPE_CHECKING:
    from attn.config.model import ModelConfig


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
    qk_norm: bool | None = False
    bias: Bias | None = "none"

    def __post_init__(self):
        super().__post_init__()
        require_positive(self, "kv_rank", "rope_dim")
        for name, only in (("source", "self"), ("qk_norm", False), ("bias", "none")):
            if getattr(self, name) != only:
                raise UserError(
                    f"LatentAttention.{name} = {getattr(self, name)}; keys and values come "
                    f"from a latent with a norm of its own: leave it {only}"
                )

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
    def rotated_width(self) -> int:
        return self.rope_width

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
        if self.rope_width % 2:
            raise UserError(
                f"rope_dim = {self.rope_dim} is odd, and rotary positions rotate pairs"
            )

    def projections(self, D):
        (N, _, H), R, U = self.sizes, self.kv_rank or 0, self.rope_width
        return D * (N * (H + U) + R + U) + 2 * R * N * H + N * H * D

    def num_params(self, D, L):
        return super().num_params(D, L) + (self.kv_rank or 0)

    def state_size(self, D, T, S=0):
        if "exact" not in self.mechanism.can:
            return super().state_size(D, T)
        # One key for all heads; its latent part is the value too.
        width = (self.kv_rank or 0) + self.rope_width
        return self.mechanism.state_size(T, width, 0, self.seen(Causal()))
