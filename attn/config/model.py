"""A transformer as plain data: its width, its layers and how they are repeated."""

from dataclasses import dataclass, field
from typing import Literal, get_args

from attn.errors import UserError, require_positive, unknown
from attn.kernels import KERNELS, Kernel, Softmax

LAYERS = ("attention", "short_conv", "mlp")
Positions = Literal["none", "learned", "sinusoidal", "rotary"]
Dtype = Literal["float32", "bfloat16"]


@dataclass(frozen=True)
class ModelConfig:
    """A transformer: a pattern of residual layers, repeated."""

    d_model: int = 64
    """Width of the residual stream, D."""
    pattern: tuple[str, ...] = ("attention", "mlp")
    """Layers in order: `attention` (which runs `kernel`), `short_conv`, `mlp`, or the
    name of a kernel, which then runs with its defaults."""
    repeats: int = 2
    """How many times the pattern stands on itself."""
    num_heads: int = 4
    """Query heads, N."""
    num_kv_heads: int | None = None
    """Key and value heads, K; `num_heads` unless given. 1 is multi-query attention."""
    head_dim: int | None = None
    """Width of a head, H; `d_model / num_heads` unless given."""
    kv_rank: int | None = None
    """Width of the latent that keys and values are made from, R (multi-head latent
    attention); made from the layer's input unless given."""
    rope_dim: int | None = None
    """Width of what rotary positions turn beside a head, where keys come from a latent;
    H / 2, made even, unless given."""
    d_ff: int | None = None
    """Hidden width of `mlp`, F; 4 `d_model` unless given."""
    kernel: Kernel = field(default_factory=Softmax)
    """What `attention` layers run."""
    positions: Positions = "rotary"
    """How a token knows its place."""
    causal: bool = False
    """Whether an encoder's tokens see only those before them, as recurrences must."""
    attention_impl: str = "auto"
    """Of the kernel's implementations; a named one never falls back."""
    conv_width: int = 3
    """Tokens that a `short_conv` sees, its own included."""
    dtype: Dtype = "float32"
    """Of activations; parameters, softmax and loss are float32."""
    dropout: float = 0.0
    """Share of each residual update that is dropped in training."""

    def __post_init__(self):
        require_positive(
            self, "d_model", "repeats", "num_heads", "num_kv_heads", "head_dim"
        )
        require_positive(self, "kv_rank", "rope_dim", "d_ff", "conv_width")
        if not 0 <= self.dropout < 1:
            raise UserError(f"ModelConfig.dropout = {self.dropout}; from 0 to below 1")
        for name, names in (("positions", Positions), ("dtype", Dtype)):
            if getattr(self, name) not in get_args(names):
                raise unknown(
                    f"ModelConfig.{name}", getattr(self, name), get_args(names)
                )
        self._check_pattern()
        self._check_heads()
        self._check_latent()

    def _check_pattern(self):
        if not self.pattern:
            raise UserError("ModelConfig.pattern is empty; it needs a layer")
        for name in self.pattern:
            if name not in LAYERS and name not in KERNELS:
                raise unknown("layer in ModelConfig.pattern", name, [*LAYERS, *KERNELS])
            kernel = self.kernel_of(name)
            ways = (
                ()
                if kernel is None
                else ("auto", *kernel.implementations, *kernel.backends)
            )
            if ways and self.attention_impl not in ways:
                raise unknown(
                    f"ModelConfig.attention_impl of {name!r}", self.attention_impl, ways
                )
        if "attention" not in self.pattern and self.kernel != Softmax():
            raise UserError(
                f"ModelConfig.kernel = {self.kernel} has no 'attention' layer to run it: "
                f"pattern = {self.pattern}"
            )

    def _check_heads(self):
        if self.head_dim is None and self.d_model % self.num_heads:
            raise UserError(
                f"ModelConfig.num_heads = {self.num_heads} does not divide d_model = "
                f"{self.d_model}; choose a divisor, or give head_dim"
            )
        if self.num_heads % self.kv_heads:
            raise UserError(
                f"ModelConfig.num_kv_heads = {self.kv_heads} does not divide "
                f"num_heads = {self.num_heads}"
            )
        if self.positions == "rotary" and self.kv_rank is None and self.head_width % 2:
            raise UserError(
                f"head_dim = {self.head_width} is odd, and rotary positions turn pairs; "
                "choose an even head_dim, or other positions"
            )

    def _check_latent(self):
        rope, rank = self.rope_dim, self.kv_rank
        kernels = [k for k in map(self.kernel_of, self.pattern) if k is not None]
        turns = rank is not None and self.positions == "rotary"
        if rope is not None and not (turns and any(k.rotates for k in kernels)):
            raise UserError(
                f"ModelConfig.rope_dim = {rope} turns nothing: it needs a kv_rank, "
                "positions = 'rotary', and a kernel that compares queries with keys"
            )
        if rope is not None and rope % 2:
            raise UserError(
                f"ModelConfig.rope_dim = {rope} is odd, and rotary positions turn pairs"
            )
        if rank is None:
            return
        if self.num_kv_heads is not None:
            raise UserError(
                f"ModelConfig.kv_rank = {rank} makes keys and values for every head; "
                f"leave out num_kv_heads = {self.num_kv_heads}"
            )
        for kernel in kernels:
            if kernel.reads != frozenset("qkv"):
                raise UserError(
                    f"ModelConfig.kv_rank = {rank} makes keys and values to compare "
                    f"with queries; kernel {kernel.name!r} reads "
                    f"{', '.join(sorted(kernel.reads))} alone"
                )

    def rope_width(self, kernel: Kernel) -> int:
        """Channels beside the H that rotary positions turn for this kernel, U."""
        if self.kv_rank is None or self.positions != "rotary" or not kernel.rotates:
            return 0
        return self.rope_dim or max(2, self.head_width // 4 * 2)

    def key_width(self, kernel: Kernel) -> int:
        """Width of the queries and keys that a layer makes for this kernel."""
        return self.head_width + self.rope_width(kernel)

    @property
    def kv_heads(self) -> int:
        """Key and value heads, K."""
        return self.num_heads if self.num_kv_heads is None else self.num_kv_heads

    @property
    def head_width(self) -> int:
        """Width of a head, H."""
        return (
            self.d_model // self.num_heads if self.head_dim is None else self.head_dim
        )

    @property
    def hidden_width(self) -> int:
        """Hidden width of `mlp`, F."""
        return 4 * self.d_model if self.d_ff is None else self.d_ff

    @property
    def layers(self) -> tuple[str, ...]:
        """Every layer of the model, first to last."""
        return self.pattern * self.repeats

    def kernel_of(self, layer: str) -> Kernel | None:
        """The kernel that a layer of this name runs; None where it is no attention."""
        if layer == "attention":
            return self.kernel
        return KERNELS[layer]() if layer in KERNELS else None
