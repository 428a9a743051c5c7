"""Experiments as plain data: the model, the task, the training and the costs."""

from attn.config.attention import Attention, LatentAttention
from attn.config.codec import fingerprint, from_json, to_json
from attn.config.experiment import Experiment
from attn.config.layers import MLP, Layer, ShortConv
from attn.config.model import LAYERS, ModelConfig
from attn.config.train import TrainConfig

__all__ = [
    "LAYERS",
    "MLP",
    "Attention",
    "Experiment",
    "LatentAttention",
    "Layer",
    "ModelConfig",
    "ShortConv",
    "TrainConfig",
    "fingerprint",
    "from_json",
    "to_json",
]
