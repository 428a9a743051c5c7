"""The mechanisms that studies compare, and their substitution at equal parameters."""

from dataclasses import replace

from attn.config import Experiment
from attn.config.match import match
from attn.kernels import (
    Kernel,
    Linear,
    Linformer,
    Longformer,
    Performer,
    Softmax,
    WindowAttention,
)


def line_up(
    *, width: int, num_global: int, num_features: int, rank: int | None = None
) -> tuple[Kernel, ...]:
    """One of each mechanism, dense to low-rank; Linformer where `rank` is given."""
    mechanisms = (
        Softmax(),
        WindowAttention(width=width),
        Longformer(width=width, num_global=num_global),
        Linear(),
        Performer(num_features=num_features),
    )
    return mechanisms if rank is None else (*mechanisms, Linformer(rank=rank))


def under(base: Experiment, mechanisms: tuple[Kernel, ...]) -> tuple[Experiment, ...]:
    """Makes `base` with each mechanism, at equal parameters.

    What a mechanism owns is taken from the hidden layer. Where there is none, only
    mechanisms that own nothing are equal, and a test holds it.
    """
    by = "params" if "mlp" in base.model.pattern else "none"

    def one(kernel: Kernel) -> Experiment:
        model = replace(base.model, kernel=kernel)
        name = f"{base.name}_{kernel.name}"
        return match(replace(base, name=name, model=model), base, by)

    return tuple(map(one, mechanisms))
