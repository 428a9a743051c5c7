"""Experiments as plain data: the model, the task, the training and the costs."""

from attn.config.attention import Attention
from attn.config.codec import fingerprint, from_json, to_json
from attn.config.experiment import Experiment
from attn.config.latent import LatentAttention
from attn.config.layers import MLP, Layer, ShortConv
from attn.config.model import ModelConfig
from attn.config.parts import Embedding, Norm
from attn.config.shorthand import LAYERS
from attn.config.train import TrainConfig

__all__ = [
    "LAYERS",
    "MLP",
    "Attention",
    "Embedding",
    "Experiment",
    "LatentAttention",
    "Layer",
    "ModelConfig",
    "Norm",
    "ShortConv",
    "TrainConfig",
    "fingerprint",
    "from_json",
    "to_json",
]
