"""Greedy generation by our compiled loop, and by transformers' `generate`."""

import json
import time
from collections.abc import Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Int

from attn.bench.models import Generation, Llama
from attn.bench.ours import OURS
from attn.bench.rival import Built, Runner
from attn.model.generate import Prompt, generate
from attn.pretrained import fetched, load
from attn.records.environment import cores

THEIRS = {"transformers sdpa": "sdpa", "transformers eager": "eager"}
"""The attention that each runner of transformers asks for, its default first."""
NEEDS = ("torch", "transformers")


@contextmanager
def opened(weights: Llama | str) -> Iterator[Path]:
    """Gives the folder of a checkpoint; of random weights, as long as it is open.

    Raises:
        UserError: the data package was not fetched.
    """
    if isinstance(weights, str):
        yield fetched(weights)
        return
    with TemporaryDirectory() as folder:
        yield write_random(Path(folder), weights)


def write_random(folder: Path, sizes: Llama) -> Path:
    """Writes a checkpoint as `save_pretrained` does, drawn from seed 0.

    Norms are 1, token vectors about 1 in size, matrices normal by their fan-in.
    """
    from safetensors.numpy import save_file

    rng = np.random.default_rng(0)
    tensors = {}
    for name, shape in sizes.shapes.items():
        drawn = rng.standard_normal(shape, np.float32)
        if len(shape) == 1:
            drawn = np.ones(shape, np.float32)
        elif "embed" not in name:
            drawn *= np.float32(shape[1] ** -0.5)
        tensors[name] = drawn
    save_file(tensors, folder / "model.safetensors", metadata={"format": "pt"})
    (folder / "config.json").write_text(json.dumps(sizes.config))
    return folder


def runners(case: Generation, folder: Path) -> tuple[Runner, ...]:
    """The runners of a checkpoint's folder, our own first."""
    theirs = (
        Runner(name, partial(_theirs, case, folder, attention), NEEDS)
        for name, attention in THEIRS.items()
    )
    return (Runner(OURS, partial(_ours, case, folder)), *theirs)


def prompt(case: Generation, vocab_size: int) -> Int[np.ndarray, "1 T"]:
    """The tokens that everybody reads."""
    drawn = np.random.default_rng(0).integers(vocab_size, size=(1, case.prompt))
    return drawn.astype(np.int32)


def _ours(case: Generation, folder: Path) -> Built:
    model = load(folder).transformer
    given = Prompt(jnp.asarray(prompt(case, model.model.vocab_size or 0)))

    def call():
        return [jax.block_until_ready(generate(model, given, case.steps))]

    return _built(call)


def _theirs(case: Generation, folder: Path, attention: str) -> Built:
    import torch  # pyright: ignore[reportMissingImports]
    from transformers import (  # pyright: ignore[reportMissingImports]
        AutoModelForCausalLM,
        logging,
    )

    torch.set_num_threads(cores() or 1)
    logging.disable_progress_bar()
    model = AutoModelForCausalLM.from_pretrained(
        folder,
        gguf_file=next((file.name for file in folder.glob("*.gguf")), None),
        attn_implementation=attention,
        dtype=torch.float32,
    ).eval()
    # Without an end token it writes as many tokens as it is asked for.
    model.generation_config.eos_token_id = None
    tokens = torch.from_numpy(prompt(case, model.config.vocab_size)).long()
    options: dict[str, Any] = {
        "attention_mask": torch.ones_like(tokens),
        "max_new_tokens": case.steps,
        "do_sample": False,
        "use_cache": True,
        "pad_token_id": 0,
    }

    def call():
        with torch.inference_mode():
            return [model.generate(tokens, **options)[:, case.prompt :]]

    return _built(call)


def _built(call) -> Built:
    """The call after its first time, which compiles where anything does."""
    start = time.perf_counter()
    (tokens,) = call()
    took = time.perf_counter() - start
    return Built(call, [np.asarray(tokens, np.int64)], took)
