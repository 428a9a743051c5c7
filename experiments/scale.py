"""Models for machines that are not here: two of LLaMA 2's sizes, and a million tokens.

    python launch.py plan 7b --on v5p:8x8x8 --mesh fsdp=512
    python launch.py plan 70b --on h200:512 --mesh fsdp=64,heads=8 --model.remat --train.accumulate 4
    python launch.py plan 1m --on v5p:4x4x4 --mesh seq=64

They are planned, and never run here: the rows of their tasks are only shapes. `7b` and
`70b` have the sizes of Touvron et al. 2023 (arXiv:2307.09288, table 1 and appendix A) and
its vocabulary of 32,000, the batch of 4 M tokens. `1m` reads a million tokens: three gated
delta rules for each layer of softmax within a window, as hybrids have them. One sequence is
read at a time, and layers are computed again: 64 chips have no room for more.
"""

from dataclasses import replace

from attn.config import MLP, Attention, Experiment, ModelConfig, TrainConfig
from attn.config.parts import Embedding
from attn.kernels import GatedDelta, Softmax
from attn.registry import Study, register
from attn.tasks import MQAR, PyDoc

VOCABULARY = 32_000
UNTIED = Embedding(tied=False)
DELTA = (Attention(kernel=GatedDelta()), MLP())
WINDOWED = (Attention(kernel=Softmax(), window=4_096), MLP())


def llama(name: str, model: ModelConfig) -> Experiment:
    """A model of LLaMA 2's sizes, at its context of 4,096 tokens."""
    return Experiment(
        name=name,
        claim=f"A model of LLaMA 2's {name.upper()} fits a pod, and this says which.",
        task=PyDoc(seq_len=4_096),
        model=model,
        train=TrainConfig(steps=500_000, batch_size=1_024, warmup_steps=2_000),
        seeds=1,
    )


SMALL = ModelConfig(
    vocab_size=VOCABULARY,
    d_model=4_096,
    num_heads=32,
    d_ff=11_008,
    repeats=32,
    act="silu",
    gated=True,
    embedding=UNTIED,
    dtype="bfloat16",
)
LARGE = replace(
    SMALL, d_model=8_192, num_heads=64, num_kv_heads=8, d_ff=28_672, repeats=80
)
million = Experiment(
    name="1m",
    claim="A hybrid reads a million tokens with a state that does not grow.",
    task=MQAR(seq_len=2**20, num_pairs=4_096, vocab_size=VOCABULARY),
    model=ModelConfig(
        d_model=2_048,
        num_heads=16,
        d_ff=5_632,
        block=(*DELTA, *DELTA, *DELTA, *WINDOWED),
        repeats=6,
        act="silu",
        gated=True,
        embedding=UNTIED,
        dtype="bfloat16",
        remat=True,
    ),
    train=TrainConfig(steps=100_000, batch_size=64, warmup_steps=1_000, accumulate=64),
    seeds=1,
)

register(
    Study(
        name="scale",
        claim="What is compiled for a pod on a laptop says whether it fits before any is rented.",
        experiments=(
            llama("7b", SMALL),
            llama("70b", LARGE),
            million,
        ),
        minutes=0,
        planned=True,
    )
)
