"""The base of pair tasks that write whole texts: scored in bits per byte, and by chrF.

A model in training is scored with the true bytes before each: bits per byte, where the
end of a target counts as a byte. Texts that were written are scored by chrF (Popović
2015) as sacrebleu computes it at its defaults, chrF2: of the whole corpus, n-grams of 1
to 6 characters without white space, the mean of their F scores with recall weighted
twice, from 0 to 100; its margin is half of the 95 % interval over texts drawn again with
replacement (Koehn 2004), 1,000 times.
"""

import json
from collections.abc import Sequence
from dataclasses import dataclass
from importlib.util import find_spec

import numpy as np
from jaxtyping import Int

from attn.errors import UserError
from attn.objectives import BITS_PER_BYTE, SequenceToSequence
from attn.tasks.base import Dataset
from attn.tasks.nearest import nearest
from attn.tasks.ngrams import ngram_bits
from attn.tasks.pairs import BytePairs
from attn.tasks.targets import real, sources

RESAMPLES = 1000


@dataclass(frozen=True)
class TextPairs(BytePairs):
    """The base of tasks that write a text after reading a text."""

    objective = SequenceToSequence(BITS_PER_BYTE)

    def baselines(self, data: Dataset) -> dict[str, float]:
        """Computes bits per byte of n-grams of the targets, which read no source."""
        return target_ngrams(data, self.vocab_size)

    def guesses(self, data: Dataset) -> dict[str, Int[np.ndarray, "#n T"]]:
        """The source itself, and the target of the nearest training source."""
        train, test = data.splits["train"], data.splits["test"]
        return {
            "copy": self.as_targets(sources(test)),
            "nearest": train["targets"][nearest(train, test)],
        }

    def score_texts(self, said: Sequence[str], true: Sequence[str]) -> dict[str, float]:
        """The share of texts that are right as a whole, chrF of them all, its margin."""
        score, margin = chrf(said, true)
        both = {"chrf": score, "chrf_margin": margin}
        return super().score_texts(said, true) | both


def target_ngrams(data: Dataset, vocab_size: int) -> dict[str, float]:
    """Computes bits of a test target under n-grams of targets, which read no source.

    `ngram` is the order, up to 6 of bytes, that does best on valid.
    """
    train = data.splits["train"]
    both = np.concatenate([train["tokens"][:, :1], train["targets"]], axis=1)
    stream = both[np.pad(real(train), ((0, 0), (1, 0)), constant_values=True)]
    valid, test = (
        ngram_bits(stream, {**rows, "weights": real(rows)}, vocab_size)
        for rows in (data.splits["valid"], data.splits["test"])
    )
    return {
        "uniform": float(np.log2(vocab_size)),
        "unigram": test[1],
        "ngram": test[min(valid, key=valid.__getitem__)],
    }


def chrf(said: Sequence[str], true: Sequence[str]) -> tuple[float, float]:
    """The chrF2 of a corpus of texts, 0 .. 100, each beside the true one; its margin.

    Raises:
        UserError: sacrebleu, an optional extra, is missing.
    """
    if find_spec("sacrebleu") is None:
        raise UserError(
            "chrF needs sacrebleu, which is not installed; run: pip install 'attn[text]'"
        )
    from sacrebleu.metrics.chrf import CHRF

    score = CHRF().corpus_score([*said], [[*true]], n_bootstrap=RESAMPLES)
    known = json.loads(score.format(4, signature=f"bs:{RESAMPLES}", is_json=True))
    return score.score, known.get("confidence_var", 0.0)
