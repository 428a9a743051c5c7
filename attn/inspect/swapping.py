"""Other mechanisms in pretrained weights: bits per byte, and the scores that are kept."""

import hashlib
import math
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Float, Int

from attn.attention import effective_map
from attn.config import ModelConfig
from attn.errors import Failed, UserError
from attn.kernels import Kernel, Softmax
from attn.masks import Mask
from attn.model import Transformer
from attn.pretrained import Pretrained, swapped
from attn.pretrained.layerwise import logits
from attn.pretrained.uptraining import uptrained
from attn.records.swaps import UNMODIFIED, Point, describe
from attn.registry import Replacement


@dataclass(frozen=True)
class Windows:
    """Windows of text: a model reads all tokens but the last, and is asked for the next."""

    tokens: Int[np.ndarray, "n L"]
    num_bytes: Int[np.ndarray, " n"]
    """The bytes of each window's tokens but for the first."""

    def __getitem__(self, some: slice) -> "Windows":
        """Some of the windows."""
        return Windows(self.tokens[some], self.num_bytes[some])

    @property
    def sha256(self) -> str:
        """The hash of the tokens."""
        return hashlib.sha256(self.tokens.astype("<i4").tobytes()).hexdigest()


@dataclass(frozen=True)
class Uptraining:
    """A little training of attention's projections after a swap."""

    steps: int
    rate: float
    rows: int = 2
    """Windows a step."""

    def key(self, replacement: str, kernel: Kernel | None) -> tuple[str, str]:
        """The name of the point that it makes, in a record."""
        line = f"{replacement}, {self.steps} steps at {self.rate:g}"
        return line, UNMODIFIED if kernel is None else describe(kernel)

    def batches(self, windows: Windows) -> Iterator[Int[np.ndarray, "b L"]]:
        """The rows of each step, every window once."""
        yield from windows.tokens.reshape(self.steps, self.rows, -1)


def draw_windows(
    texts: Sequence[str], tokenizer: Any, *, tokens: int, windows: int, seed: int
) -> Windows:
    """Draws one window of T + 1 tokens from each of several texts.

    Raises:
        UserError: too few texts are long enough.
    """
    rng, rows, sizes = np.random.default_rng(seed), [], []
    for i in rng.permutation(len(texts)):
        text = texts[int(i)]
        read = tokenizer.encode(text)
        if len(read.ids) <= tokens:
            continue
        start = int(rng.integers(len(read.ids) - tokens))
        rows.append(read.ids[start : start + tokens + 1])
        ends = read.offsets[start][1], read.offsets[start + tokens][1]
        sizes.append(len(text[slice(*ends)].encode()))
        if len(rows) == windows:
            return Windows(np.array(rows, np.int32), np.array(sizes))
    raise UserError(
        f"{windows} windows: {len(rows)} of {len(texts)} texts have more than {tokens} "
        "tokens; ask for fewer by --windows or --steps, or shorter ones by --tokens"
    )


def able(kernels: Iterable[Kernel], T: int) -> Iterator[tuple[Kernel, str | None]]:
    """Yields mechanisms, each with why it cannot be asked on T tokens, or None."""
    for kernel in kernels:
        why = None
        if "causal" not in kernel.can:
            why = "it cannot be causal"
        elif kernel.owns != "nothing":
            why = f"it has {kernel.owns} of its own, which no checkpoint holds"
        else:
            try:
                kernel.check_length(T)
            except UserError as error:
                why = str(error)
        yield kernel, why


def unmodified(model: Pretrained, windows: Windows) -> Point:
    """Scores the windows with the weights as they came."""
    return _point(UNMODIFIED, UNMODIFIED, model.transformer, windows)


def measure(
    model: Pretrained, replacement: Replacement, kernel: Kernel, windows: Windows
) -> Point:
    """Scores the windows with one mechanism in every layer."""
    new = swapped(model, kernel).transformer
    return _point(replacement.name, describe(kernel), new, windows)


def measure_trained(
    model: Pretrained,
    replacement: str,
    kernel: Kernel | None,
    windows: Windows,
    training: Uptraining,
    batches: Iterable[Int[np.ndarray, "b L"]],
) -> Point:
    """Scores the windows after a little training on other text.

    Args:
        kernel: the mechanism of every layer; the checkpoint's own for None.
        batches: one a step.

    Raises:
        Failed: the loss, or what was trained, became infinite or NaN.
    """
    new = model if kernel is None else swapped(model, kernel)
    trained = uptrained(new.transformer, batches, training.rate, training.steps)
    point = _point(*training.key(replacement, kernel), trained, windows)
    if not all(map(math.isfinite, point.bits)):
        raise Failed(f"{point.line}: {point.kernel} diverged; lower the rate")
    return point


def _point(line: str, kernel: str, model: Transformer, windows: Windows) -> Point:
    config = model.model
    kept = share_kept(config, windows.tokens.shape[1] - 1)
    by_mask = all(isinstance(x.mechanism, Softmax) for x in config.attention_layers)
    return Point(
        line,
        kernel,
        by_content=not by_mask and kept < 1,
        kept=kept,
        bits=bits_per_byte(model, windows),
    )


def bits_per_byte(model: Transformer, windows: Windows) -> tuple[float, ...]:
    """Computes the bits per byte of each window, read alone."""
    nats = (
        _nats(logits(model, row[None, :-1]), row[None, 1:]) for row in windows.tokens
    )
    return tuple(
        float(x) / math.log(2) / int(n) for x, n in zip(nats, windows.num_bytes)
    )


@jax.jit
def _nats(logits: Float[Array, "B T V"], targets: Int[Array, "B T"]) -> Array:
    chosen = jnp.take_along_axis(logits, targets[..., None], axis=-1)[..., 0]
    return (jax.nn.logsumexp(logits, axis=-1) - chosen).sum()


def share_kept(model: ModelConfig, T: int) -> float:
    """The share of the scores under the model's mask that its layers keep, their mean."""
    mask, shares = model.mask, {}
    for layer in model.attention_layers:
        case = layer.mechanism, layer.seen(mask)
        if case not in shares:
            shares[case] = num_kept(*case, T) / mask.count(T, T)
    cases = [(x.mechanism, x.seen(mask)) for x in model.attention_layers]
    return float(np.mean([shares[case] for case in cases]))


def num_kept(kernel: Kernel, mask: Mask, T: int) -> int:
    """The number of pairs of a query and a key that count, in one head.

    Where the mechanism does not say it, it is counted on a map of random queries and keys.
    """
    known = kernel.num_pairs(mask, T, T)
    if known is not None:
        return known
    q, k = jax.random.normal(jax.random.key(0), (2, 1, T, 1, 16 * kernel.head_multiple))
    return int(jnp.count_nonzero(effective_map(kernel, q, k, mask=mask)))
