"""A family's table applied: the tensors that a checkpoint must have, and their weights."""

import re
from collections.abc import Iterator
from dataclasses import dataclass
from math import prod

import numpy as np

from attn.config import ModelConfig
from attn.config.attention import T5_BUCKETS
from attn.errors import UserError
from attn.pretrained.checkpoint import Checkpoint
from attn.pretrained.families.base import Family, Tensor

FLOATS = ("F64", "F32", "F16", "BF16")
"""The dtypes of weights, as safetensors names them."""
Sizes = dict[str, int]
"""The size of each dimension by its letter."""


@dataclass(frozen=True)
class Source:
    """The tensor that a weight is made from."""

    name: str
    """Its name in the checkpoint."""
    tensor: Tensor
    sizes: Sizes

    @property
    def axes(self) -> list[str]:
        """The axes of the weight."""
        return self.tensor.dims.partition("->")[2].split()

    @property
    def groups(self) -> list[list[str]]:
        """The axes of the tensor, each with the dimensions that are flattened in it."""
        there = self.tensor.dims.partition("->")[0]
        return [
            (many or one).split() for many, one in re.findall(r"\((.+?)\)|(\S+)", there)
        ]

    def size(self, letter: str) -> int:
        """The size of a dimension; a digit is its own."""
        return int(letter) if letter.isdecimal() else self.sizes[letter]

    @property
    def shape(self) -> tuple[int, ...]:
        """The shape that the tensor must have."""
        first, *rest = (prod(map(self.size, group)) for group in self.groups)
        return first + self.tensor.skip, *rest

    def convert(self, x: np.ndarray) -> np.ndarray:
        """Makes the weight from the tensor."""
        letters = [letter for group in self.groups for letter in group]
        x = x[self.tensor.skip :].reshape([self.size(letter) for letter in letters])
        if self.tensor.part is not None:
            x = x.take(self.tensor.part, axis=letters.index("3"))
            letters.remove("3")
        x = x.transpose([letters.index(letter) for letter in self.axes])
        # In float32, where 1 + w of 16 bits would be rounded.
        return x.astype(np.float32) + self.tensor.plus if self.tensor.plus else x


def sources(
    family: Family, model: ModelConfig, checkpoint: Checkpoint
) -> dict[str, Source]:
    """The source of each weight by its path.

    Raises:
        UserError: a tensor is missing, has another shape, or belongs to no weight.
    """
    sizes = sizes_of(model)
    there = {family.called(name): name for name in checkpoint.shapes}
    found, needed = {}, set()
    for name, path, tensor in rows(family, model):
        if name not in there:
            raise UserError(
                f"{checkpoint.path} lacks the tensor {name}; its config.json tells of one"
            )
        needed.add(name)
        found[path] = source = Source(there[name], tensor, sizes)
        _check_tensor(source, checkpoint)
    for name in sorted(there.keys() - needed):
        _check_extra(name, there, family, checkpoint)
    return found


def _check_tensor(source: Source, checkpoint: Checkpoint) -> None:
    """Raises `UserError` for a tensor of another shape, or of integers."""
    name = source.name
    what = f"{checkpoint.path}: tensor {name}"
    shape, dtype = checkpoint.shapes[name], checkpoint.dtype(name)
    if shape != source.shape:
        raise UserError(
            f"{what} has shape {shape}, and its config.json tells of {source.shape}"
        )
    if dtype not in FLOATS:
        raise UserError(
            f"{what} is {dtype}, and weights are {', '.join(FLOATS)}; convert them"
        )


def _check_extra(
    name: str, there: dict[str, str], family: Family, checkpoint: Checkpoint
) -> None:
    """Raises `UserError` for a tensor that is neither known as unused nor a copy."""
    if any(re.fullmatch(pattern, name) for pattern in family.unused):
        return
    if name not in family.copies:
        raise UserError(
            f"{checkpoint.path} holds the tensor {there[name]}, which its family has no "
            "place for; is its model_type right?"
        )
    of = there[family.copies[name]]
    if not np.array_equal(checkpoint.read(there[name]), checkpoint.read(of)):
        raise UserError(
            f"{checkpoint.path}: tensor {there[name]} differs from {of}, and its "
            "config.json ties them; set tie_word_embeddings to false"
        )


def rows(family: Family, model: ModelConfig) -> Iterator[tuple[str, str, Tensor]]:
    """Yields every tensor of a model's checkpoint: its name, our path, its table's row."""
    for tensor in family.once:
        if tensor.when(model):
            yield tensor.theirs, tensor.ours, tensor
    for stack in family.stacks:
        layers = (model.encoder or model if stack.encoder else model).layers
        n = len(stack.kinds)
        for i in range(len(layers) // n):
            here = {kind: f"layers/{n * i + j}" for j, kind in enumerate(stack.kinds)}
            for tensor in stack.tensors:
                if tensor.when(model):
                    path = tensor.ours.format(**here)
                    yield tensor.theirs.format(i=i), path, tensor


def sizes_of(model: ModelConfig) -> Sizes:
    """The sizes of a model's weights by their letters; R buckets, S kinds of tokens."""
    N, K, H = model.attention_layers[0].sizes
    return {
        "V": model.vocab_size or 0,
        "L": model.max_len or 0,
        "D": model.d_model,
        "F": model.sizes["d_ff"] or 0,
        "N": N,
        "K": K,
        "H": H,
        "R": T5_BUCKETS,
        "S": model.embedding.num_types,
    }
