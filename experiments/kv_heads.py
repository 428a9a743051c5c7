"""A study of key and value heads: many, few, one, or a latent for all of them.

    python launch.py run kv_heads

Real text, dense attention, eight query heads. Multi-head (Vaswani et al. 2017), grouped
(Ainslie et al. 2023) and multi-query attention (Shazeer 2019), and multi-head latent
attention (DeepSeek-AI 2024), twice: with the parameters of the first, where d_ff takes
what is saved, and with its decoding cache, where heads or the latent grow.
"""

from dataclasses import replace

from attn.config import Experiment, ModelConfig, TrainConfig
from attn.config.claims import Claim
from attn.config.match import Match, match
from attn.registry import Study, register
from attn.tasks import PyDoc
from experiments.lineup import better

mha = Experiment(
    name="kv_mha",
    claim="At equal parameters fewer key and value heads cost little; at an equal cache they gain.",
    task=PyDoc(seq_len=128),
    model=ModelConfig(d_model=64, repeats=2, num_heads=8, head_dim=8),
    train=TrainConfig(steps=1000, batch_size=16, peak_lr=3e-3, eval_every=250),
)
WAYS = {
    "gqa": {"num_kv_heads": 2},
    "mqa": {"num_kv_heads": 1},
    "mla": {"kv_rank": 16, "rope_dim": 4},
}


def at_equal(by: Match) -> tuple[Experiment, ...]:
    """Each way to share keys and values, at the parameters or the cache of the first."""
    return tuple(
        match(
            replace(mha, name=f"kv_{way}_{by}", model=replace(mha.model, **fields)),
            mha,
            by,
        )
        for way, fields in WAYS.items()
    )


PARAMS, CACHE = at_equal("params"), at_equal("kv_cache")

register(
    Study(
        name="kv_heads",
        claim=mha.claim,
        experiments=(mha, *PARAMS, *CACHE),
        minutes=32,
        claims=(
            Claim(
                "At equal parameters multi-head attention is better than what shares its keys.",
                better(mha.name, *(e.name for e in PARAMS)),
            ),
            Claim(
                "At an equal decoding cache shared keys do better than heads of their own.",
                tuple(better(e.name, mha.name)[0] for e in CACHE),
            ),
        ),
    )
)
