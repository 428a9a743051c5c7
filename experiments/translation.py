"""A study of translation: of verses by bytes, and by words, whose links are known.

    python launch.py fetch kjv reina-valera bible-alignments
    python launch.py run translation
    python launch.py evaluate runs/translation/verses --written
    python launch.py inspect runs/translation/alignments --text "ἐν ἀρχή εἰμί ὁ λόγος"

An encoder-decoder (Vaswani et al. 2017) for each, small enough for two cores. What is
written is scored by chrF, beside the translation of the training verse most alike. The
decoder of words reads its alignment off cross-attention (Bahdanau et
al. 2015, section 5.2.1), which is held against links of words made by hand.
"""

from dataclasses import replace

from attn.config import Experiment, ModelConfig, TrainConfig
from attn.config.claims import Claim
from attn.config.optimizers import Muon
from attn.registry import Study, register
from attn.tasks import Alignments, Verses
from experiments.lineup import better

verses = Experiment(
    name="verses",
    claim="Reading English, an encoder-decoder predicts Spanish bytes better than n-grams.",
    task=Verses(),
    model=ModelConfig(
        d_model=192,
        pattern=("attention", "cross_attention", "mlp"),
        encoder_pattern=("attention", "mlp"),
        repeats=3,
        dropout=0.1,
    ),
    train=TrainConfig(
        steps=1_400,
        batch_size=32,
        peak_lr=5e-3,
        warmup_steps=50,
        optimizer=Muon(),
    ),
    seeds=2,
)
alignments = replace(
    verses,
    name="alignments",
    claim="Reading Greek, an encoder-decoder predicts English words better than n-grams.",
    task=Alignments(),
    model=replace(verses.model, d_model=128, repeats=2),
    train=replace(verses.train, steps=1_000),
)
register(
    Study(
        name="translation",
        claim=verses.claim,
        experiments=(verses, alignments),
        minutes=60,
        claims=tuple(
            Claim(one.claim, better(one.name, "ngram")) for one in (verses, alignments)
        ),
    )
)
