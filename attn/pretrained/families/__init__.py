"""The families of checkpoints that can be loaded, by the `model_type` of their config."""

from attn.pretrained.families.base import Family
from attn.pretrained.families.bert import BERT, ROBERTA
from attn.pretrained.families.gpt2 import GPT2
from attn.pretrained.families.llama import GEMMA_2, LLAMA, MISTRAL, QWEN_2, QWEN_3
from attn.pretrained.families.t5 import T5

FAMILIES: dict[str, Family] = {
    "bert": BERT,
    "roberta": ROBERTA,
    "gpt2": GPT2,
    "t5": T5,
    "llama": LLAMA,
    "mistral": MISTRAL,
    "gemma2": GEMMA_2,
    "qwen2": QWEN_2,
    "qwen3": QWEN_3,
}

__all__ = ["FAMILIES", "Family"]
