"""The whole of an experiment, as frozen dataclasses: what was asked, and nothing else.

The machine is not here: mesh, devices and folders are launch arguments, so the same
experiment keeps its identity on a laptop and on a pod. `None` means "derive it", in
the property that carries the name with an answer.
"""

from dataclasses import dataclass

from attn.config.model import ModelConfig
from attn.config.train import TrainConfig
from attn.errors import UserError, require_positive
from attn.masks import FULL, Causal, Mask
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

    def __post_init__(self):
        require_positive(self, "seeds")
        if not self.claim.strip():
            raise UserError(
                f"experiment {self.name!r} makes no claim; write the sentence"
            )
        if self.model.causal and self.task.kind == "decoder":
            raise UserError(
                f"ModelConfig.causal = True: {self.task.name!r} makes a decoder, which is "
                "causal without it"
            )
        for layer in self.model.pattern:
            kernel = self.model.kernel_of(layer)
            if kernel is not None:
                if self.mask == FULL and kernel.can.isdisjoint({"bidirectional", "any_mask"}):  # fmt: skip
                    raise UserError(
                        f"kernel {kernel.name!r} looks back alone, and {self.task.name!r} "
                        "makes an encoder; ModelConfig.causal = True (--model.causal) "
                        "makes its tokens look back"
                    )
                kernel.check(
                    self.mask,
                    self.task.seq_len,
                    self.task.seq_len,
                    {"key_padding"} if self.task.padded else (),
                )
                kernel.check_length(self.task.seq_len)
                width = self.model.key_width(kernel)
                kernel.check_head(width, self.model.head_width)

    @property
    def mask(self) -> Mask:
        """What a query may see before the kernel has its say."""
        causal = self.task.kind == "decoder" or self.model.causal
        return Causal() if causal else FULL
