"""Transformers as plain data: the width, the layers, and how they are repeated."""

from copy import copy
from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal, get_args

from attn.config.attention import Attention, HeadPositions
from attn.config.latent import LatentAttention
from attn.config.layers import MLP, Act, Bias, Layer
from attn.config.parts import Embedding, Norm
from attn.config.shorthand import check_names, layers_of
from attn.errors import UserError, require_positive, unknown
from attn.kernels import Kernel, Softmax
from attn.masks import FULL, Causal, Mask
from attn.positions import RopeScaling

Positions = Literal["none", "learned", "sinusoidal", "rotary", "alibi", "t5"]
Dtype = Literal["float32", "bfloat16"]
CHOICES = {"positions": Positions, "dtype": Dtype, "act": Act, "bias": Bias}
READ_BY_LAYERS = {
    "num_heads": 1,
    "num_kv_heads": 1,
    "head_dim": 1,
    "kv_rank": 1,
    "rope_base": 1,
    "d_ff": 1,
    "conv_width": 1,
    "attention_dropout": 1,
    "act": "relu",
    "gated": False,
    "bias": "none",
    "qk_norm": False,
    "gate": False,
}
"""Fields that only layers read; another value, or what is added to a size for one."""


@dataclass(frozen=True)
class ModelConfig:
    """A transformer: a block of residual layers, repeated.

    Layers are written as names in `pattern`, or as specs in `block`, where each may
    have sizes and a mechanism of its own. Fields that a spec leaves open are taken from
    the model. With layers of an encoder too it is an encoder-decoder, whose
    `cross_attention` reads the encoder's states (Vaswani et al. 2017, section 3.1).
    """

    vocab_size: int | None = None
    """Different tokens, V; set by an experiment's task unless given."""
    max_len: int | None = None
    """Longest sequence of learned positions and learned projections, L; set by an
    experiment's task unless given."""
    d_model: int = 64
    """Width of the residual stream, D."""
    pattern: tuple[str, ...] = ("attention", "mlp")
    """Layers of the block by name: `attention` (which runs `kernel`),
    `cross_attention`, `short_conv`, `mlp`, or the name of a kernel, which then runs
    with its defaults."""
    block: tuple[Layer, ...] = ()
    """Layers of the block as specs (`attn.config`), in place of `pattern`."""
    repeats: int = 2
    """How many times the block is repeated."""
    encoder_pattern: tuple[str, ...] = ()
    """Layers of the encoder's block by name; none makes a model without an encoder."""
    encoder_block: tuple[Layer, ...] = ()
    """Layers of the encoder's block as specs, in place of `encoder_pattern`."""
    encoder_repeats: int | None = None
    """How many times the encoder's block is repeated; `repeats` unless given."""
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
    """Channels of each head that rotary positions rotate, all unless given; with a
    latent those beside a head, default H / 2, made even."""
    rope_base: float = 10_000.0
    """Base of the rotary frequencies."""
    rope_scaling: RopeScaling | None = None
    """How rotary frequencies are changed for longer sequences."""
    qk_norm: bool = False
    """Whether `attention` layers normalise queries and keys."""
    gate: bool = False
    """Whether `attention` layers gate their heads' outputs."""
    bias: Bias = "none"
    """Layers that add a bias: none, projections to heads (`qkv`), or all linear maps of
    `attention` and `mlp`."""
    d_ff: int | None = None
    """Hidden width of `mlp`, F; 4 `d_model` unless given."""
    act: Act = "gelu_tanh"
    """Activation function of `mlp`."""
    gated: bool = False
    """Whether a second product gates the activations of `mlp`."""
    norm: Norm = Norm()
    """The normalisation of states."""
    embedding: Embedding = Embedding()
    """The maps from tokens to vectors, and from states to logits."""
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
    remat: bool = False
    """Whether the backward pass computes each layer again, and keeps its input alone."""
    attention_dropout: float = 0.0
    """Share of the keys that each query of an `attention` layer is not shown in a
    training step; what it sees still has weights that sum to 1 (DropKey, Li et al.
    2023). The mechanism must take a bias."""

    def __post_init__(self):
        sizes = "vocab_size max_len d_model repeats num_heads num_kv_heads head_dim"
        require_positive(self, *sizes.split())
        require_positive(self, "kv_rank", "rope_dim", "rope_base", "d_ff", "conv_width")
        require_positive(self, "encoder_repeats")
        for name in ("dropout", "attention_dropout"):
            share = getattr(self, name)
            if not 0 <= share < 1:
                raise UserError(f"ModelConfig.{name} = {share}; from 0 to below 1")
        for name, names in CHOICES.items():
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
        check_names("pattern", self.pattern)
        check_names("encoder_pattern", self.encoder_pattern)
        self._check_encoder()
        own = [one for one in self._unresolved if isinstance(one, Attention)]
        if self.kernel != Softmax() and all(one.kernel is not None for one in own):
            raise UserError(
                f"ModelConfig.kernel = {self.kernel} has no 'attention' layer to run it: "
                f"pattern = {self.pattern}"
            )

    def _check_encoder(self):
        """Raises `UserError` for an encoder that is not read, or is read and not there."""
        if self.encoder_block and self.encoder_pattern:
            raise UserError(
                "ModelConfig.encoder_block and encoder_pattern both say what the encoder's "
                "layers are; give one"
            )
        crosses = [
            isinstance(one, Attention) and one.crosses for one in layers_of(self)
        ]
        if any(crosses) and not self._has_encoder:
            raise UserError(
                "ModelConfig has cross_attention and no encoder for it to read; give "
                "encoder_pattern, as in encoder_pattern = ('attention', 'mlp')"
            )
        if self._has_encoder and not any(crosses):
            raise UserError(
                f"ModelConfig.encoder_pattern = {self.encoder_pattern} makes an encoder that "
                "no layer reads; put cross_attention into pattern"
            )
        if self.encoder_repeats and not self._has_encoder:
            raise UserError(
                f"ModelConfig.encoder_repeats = {self.encoder_repeats} repeats nothing; give "
                "encoder_pattern"
            )

    def _check_used(self):
        """Raises `UserError` for layers that do not fit, or a field that none uses."""
        self.encoder  # noqa: B018 - an encoder that cannot be made is told now
        own = self.attention_layers
        rotated = [x for x in own if x.rotary]
        all_latent = own and all(isinstance(x, LatentAttention) for x in own)
        if self.num_kv_heads is not None and all_latent:
            raise UserError(
                f"ModelConfig.kv_rank = {self.kv_rank} makes keys and values for every "
                f"head; leave out num_kv_heads = {self.num_kv_heads}"
            )
        for name in ("rope_dim", "rope_scaling"):
            if getattr(self, name) is not None and not rotated:
                raise UserError(
                    f"ModelConfig.{name} = {getattr(self, name)} rotates nothing: it needs "
                    "positions = 'rotary', and a kernel that compares queries with keys"
                )

    def require_read(self, name: str) -> None:
        """Raises `UserError` for a field that was chosen and that no layer reads."""
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
        """Whether another value of a field would make other layers."""
        other, value, step = copy(self), getattr(self, name), READ_BY_LAYERS[name]
        is_size = not isinstance(value, bool | str)
        object.__setattr__(other, name, value + step if is_size else step)
        every = [self] if self.encoder is None else [self, self.encoder]
        try:
            return any(
                tuple(one.resolve(other) for one in each._unresolved) != each.one_block
                for each in every
            )
        except UserError:  # a layer reads it, and cannot take that value
            return True

    @property
    def _unresolved(self) -> tuple[Layer, ...]:
        """The layers of the block, before open fields are resolved."""
        return layers_of(self)

    @property
    def _has_encoder(self) -> bool:
        return bool(self.encoder_pattern or self.encoder_block)

    @cached_property
    def encoder(self) -> "ModelConfig | None":
        """The encoder of an encoder-decoder, a model of its own but for the embedding."""
        if not self._has_encoder:
            return None
        return replace(
            self,
            pattern=self.encoder_pattern or ("attention", "mlp"),
            block=self.encoder_block,
            repeats=self.encoder_repeats or self.repeats,
            encoder_pattern=(),
            encoder_block=(),
            encoder_repeats=None,
            causal=False,
        )

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
