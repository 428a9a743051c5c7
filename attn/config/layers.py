"""Layers of a transformer as plain data: sizes, parameters, costs and mesh limits.

A field that is None is the model's own (`ModelConfig`), and `resolve` fills it in. All
other methods need a resolved layer. D is the width of the residual stream, T the length
of a sequence, S that of the encoder's, L the longest one that the model is made for.
"""

from dataclasses import dataclass, replace
from typing import TYPE_CHECKING, ClassVar, Literal

from attn.errors import UserError, require_choice, require_positive
from attn.kernels.base import matmul_flops
from attn.masks import Mask
from attn.parallel.mesh import MeshShape

if TYPE_CHECKING:
    from attn.config.model import ModelConfig

Act = Literal["gelu_tanh", "gelu", "relu", "silu"]
"""Activation functions of an MLP; `gelu_tanh` is the approximation by tanh."""
Bias = Literal["none", "qkv", "all"]
"""Layers that add a bias: none, projections to heads, or every linear map."""


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

    def flops(self, D: int, T: int, mask: Mask, S: int = 0) -> float:
        """Matmul FLOPs of one sequence, forward."""
        raise NotImplementedError

    def state_size(self, D: int, T: int, S: int = 0) -> int:
        """Numbers kept after T tokens to decode the next one."""
        return 0

    @property
    def state_is_float32(self) -> bool:
        """Whether its decoding state is float32 whatever the model's dtype."""
        return False

    def check_mesh(self, shape: MeshShape, mask: Mask, T: int, S: int = 0) -> None:
        """Raises `UserError` where the mesh does not divide the layer on T tokens."""

    def check(
        self, mask: Mask, T: int, required: tuple[str, ...] = (), S: int = 0
    ) -> None:
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

    def flops(self, D, T, mask, S=0):
        return matmul_flops(T, D, D + (self.width or 0))

    def state_size(self, D, T, S=0):
        return ((self.width or 1) - 1) * D

    def check(self, mask, T, required=(), S=0):
        if "positions" in required:
            raise UserError(
                "a short_conv mixes neighbours, and padding lies between a source and what "
                "a decoder alone writes after it; leave it out, or give encoder_pattern"
            )


@dataclass(frozen=True)
class MLP(Layer):
    """A two-layer MLP, act(x W) W': Vaswani et al. 2017, section 3.3.

    Gated, it is (act(x W) * (x U)) W' (Shazeer 2020, GLU variants).
    """

    name = "mlp"

    d_ff: int | None = None
    """Hidden width, F."""
    act: Act | None = None
    """The activation function."""
    gated: bool | None = None
    """Whether a second product gates the activations."""
    bias: Bias | None = None
    """Whether there are biases: where it is `all`."""

    def __post_init__(self):
        require_positive(self, "d_ff")
        require_choice(self, act=Act, bias=Bias)

    def resolve(self, model):
        return replace(
            self,
            d_ff=self.d_ff or model.d_ff or 4 * model.d_model,
            act=self.act or model.act,
            gated=model.gated if self.gated is None else self.gated,
            bias=self.bias or ("all" if model.bias == "all" else "none"),
        )

    @property
    def products(self) -> int:
        """The number of its weight matrices."""
        return 3 if self.gated else 2

    def num_params(self, D, L):
        F = self.d_ff or 0
        biases = (self.products - 1) * F + D if self.bias == "all" else 0
        return self.products * D * F + biases

    def flops(self, D, T, mask, S=0):
        return self.products * matmul_flops(T, D, self.d_ff)

    def check_mesh(self, shape, mask, T, S=0):
        shape.check_divides("heads", {"d_ff": self.d_ff or 0})
