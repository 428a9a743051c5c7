"""A suite of whole models against PyTorch's: greedy generation, and training.

The model that is trained is nanoGPT's for characters (github.com/karpathy/nanoGPT,
config/train_shakespeare_char.py: 6 layers, 6 heads, width 384, 256 tokens, AdamW) at a
batch of 12, without its dropout, on bytes of text.
"""

from attn.bench.models import Generation, Llama, TrainingSteps
from attn.bench.suite import Suite, Target
from attn.config import Embedding, Experiment, ModelConfig, Norm, TrainConfig
from attn.config.optimizers import AdamW
from attn.config.schedules import Constant
from attn.tasks import PyDoc

NANO_GPT = Experiment(
    name="nanogpt",
    claim="A plain loop of PyTorch trains no faster on the same cores.",
    task=PyDoc(seq_len=256),
    model=ModelConfig(
        d_model=384,
        repeats=6,
        num_heads=6,
        positions="learned",
        norm=Norm("layer", eps=1e-5),
        embedding=Embedding(scale=1.0),
    ),
    train=TrainConfig(
        steps=5000,
        batch_size=12,
        peak_lr=1e-3,
        warmup_steps=0,
        optimizer=AdamW(b2=0.99),
        schedule=Constant(),
    ),
    seeds=1,
)

SMALL = Generation("generate, LLaMA of 4 layers, 256 wide", Llama())
SMOLLM = Generation("generate, SmolLM2-135M", "smollm2")
TRAINED = TrainingSteps("train, nanoGPT of 10.8 M, 12 x 256 tokens", NANO_GPT)

MODELS = Suite(
    races=(),
    models=(SMALL, SMOLLM, TRAINED),
    targets=(
        *(
            Target(
                f"{case.name}, float32, 16 + 64 tokens",
                *("speed", 1.0, 2.0, f"transformers {attention}", (case,)),
            )
            for case in (SMALL, SMOLLM)
            for attention in ("sdpa", "eager")
        ),
        Target(f"{TRAINED.name}, float32", "speed", 0.9, 1.0, "torch", (TRAINED,)),
    ),
)
