"""Experiments as frozen dataclasses: exactly what was asked for.

The machine is not here: mesh, devices and folders are launch arguments, so the same
experiment keeps its identity on a laptop and on a pod. `None` means "derive it", in
the property that carries the name with an answer.
"""

from dataclasses import dataclass, replace
from functools import cached_property

from attn.config.model import ModelConfig
from attn.config.train import TrainConfig
from attn.errors import UserError, require_positive
from attn.masks import Mask
from attn.objectives import Head
from attn.parallel.mesh import MeshShape
from attn.tasks import Task


@dataclass(frozen=True)
class Experiment:
    """One model on one task, trained once for each seed."""

    name: str
    claim: str
    """The sentence that the result will support or refute."""
    task: Task
    model: ModelConfig = ModelConfig()
    train: TrainConfig = TrainConfig()
    seeds: int = 3
    """Replicas: seed i has its own initialisation and its own order of the data."""
    first_seed: int = 0
    """The number of the first replica."""

    def __post_init__(self):
        require_positive(self, "seeds")
        if self.first_seed < 0:
            raise UserError(
                f"Experiment.first_seed = {self.first_seed}; it must be 0 or more"
            )
        name = self.name
        if not name or name in (".", "..") or set(name) & set("/\\\0"):
            raise UserError(
                f"experiment {name!r}: the name is that of its folder; rename it "
                "without slashes"
            )
        if not self.claim.strip():
            raise UserError(
                f"experiment {self.name!r} makes no claim; write the sentence"
            )
        objective = self.task.objective
        if self.model.causal and objective.causal:
            raise UserError(
                f"ModelConfig.causal = True: {self.task.name!r} makes a decoder, which is "
                "causal without it"
            )
        if self.model.encoder is not None and not objective.reads_source:
            raise UserError(
                f"ModelConfig.encoder_pattern = {self.model.encoder_pattern}: "
                f"{self.task.name!r} has no source for an encoder to read; leave it out"
            )
        T, S = self.lengths
        for name, least in (
            ("vocab_size", self.task.vocab_size),
            ("max_len", max(T, S)),
        ):
            value = getattr(self.model, name)
            if value is not None and value < least:
                raise UserError(
                    f"ModelConfig.{name} = {value} is below the {least} of "
                    f"{self.task.name!r}; leave it out, or give at least as much"
                )
        if self.model.attend_padding and not self.task.padded:
            raise UserError(
                f"ModelConfig.attend_padding = True: {self.task.name!r} has no padding; "
                "leave it out"
            )
        required = ("key_padding",) if self.task.padded else ()
        if objective.reads_source and self.model.encoder is None:
            # Padding lies between the source and the target that follows it.
            required = (*required, "positions")
        for layer in self.resolved_model.one_block:
            layer.check(self.mask, T, required, S)
        if self.model.encoder is not None:
            for layer in self.model.encoder.one_block:
                layer.check(self.model.encoder.mask, S, required)

    @property
    def lengths(self) -> tuple[int, int]:
        """Tokens that the model reads as one sequence, T, and its encoder's, S.

        A model without an encoder reads a source and its target as one sequence.
        """
        task = self.task
        if self.model.encoder is None:
            return task.document_len + task.source_len, 0
        return task.document_len, task.source_len

    @cached_property
    def resolved_model(self) -> ModelConfig:
        """The model with what the task decides: vocabulary, length, causality."""
        return replace(
            self.model,
            vocab_size=self.model.vocab_size or self.task.vocab_size,
            max_len=self.model.max_len or max(self.lengths),
            causal=self.model.causal or self.task.objective.causal,
        )

    @property
    def unnamed(self) -> "Experiment":
        """The experiment without what moves no number: name, claim, how often it saves."""
        train = replace(self.train, save_every=TrainConfig().save_every)
        return replace(self, name="_", claim="_", train=train)

    @property
    def seed_numbers(self) -> tuple[int, ...]:
        """The number of each replica."""
        return tuple(range(self.first_seed, self.first_seed + self.seeds))

    @property
    def head(self) -> Head:
        """The output head that the objective needs."""
        return self.task.objective.head(self.task.num_classes)

    @property
    def mask(self) -> Mask:
        """The mask of the model, before any pattern of the mechanism."""
        return self.resolved_model.mask

    def check_mesh(self, shape: MeshShape) -> None:
        """Raises `UserError` where the mesh does not divide the batch or a layer."""
        train = self.train
        shape.check_divides("data", {"batch_size": train.batch_size})
        part = {"batch_size / accumulate": train.batch_size // train.accumulate}
        shape.check_divides("data", part)
        T, S = self.lengths
        sequences = {"the sequence length": T, "the source's length": S}
        shape.check_divides("seq", {n: L for n, L in sequences.items() if L})
        self.resolved_model.check_mesh(shape, T, S)
