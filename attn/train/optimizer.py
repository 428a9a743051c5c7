"""The optimizer: AdamW with gradient clipping, warm-up and cosine decay."""

import optax
from jaxtyping import Array

from attn.config import TrainConfig


def is_matrix(name: str, leaf: Array) -> bool:
    """Whether a weight mixes channels, unlike scales, taps and vectors of a head."""
    # A kernel's own weights are stacked over heads.
    own_vector = "/own/" in name and leaf.ndim < 3
    return not own_vector and not name.endswith(("scale", "taps", "norm"))


def make_optimizer(config: TrainConfig) -> optax.GradientTransformation:
    """Makes AdamW with a global-norm clip; only matrices have weight decay."""
    schedule = optax.warmup_cosine_decay_schedule(
        init_value=0.0 if config.warmup_steps else config.peak_lr,
        peak_value=config.peak_lr,
        warmup_steps=config.warmup_steps,
        decay_steps=config.steps,
        end_value=0.1 * config.peak_lr,
    )

    def decayed(params: dict) -> dict[str, bool]:
        return {name: is_matrix(name, leaf) for name, leaf in params.items()}

    return optax.chain(
        optax.clip_by_global_norm(config.clip_norm),
        optax.adamw(schedule, weight_decay=config.weight_decay, mask=decayed),
    )
