"""A study of translation: of verses by bytes, and by words, whose links are known.

    python launch.py fetch kjv reina-valera bible-alignments
    python launch.py run translation
    python launch.py evaluate runs/translation/verses --written
    python launch.py inspect runs/translation/alignments --text "εν αρχη ειμι ο λογος"

An encoder-decoder (Vaswani et al. 2017) for each, small enough for two cores. What is
written is to be nearer to the true verse than the translation of the training verse
most alike. The decoder of words reads its alignment off cross-attention (Bahdanau et
al. 2015, section 5.2.1), which is held against links of words made by hand.
"""

from dataclasses import replace

from attn.config import Experiment, ModelConfig, TrainConfig
from attn.config.claims import Claim
from attn.registry import Study, register
from attn.tasks import Alignments, Verses
from experiments.lineup import better

verses = Experiment(
    name="verses",
    claim="An encoder-decoder writes Spanish verses better than n-grams of Spanish do.",
    task=Verses(),
    model=ModelConfig(
        d_model=192,
        pattern=("attention", "cross_attention", "mlp"),
        encoder_pattern=("attention", "mlp"),
        repeats=3,
        dropout=0.1,
    ),
    train=TrainConfig(
        steps=4_000,
        batch_size=48,
        peak_lr=1.5e-3,
        warmup_steps=200,
        eval_every=400,
    ),
    seeds=1,
)
alignments = replace(
    verses,
    name="alignments",
    claim="Reading Greek, an encoder-decoder foretells English words better than n-grams.",
    task=Alignments(),
    model=replace(verses.model, d_model=128, repeats=2),
    train=replace(verses.train, steps=1_500, batch_size=64, eval_every=100),
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
