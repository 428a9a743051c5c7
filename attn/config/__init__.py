"""Experiments as plain data: what to train, on what, and what it costs."""

from attn.config.codec import fingerprint, to_json
from attn.config.experiment import Experiment
from attn.config.model import LAYERS, ModelConfig
from attn.config.train import TrainConfig

__all__ = [
    "LAYERS",
    "Experiment",
    "ModelConfig",
    "TrainConfig",
    "fingerprint",
    "to_json",
]
