"""Races of whole models as data: greedy generation, and steps of training."""

from collections.abc import Mapping
from dataclasses import asdict, dataclass
from typing import Any, ClassVar

from attn.config import Experiment
from attn.errors import require_positive


@dataclass(frozen=True)
class Llama:
    """The sizes of a LLaMA with random weights, in the words of its config.json."""

    vocab_size: int = 4096
    hidden_size: int = 256
    intermediate_size: int = 688
    num_hidden_layers: int = 4
    num_attention_heads: int = 4
    num_key_value_heads: int = 2
    max_position_embeddings: int = 512

    def __post_init__(self):
        require_positive(self, *asdict(self))

    @property
    def config(self) -> dict[str, Any]:
        """The content of config.json: a LLaMA with tied embeddings and no end token."""
        return {
            **asdict(self),
            "model_type": "llama",
            "architectures": ["LlamaForCausalLM"],
            "hidden_act": "silu",
            "rms_norm_eps": 1e-5,
            "tie_word_embeddings": True,
            "bos_token_id": None,
            "eos_token_id": None,
        }

    @property
    def shapes(self) -> Mapping[str, tuple[int, ...]]:
        """The shape of every tensor of the checkpoint, by its name there."""
        D, F = self.hidden_size, self.intermediate_size
        narrow = D * self.num_key_value_heads // self.num_attention_heads
        layer = {
            "self_attn.q_proj": (D, D),
            "self_attn.k_proj": (narrow, D),
            "self_attn.v_proj": (narrow, D),
            "self_attn.o_proj": (D, D),
            "mlp.gate_proj": (F, D),
            "mlp.up_proj": (F, D),
            "mlp.down_proj": (D, F),
            "input_layernorm": (D,),
            "post_attention_layernorm": (D,),
        }
        every = {"embed_tokens": (self.vocab_size, D), "norm": (D,)}
        for i in range(self.num_hidden_layers):
            every |= {f"layers.{i}.{name}": shape for name, shape in layer.items()}
        return {f"model.{name}.weight": shape for name, shape in every.items()}


@dataclass(frozen=True)
class Generation:
    """Greedy generation of one sequence by a decoder, in float32."""

    tolerance: ClassVar[float] = 0.0
    """The largest difference at which a rival counts: it writes the same tokens."""

    name: str
    weights: Llama | str
    """Random weights of these sizes, or the name of a data package that holds some."""
    prompt: int = 16
    """Tokens that are read, drawn from seed 0."""
    steps: int = 64
    """Tokens that are written."""

    def __post_init__(self):
        require_positive(self, "prompt", "steps")

    @property
    def tokens(self) -> int:
        """The tokens of one call."""
        return self.steps


@dataclass(frozen=True)
class TrainingSteps:
    """Steps of training a decoder as nanoGPT has it, with the optimizer's update."""

    tolerance: ClassVar[float] = 1e-4
    """The largest difference of the first losses, over the largest of them."""

    name: str
    experiment: Experiment
    steps: int = 2
    """Steps of one call; the losses after the first tell of the update."""

    def __post_init__(self):
        require_positive(self, "steps")

    @property
    def tokens(self) -> int:
        """The tokens of one call."""
        batch = self.experiment.train.batch_size
        return self.steps * batch * self.experiment.task.seq_len


ModelCase = Generation | TrainingSteps
"""A race of whole models."""
