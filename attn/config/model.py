"""Transformers as plain data: the width, the layers, and how they are repeated."""

from dataclasses import dataclass, field, replace
from functools import cached_property
from typing import Literal

from attn.config.attention import Attention, HeadPositions
from attn.config.layers import MLP, Act, Bias, Layer
from attn.config.model_checks import check_layers, check_used
from attn.config.parts import Embedding, Norm
from attn.config.shorthand import layers_of
from attn.errors import UserError, require_choice, require_positive
from attn.kernels import Kernel, Softmax
from attn.masks import FULL, Causal, Mask
from attn.parallel.mesh import MeshShape
from attn.positions import RopeScaling

Positions = Literal["none", "learned", "sinusoidal", "rotary", "alibi", "t5"]
Dtype = Literal["float32", "bfloat16"]


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
    2023), and a query that is shown none gives 0. The mechanism must take a bias, here
    one of B N T S numbers a layer."""

    def __post_init__(self):
        sizes = "vocab_size max_len d_model repeats num_heads num_kv_heads head_dim"
        require_positive(self, *sizes.split())
        require_positive(self, "kv_rank", "rope_dim", "rope_base", "d_ff", "conv_width")
        require_positive(self, "encoder_repeats")
        for name in ("dropout", "attention_dropout"):
            share = getattr(self, name)
            if not 0 <= share < 1:
                raise UserError(f"ModelConfig.{name} = {share}; from 0 to below 1")
        require_choice(self, positions=Positions, dtype=Dtype, act=Act, bias=Bias)
        check_layers(self)
        check_used(self)

    @cached_property
    def unresolved(self) -> tuple[Layer, ...]:
        """The layers of the block, before open fields are resolved."""
        return layers_of(self)

    @property
    def has_encoder(self) -> bool:
        """Whether there are layers that read a source first."""
        return bool(self.encoder_pattern or self.encoder_block)

    @cached_property
    def encoder(self) -> "ModelConfig | None":
        """The encoder of an encoder-decoder, a model of its own but for the embedding."""
        if not self.has_encoder:
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
        return tuple(one.resolve(self) for one in self.unresolved)

    @property
    def layers(self) -> tuple[Layer, ...]:
        """All layers of the model, in order."""
        return self.one_block * self.repeats

    @property
    def attention_layers(self) -> tuple[Attention, ...]:
        """The attention layers of one block, in order."""
        return tuple(one for one in self.one_block if isinstance(one, Attention))

    def check_mesh(self, shape: MeshShape, T: int, S: int = 0) -> None:
        """Raises `UserError` where the mesh does not divide a layer on T tokens.

        Args:
            S: tokens of the encoder.
        """
        for layer in self.one_block:
            layer.check_mesh(shape, self.mask, T, S)
        if self.encoder is not None:
            self.encoder.check_mesh(shape, S)

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
