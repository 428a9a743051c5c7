"""The table of every family against transformers: sizes, and the largest error.

    python tests/pretrained/parity.py

The reference outputs are committed, made by `make_references.py`; torch is not needed.
"""

import os
from pathlib import Path
from tempfile import TemporaryDirectory

from attn import compiler

if __name__ == "__main__":
    os.environ["XLA_FLAGS"] = compiler.flags()

import numpy as np
from tiny_checkpoints import CASES, case, reference, weights, write_case

from attn.pretrained import load
from attn.pretrained.config_keys import read_config
from attn.pretrained.families import FAMILIES

HEADS = ("", "parameters", "width", "heads", "KV heads", "a head", "tokens", "error")


def outputs(name: str, folder: Path) -> tuple[np.ndarray, np.ndarray]:
    """The outputs at real tokens of a small checkpoint, and those of transformers."""
    model = load(write_case(folder, name, num_shards=3 if "llama" in name else 1))
    known = reference(name)
    tokens, mask = known["tokens"], known["mask"]
    if "target_tokens" not in known:
        return np.asarray(model(tokens, mask))[mask], known["expected"][mask]
    out = np.asarray(model(tokens, known["target_tokens"], kv_mask=mask))
    return out[:, known["at"]], known["expected"]


def row(name: str, folder: Path) -> tuple[object, ...]:
    """The sizes of a small checkpoint, and its largest error."""
    config = case(name)["config"]
    family = FAMILIES[config["model_type"]]
    model = family.model(read_config(family, config))
    found, expected = outputs(name, folder)
    heads, width = model.num_heads, model.d_model
    return (
        name,
        f"{sum(array.size for array in weights(name).values()):,}",
        width,
        heads,
        model.num_kv_heads or heads,
        model.head_dim or width // heads,
        " x ".join(map(str, reference(name)["tokens"].shape)),
        f"{np.abs(found - expected).max():.1e}",
    )


if __name__ == "__main__":
    with TemporaryDirectory() as folder:
        rows = [row(name, Path(folder) / name) for name in CASES]
    for line in (HEADS, ["---", *["---:"] * 7], *rows):
        print(f"| {' | '.join(map(str, line))} |")
