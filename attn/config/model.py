"""Transformers as plain data: the width, the layers, and how they are repeated."""

from copy import copy
from dataclasses import dataclass, field
from functools import cached_property
from typing import Literal, get_args

from attn.config.attention import Attention, HeadPositions, LatentAttention
from attn.config.layers import MLP, Layer, ShortConv
from attn.errors import UserError, require_positive, unknown
from attn.kernels import KERNELS, Kernel, Softmax
from attn.masks import FULL, Causal, Mask

Positions = Literal["none", "learned", "sinusoidal", "rotary", "alibi", "t5"]
Dtype = Literal["float32", "bfloat16"]
READ_BY_LAYERS = (
    "num_heads",
    "num_kv_heads",
    "head_dim",
    "kv_rank",
    "rope_base",
    "d_ff",
    "conv_width",
    "attention_dropout",
)
"""Fields that only layers read."""
LAYERS: dict[str, type[Layer]] = {
    layer.name: layer for layer in (Attention, LatentAttention, ShortConv, MLP)
}
"""Every kind of layer by its name."""


@dataclass(frozen=True)
class ModelConfig:
    """A transformer: a block of residual layers, repeated.

    Layers are written as names in `pattern`, or as specs in `block`, where each may
    have sizes and a mechanism of its own. Fields that a spec leaves open are taken from
    the model.
    """

    vocab_size: int | None = None
    """Different tokens, V; set by an experiment's task unless given."""
    max_len: int | None = None
    """Longest sequence of learned positions and learned projections, L; set by an
    experiment's task unless given."""
    d_model: int = 64
    """Width of the residual stream, D."""
    pattern: tuple[str, ...] = ("attention", "mlp")
    """Layers of the block by name: `attention` (which runs `kernel`), `short_conv`,
    `mlp`, or the name of a kernel, which then runs with its defaults."""
    block: tuple[Layer, ...] = ()
    """Layers of the block as specs (`attn.config`), in place of `pattern`."""
    repeats: int = 2
    """How many times the block is repeated."""
    num_heads: int = 4
    """Query heads, N."""
    num_kv_heads: int | None = None
    """Key and value heads, K; `num_heads` unless given. 1 is multi-query attention."""
    head_dim: int | None = None
    """Width of a head, H; `d_model / num_heads` unless given."""
    kv_rank: int | None = None
    """Width of the latent that keys and values are made from, R (multi-head latent
    attention); unless given, they are made from the layer's input."""
    rope_dim: int | None = None
    """Channels that rotary positions rotate beside a head, with a latent; default H /
    2, made even."""
    rope_base: float = 10_000.0
    """Base of the rotary frequencies."""
    d_ff: int | None = None
    """Hidden width of `mlp`, F; 4 `d_model` unless given."""
    kernel: Kernel = field(default_factory=Softmax)
    """The mechanism of `attention` layers."""
    positions: Positions = "rotary"
    """Positions as a vector added to tokens (learned, sinusoidal), as a rotation of
    queries and keys (rotary) or as a bias of the scores (alibi, t5)."""
    causal: bool = False
    """Whether a token sees only those before it; always true in a decoder."""
    attend_padding: bool = False
    """Whether layers take padding for tokens, as the linear and low-rank mechanisms of Long
    Range Arena did; it is not read out. For ablations: no other padding is ever seen."""
    attention_impl: str = "auto"
    """One of the kernel's implementations, with no fallback; or auto."""
    conv_width: int = 3
    """Tokens that a `short_conv` mixes, its own included."""
    dtype: Dtype = "float32"
    """Dtype of activations; parameters, softmax and loss are float32."""
    dropout: float = 0.0
    """Share of each residual update that is dropped in training."""
    attention_dropout: float = 0.0
    """Share of the keys that each query of an `attention` layer is not shown in a
    training step; what it sees still has weights that sum to 1 (DropKey, Li et al.
    2023). The mechanism must take a bias."""

    def __post_init__(self):
        sizes = "vocab_size max_len d_model repeats num_heads num_kv_heads head_dim"
        require_positive(self, *sizes.split())
        require_positive(self, "kv_rank", "rope_dim", "rope_base", "d_ff", "conv_width")
        for name in ("dropout", "attention_dropout"):
            share = getattr(self, name)
            if not 0 <= share < 1:
                raise UserError(f"ModelConfig.{name} = {share}; from 0 to below 1")
        for name, names in (("positions", Positions), ("dtype", Dtype)):
            if getattr(self, name) not in get_args(names):
                raise unknown(
                    f"ModelConfig.{name}", getattr(self, name), get_args(names)
                )
        self._check_pattern()
        self._check_used()

    def _check_pattern(self):
        if self.block and self.pattern != ("attention", "mlp"):
            raise UserError(
                f"ModelConfig.block and pattern = {self.pattern} both say what the "
                "layers are; give one"
            )
        if not self.pattern:
            raise UserError("ModelConfig.pattern is empty; it needs a layer")
        for name in self.pattern:
            if name not in SHORTHAND and name not in KERNELS:
                raise _unknown_layer(name)
        own = [one for one in self._unresolved if isinstance(one, Attention)]
        if self.kernel != Softmax() and all(one.kernel is not None for one in own):
            raise UserError(
                f"ModelConfig.kernel = {self.kernel} has no 'attention' layer to run it: "
                f"pattern = {self.pattern}"
            )

    def _check_used(self):
        """Raises `UserError` for layers that do not fit, or a field that none uses."""
        own = self.attention_layers
        latent = [x for x in own if isinstance(x, LatentAttention) and x.rotary]
        all_latent = own and all(isinstance(x, LatentAttention) for x in own)
        if self.num_kv_heads is not None and all_latent:
            raise UserError(
                f"ModelConfig.kv_rank = {self.kv_rank} makes keys and values for every "
                f"head; leave out num_kv_heads = {self.num_kv_heads}"
            )
        if self.rope_dim is not None and not latent:
            raise UserError(
                f"ModelConfig.rope_dim = {self.rope_dim} rotates nothing: it needs a "
                "kv_rank, positions = 'rotary', and a kernel that compares queries with "
                "keys"
            )

    def require_read(self, name: str) -> None:
        """Raises `UserError` for a size that was chosen and that no layer reads."""
        value = getattr(self, name)
        if name not in READ_BY_LAYERS or value is None:
            return
        if not self._is_read(name):
            layers = [one.name for one in self.one_block]
            raise UserError(
                f"ModelConfig.{name} = {value} is read by no layer of {layers}; leave "
                "it out"
            )

    def _is_read(self, name: str) -> bool:
        """Whether another value of a size would make another block."""
        other = copy(self)
        object.__setattr__(other, name, getattr(self, name) + 1)
        try:
            return (
                tuple(one.resolve(other) for one in self._unresolved) != self.one_block
            )
        except UserError:  # a layer reads it, and cannot take that value
            return True

    @property
    def _unresolved(self) -> tuple[Layer, ...]:
        """The layers of the block, before open fields are resolved."""
        return self.block or tuple(map(self._layer_called, self.pattern))

    def _layer_called(self, name: str) -> Layer:
        attention = Attention if self.kv_rank is None else LatentAttention
        if name in KERNELS:
            return attention(kernel=KERNELS[name]())
        return attention() if name == "attention" else SHORTHAND[name]()

    @cached_property
    def one_block(self) -> tuple[Layer, ...]:
        """The layers of one block, with all sizes resolved."""
        return tuple(one.resolve(self) for one in self._unresolved)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All layers of the model, in order."""
        return self.one_block * self.repeats

    @property
    def attention_layers(self) -> tuple[Attention, ...]:
        """The attention layers of one block, in order."""
        return tuple(one for one in self.one_block if isinstance(one, Attention))

    @property
    def sizes(self) -> dict[str, int | None]:
        """Sizes of the first attention layer and the first MLP, as tables show them."""
        N, K, H = next((one.sizes for one in self.attention_layers), (None,) * 3)
        d_ff = next((one.d_ff for one in self.one_block if isinstance(one, MLP)), None)
        return {"num_heads": N, "num_kv_heads": K, "head_dim": H, "d_ff": d_ff}

    @property
    def head_positions(self) -> HeadPositions:
        """The part of `positions` that attention layers handle."""
        if self.positions in ("rotary", "alibi", "t5"):
            return self.positions
        return "none"

    @property
    def mask(self) -> Mask:
        """The mask of the model, before any pattern of the mechanism."""
        return Causal() if self.causal else FULL


SHORTHAND: dict[str, type[Layer]] = {
    name: layer for name, layer in LAYERS.items() if layer is not LatentAttention
}
"""Layers by the names that `ModelConfig.pattern` may hold beside those of kernels."""
OTHER_NAMES = {
    "mlp": ("ffn", "ff", "feedforward", "feed_forward", "dense", "swiglu"),
    "attention": ("attn", "mha", "self_attention", "multi_head"),
    "short_conv": ("conv", "convolution", "conv1d"),
}
"""What others call these layers; they are offered and not taken."""


def _unknown_layer(name: str) -> UserError:
    what = "layer in ModelConfig.pattern"
    for ours, theirs in OTHER_NAMES.items():
        if name.lower().replace("-", "_") in theirs:
            return UserError(f"unknown {what} {name!r}; did you mean {ours!r}?")
    return unknown(what, name, [*SHORTHAND, *KERNELS])
