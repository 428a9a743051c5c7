"""A study of three architectures: an encoder, a decoder, or both.

    python launch.py fetch cmudict
    python launch.py run architectures
    python launch.py generate runs/architectures/dates_encoder_decoder

An encoder-decoder (Vaswani et al. 2017) reads a source with an encoder that looks both
ways, and its decoder attends to the encoder's states. A decoder alone reads the source
as a prompt, looking back (Radford et al. 2018, section 3.3). Both learn to write dates of
16 locales as ISO 8601, the phones of a word, and the spans that were cut out of a text
(Raffel et al. 2020, section 3.2), with equal parameters, data and steps. Questions have
longer sources, and an encoder-decoder alone reads them: a decoder takes twice the time.
An encoder alone writes nothing: it tells masked bytes.
"""

from dataclasses import replace

from attn.config import Experiment, ModelConfig, TrainConfig
from attn.config.claims import Claim, Prediction
from attn.config.match import match
from attn.config.optimizers import Muon
from attn.registry import Study, register
from attn.tasks import Dates, MaskedText, Pronounce, Questions, Spans
from experiments.lineup import better

ENCODER_DECODER = ModelConfig(
    pattern=("attention", "cross_attention", "mlp"),
    encoder_pattern=("attention", "mlp"),
    repeats=2,
)
ALONE = replace(
    ENCODER_DECODER, pattern=("attention", "mlp"), encoder_pattern=(), repeats=4
)
SHORT = TrainConfig(steps=800, peak_lr=5e-3, eval_every=200, optimizer=Muon())

dates = Experiment(
    name="dates_encoder_decoder",
    claim="A small encoder-decoder writes 95 of 100 dates that it has not seen.",
    task=Dates(),
    model=ENCODER_DECODER,
    train=TrainConfig(steps=800, batch_size=64, peak_lr=2e-3, eval_every=100),
)
pronounce = replace(
    dates,
    name="pronounce_encoder_decoder",
    claim="An encoder-decoder writes phones better than each letter's commonest.",
    task=Pronounce(),
    train=replace(SHORT, steps=2_000, batch_size=64),
)
questions = replace(
    dates,
    name="questions_encoder_decoder",
    claim="An encoder-decoder finds the default that is asked for, better than the first.",
    task=Questions(),
    train=SHORT,
)
spans = replace(
    dates,
    name="spans_encoder_decoder",
    claim="An encoder-decoder predicts spans that were cut out better than n-grams.",
    task=Spans(),
    train=SHORT,
)
masked = replace(
    dates,
    name="masked_encoder",
    claim="An encoder tells masked bytes better than n-grams of both sides.",
    task=MaskedText(),
    model=ALONE,
    train=replace(SHORT, batch_size=16),
)


def decoder_of(both: Experiment, does: str) -> Experiment:
    """Makes the decoder alone that has the parameters of an encoder-decoder."""
    claim = f"A decoder that reads the source as a prompt {does} as well."
    name = both.name.replace("encoder_decoder", "decoder")
    return match(replace(both, name=name, claim=claim, model=ALONE), both, "params")


PAIRS = (
    (dates, decoder_of(dates, "writes dates"), 0.01),
    (pronounce, decoder_of(pronounce, "writes phones"), 0.02),
    (spans, decoder_of(spans, "predicts spans"), 0.05),
)
"""Both, a decoder alone, and how much worse it may be to count as no worse."""
BARS = {
    dates: 0.95,
    pronounce: "letter_mode",
    questions: "first_default",
    spans: "ngram",
    masked: "ngram",
}
register(
    Study(
        name="architectures",
        claim=dates.claim,
        experiments=(
            *(one for *pair, _ in PAIRS for one in pair),
            questions,
            masked,
        ),
        minutes=86,
        claims=(
            *(Claim(one.claim, better(one.name, bar)) for one, bar in BARS.items()),
            *(
                Claim(
                    alone.claim, (Prediction(alone.name, both.name, at_least=-worse),)
                )
                for both, alone, worse in PAIRS
            ),
        ),
    )
)
