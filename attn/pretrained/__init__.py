"""Real weights: published checkpoints of BERT, GPT-2, T5, LLaMA and their kin."""

from attn.pretrained.call import EncoderDecoder, Pretrained
from attn.pretrained.load import load, swapped
from attn.pretrained.packaged import fetched

__all__ = ["EncoderDecoder", "Pretrained", "fetched", "load", "swapped"]
