"""Checkpoints as published: a config and named tensors, whichever files hold them."""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np

from attn.errors import UserError
from attn.pretrained.tokenizer import read_tokenizer

WHOLE, INDEX = "model.safetensors", "model.safetensors.index.json"
"""The one file of a small checkpoint, and what names the shards of a large one."""
PICKLES = ("*.bin", "*.pt", "*.pth", "*.ckpt", "*.pkl", "*.pickle")


@dataclass(frozen=True)
class Checkpoint:
    """The config and the tensors of a folder or a file; a tensor is read on demand."""

    path: Path
    config: dict[str, Any]
    """What config.json says, or would say."""
    shapes: dict[str, tuple[int, ...]]
    """The shape of every tensor by its name."""
    read: Callable[[str], np.ndarray]
    """Reads a tensor by its name."""
    dtype: Callable[[str], str]
    """Tells a tensor's dtype by its name, in the words of safetensors."""
    tokenizer: Callable[[], Any]
    """Makes the `tokenizers.Tokenizer` that is with the weights."""


def open_checkpoint(path: Path) -> Checkpoint:
    """Opens a folder with a config.json and safetensors, or a GGUF file.

    Weights are memory-mapped.

    Raises:
        UserError: there is no such checkpoint, it is a pickle, or a file is damaged.
    """
    if not path.exists():
        raise UserError(
            f"{path} is not here; give a folder with config.json, or a .gguf"
        )
    if path.is_file() and path.suffix != ".gguf":
        raise UserError(
            f"{path} is a file; give the folder that holds it with its config.json"
        )
    own = [path] if path.is_file() else sorted(path.glob("*.gguf"))
    if own and not (path / "config.json").exists():
        from attn.pretrained.gguf_file import open_gguf

        if len(own) > 1:
            names = ", ".join(file.name for file in own)
            raise UserError(f"{path} holds several .gguf files, {names}; name one")
        return open_gguf(own[0])
    config = read_json(path / "config.json", f"{path} holds no checkpoint")
    files = _files(path)
    shapes, handles = {}, {}
    for file, names in files.items():
        handle, found = _open(file)
        missing = sorted(names - set(found))
        if missing:
            raise UserError(
                f"{file} lacks the tensor {missing[0]} that {INDEX} names in it; get the "
                "file again"
            )
        shapes |= found
        handles |= dict.fromkeys(found, handle)
    return Checkpoint(
        path,
        config,
        shapes,
        read=lambda name: handles[name].get_tensor(name),
        dtype=lambda name: handles[name].get_slice(name).get_dtype(),
        tokenizer=lambda: read_tokenizer(path),
    )


def read_json(path: Path, otherwise: str) -> dict[str, Any]:
    """Reads an object from a JSON file; raises `UserError` where there is none."""
    if not path.exists():
        raise UserError(f"{otherwise}: it has no {path.name}")
    try:
        found = json.loads(path.read_text(encoding="utf-8"))
    except OSError as error:
        raise UserError(
            f"{path} cannot be read ({error.strerror}); get the file again"
        ) from None
    except ValueError as error:
        raise UserError(f"{path} is not JSON ({error}); get the file again") from error
    if not isinstance(found, dict):
        raise UserError(f"{path} is no JSON object; get the file again")
    return found


def _files(folder: Path) -> dict[Path, set[str]]:
    """The files of the weights, each with the tensors that it must have."""
    if (folder / WHOLE).exists():
        return {folder / WHOLE: set()}
    if not (folder / INDEX).exists():
        raise _no_weights(folder)
    index = read_json(folder / INDEX, str(folder)).get("weight_map", {})
    files: dict[Path, set[str]] = {}
    for name, file in sorted(index.items()):
        files.setdefault(folder / Path(file).name, set()).add(name)
    absent = [file.name for file in files if not file.exists()]
    if absent or not files:
        what = absent[0] if absent else "shards"
        raise UserError(f"{folder} lacks {what}, which {INDEX} names; get it")
    return files


def _no_weights(folder: Path) -> UserError:
    pickles = sorted(file.name for kind in PICKLES for file in folder.glob(kind))
    if not pickles:
        return UserError(f"{folder} holds no weights: neither {WHOLE} nor {INDEX}")
    return UserError(
        f"{folder} holds its weights as a pickle, {pickles[0]}, which may run any code "
        'when it is read; convert it where you trust it: python -c "import torch; from '
        "safetensors.torch import save_file; save_file({k: v.clone() for k, v in "
        f"torch.load('{pickles[0]}', weights_only=True).items()}}, '{WHOLE}')\""
    )


def _open(file: Path) -> tuple[Any, dict[str, tuple[int, ...]]]:
    """Opens a file of safetensors; returns it with the shapes of its tensors."""
    from safetensors import SafetensorError, safe_open

    try:
        handle = safe_open(file, framework="np")
    except (SafetensorError, OSError) as error:
        raise UserError(f"{file} is damaged ({error}); get it again") from error
    return handle, {
        name: tuple(handle.get_slice(name).get_shape())
        for name in handle.keys()  # noqa: SIM118  # it is no mapping
    }
