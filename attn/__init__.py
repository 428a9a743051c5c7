"""Dense, sparse and low-rank attention in JAX, compared fairly.

Dimension letters, as in `jax.nn` (used in every shape of this package):

    B batch          T query length     S key length       V vocabulary
    N query heads    K key/value heads  G = N / K          L layers, or a length
    H head dim       D model dim        F hidden dim       P scored positions
    C block size     M blocks           W window           R rank or features
    U rotary dim beside a head

In training also C steps of a call, and R replicas.

Data flows one way: config -> task -> model -> kernel -> metrics -> record -> report.
"""

from importlib import import_module

__version__ = "0.1.0"

_LAZY = {
    "Transformer": "attn.model",
    "attend": "attn.attention",
    "attend_with_lse": "attn.attention",
    "config": "attn.config",
    "effective_map": "attn.attention",
    "explain": "attn.attention",
    "kernels": "attn.kernels",
    "masks": "attn.masks",
    "pretrained": "attn.pretrained",
    "records": "attn.records",
}

__all__ = [
    "Transformer",
    "attend",
    "attend_with_lse",
    "config",
    "effective_map",
    "explain",
    "kernels",
    "masks",
    "pretrained",
    "records",
]


def __getattr__(name: str):
    """Loads what is public on first use, so that `import attn` costs nothing."""
    if name not in _LAZY:
        raise AttributeError(f"module 'attn' has no attribute {name!r}")
    module = import_module(_LAZY[name])
    return getattr(module, name, module)


def __dir__() -> list[str]:
    return sorted([*globals(), *__all__])
