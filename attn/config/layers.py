"""Layers of a transformer as plain data: sizes, parameters, costs and mesh limits.

A field that is None is the model's own (`ModelConfig`), and `resolve` fills it in. All
other methods need a resolved layer. D is the width of the residual stream, T the length
of a sequence, L the longest one that the model is made for.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar

from attn.errors import require_positive
from attn.kernels.base import matmul_flops
from attn.masks import Mask
from attn.parallel.mesh import MeshShape

if TYPE_CHECKING:
    from attn.config.model import ModelConfig


@dataclass(frozen=True)
class Layer:
    """The base of layers, each of which is one residual branch."""

    name: ClassVar[str]

    def resolve(self, model: "ModelConfig") -> "Layer":
        """The layer with its open fields taken from the model."""
        return self

    def num_params(self, D: int, L: int) -> int:
        """Trained parameters, without the norm before the layer."""
        raise NotImplementedError

    def flops(self, D: int, T: int, mask: Mask) -> float:
        """Matmul FLOPs of one sequence, forward."""
        raise NotImplementedError

    def state_size(self, D: int, T: int) -> int:
        """Numbers kept after T tokens to decode the next one."""
        return 0

    def check_mesh(self, shape: MeshShape) -> None:
        """Raises `UserError` where the mesh does not divide the layer."""

    def check(self, mask: Mask, T: int, required: tuple[str, ...]) -> None:
        """Raises `UserError` where the layer cannot run T tokens under this mask."""


@dataclass(frozen=True)
class ShortConv(Layer):
    """A depthwise convolution along the sequence, then a linear map.

    Each token is mixed with its `width - 1` predecessors (its neighbours, where the
    model looks both ways). One such layer before attention decides associative recall:
    Arora et al. 2024 (Zoology), section 4; Fu et al. 2023 (H3), section 3.
    """

    name = "short_conv"

    width: int | None = None
    """Tokens that each token is mixed with, itself included, W."""

    def __post_init__(self):
        require_positive(self, "width")

    def resolve(self, model):
        return replace(self, width=self.width or model.conv_width)

    def num_params(self, D, L):
        return (self.width or 0) * D + D * D

    def flops(self, D, T, mask):
        return matmul_flops(T, D, D + (self.width or 0))

    def state_size(self, D, T):
        return ((self.width or 1) - 1) * D


@dataclass(frozen=True)
class MLP(Layer):
    """A two-layer MLP, gelu(x W) W': Vaswani et al. 2017, section 3.3, but for gelu."""

    name = "mlp"

    d_ff: int | None = None
    """Hidden width, F."""

    def __post_init__(self):
        require_positive(self, "d_ff")

    def resolve(self, model):
        return replace(self, d_ff=self.d_ff or model.d_ff or 4 * model.d_model)

    def num_params(self, D, L):
        return 2 * D * (self.d_ff or 0)

    def flops(self, D, T, mask):
        return 2 * matmul_flops(T, D, self.d_ff)

    def check_mesh(self, shape):
        shape.check_divides("heads", {"d_ff": self.d_ff or 0})
