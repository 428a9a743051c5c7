"""Small checkpoints of every family, as their references were made from them.

A weight is drawn from its name, so that a folder is the same wherever it is written.
"""

import json
from functools import cache
from hashlib import sha256
from pathlib import Path

import numpy as np
from safetensors.numpy import save_file

REFERENCES = Path(__file__).parent / "references"
CASES = sorted(path.stem for path in REFERENCES.glob("*.npz"))
EMBEDDINGS = ("embed", "wte", "wpe", "shared", "relative_attention_bias")


@cache
def case(name: str) -> dict:
    """The config and the shapes of a small checkpoint."""
    return json.loads((REFERENCES / f"{name}.json").read_text())


def reference(name: str) -> dict[str, np.ndarray]:
    """The inputs of a small checkpoint, and what transformers makes of them."""
    with np.load(REFERENCES / f"{name}.npz") as arrays:
        return dict(arrays)


def draw(name: str, shape: tuple[int, ...], centre: float) -> np.ndarray:
    """Draws a weight from its name: norms about `centre`, matrices by their fan-in."""
    seed = int.from_bytes(sha256(name.encode()).digest()[:8], "little")
    values = np.random.default_rng(seed).standard_normal(shape)
    if len(shape) == 1:
        values = 0.2 * values + (centre if name.endswith(".weight") else 0)
    else:
        values *= 0.7 if any(e in name for e in EMBEDDINGS) else shape[-1] ** -0.5
    return values.astype(np.float32)


def weights(name: str) -> dict[str, np.ndarray]:
    """All weights of a small checkpoint; Gemma's norms have 1 added by the model."""
    known = case(name)
    centre = 0.0 if known["config"]["model_type"] == "gemma2" else 1.0
    return {
        name: draw(name, tuple(map(int, shape.split())), centre)
        for name, shape in known["shapes"].items()
    }


def write(folder: Path, config: dict, tensors: dict, num_shards: int = 1) -> Path:
    """Writes a folder as `save_pretrained` does, in one file or in shards."""
    folder.mkdir(parents=True, exist_ok=True)
    (folder / "config.json").write_text(json.dumps(config))
    if num_shards == 1:
        save_file(tensors, folder / "model.safetensors")
        return folder
    names = sorted(tensors)
    where = {}
    for i in range(num_shards):
        file = f"model-{i + 1:05}-of-{num_shards:05}.safetensors"
        own = names[i::num_shards]
        where |= dict.fromkeys(own, file)
        save_file({k: tensors[k] for k in own}, folder / file)
    index = {"metadata": {}, "weight_map": where}
    (folder / "model.safetensors.index.json").write_text(json.dumps(index))
    return folder


def write_case(folder: Path, name: str, num_shards: int = 1) -> Path:
    """Writes a small checkpoint, whole."""
    return write(folder, case(name)["config"], weights(name), num_shards)
