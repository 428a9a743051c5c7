"""A family of checkpoints as data: its config's keys, and its tensors' names and axes."""

from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Any, Literal, NamedTuple

from attn.config import ModelConfig

REQUIRED = object()
"""The default of a config key that has none."""


class Nullable(NamedTuple):
    """A config key that may be null: the type of its other values, and its default."""

    kind: type
    default: Any = None


Values = dict[str, Any]
"""What a config says, with defaults filled in."""


@dataclass(frozen=True)
class Tensor:
    """A tensor of a checkpoint, and the weight here that is made from it."""

    theirs: str
    """Its name, without the family's prefix; `{i}` is the number of the layer."""
    ours: str
    """The path of the weight; a layer of a stack is `{its kind}`, as in `{mlp}`."""
    dims: str
    """Axes there and here: `(N H) D -> D N H` divides the first and moves the last."""
    part: int | None = None
    """The index along the axis `3` of a tensor that holds q, k and v."""
    skip: int = 0
    """Leading rows that are left out."""
    plus: float = 0.0
    """A number that is added to it."""
    when: Callable[[ModelConfig], bool] = lambda model: True
    """Whether a checkpoint of a model has this tensor."""


@dataclass(frozen=True)
class Stack:
    """Layers that a checkpoint numbers from 0, each of which is several layers here."""

    kinds: tuple[str, ...]
    """The layers here that one of theirs is, in order."""
    tensors: tuple[Tensor, ...]
    encoder: bool = False
    """Whether it is the encoder of an encoder-decoder."""


@dataclass(frozen=True)
class Keys:
    """The keys of a config: those that are read, held to a value, or change nothing.

    Any other is refused.
    """

    read: Values
    """Keys that the model is made from, with the value that stands for an absent one."""
    only: dict[str, tuple] = field(default_factory=dict)
    """Keys that would change the mathematics, with the values that do not."""
    unread: str = ""
    """Keys that change nothing that is computed here, by spaces."""


@dataclass(frozen=True)
class Family:
    """A family: how its config is read, and where each of its tensors goes."""

    kind: Literal["encoder", "decoder", "encoder-decoder"]
    keys: Keys
    model: Callable[[Values], ModelConfig]
    """Makes the model's config; `Values` has every key of `keys.read`."""
    once: tuple[Tensor, ...]
    """Tensors outside the numbered layers."""
    stacks: tuple[Stack, ...]
    prefix: str = ""
    """What all names begin with in a checkpoint with a head, and not in one without."""
    copies: dict[str, str] = field(default_factory=dict)
    """Names of tensors that may be there once more, and must then be equal."""
    unused: tuple[str, ...] = ()
    """Patterns of tensors that no output here needs."""
    older: dict[str, str] = field(default_factory=dict)
    """Ends of names in older checkpoints, by what they are now."""

    def called(self, name: str) -> str:
        """The name of a checkpoint's tensor in the tables."""
        name = name.removeprefix(self.prefix)
        for old, new in self.older.items():
            if name.endswith(old):
                return name.removesuffix(old) + new
        return name


def untied(model: ModelConfig) -> bool:
    """Whether logits have a table of their own."""
    return not model.embedding.tied


def matrix(theirs: str, ours: str, outputs: str, inputs: str) -> tuple[Tensor, ...]:
    """The weight of a linear map without a bias, held there as [outputs, inputs]."""
    dims = f"({outputs}) ({inputs}) -> {inputs} {outputs}"
    return (Tensor(f"{theirs}.weight", ours, dims),)


def linear(theirs: str, ours: str, outputs: str, inputs: str) -> tuple[Tensor, ...]:
    """The weight and the bias of a linear map."""
    bias = Tensor(f"{theirs}.bias", f"{ours}_bias", f"({outputs}) -> {outputs}")
    return (*matrix(theirs, ours, outputs, inputs), bias)


def layer_norm(theirs: str, ours: str) -> tuple[Tensor, ...]:
    """The scale and the bias of a layer norm."""
    return (
        Tensor(f"{theirs}.weight", f"{ours}/scale", "D -> D"),
        Tensor(f"{theirs}.bias", f"{ours}/bias", "D -> D"),
    )


def rms_norm(theirs: str, ours: str, plus: float = 0.0) -> tuple[Tensor, ...]:
    """The scale of an RMS norm; `plus` is added to it."""
    return (Tensor(f"{theirs}.weight", f"{ours}/scale", "D -> D", plus=plus),)
