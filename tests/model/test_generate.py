"""Decoding equals the full forward pass, and what is written follows from its logits."""

from functools import cache, partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attn.config import Embedding, ModelConfig
from attn.errors import UserError
from attn.kernels import BigBirdAttention, TokenInfo, WindowAttention
from attn.model import Transformer
from attn.model.beams import beam_search
from attn.model.decode import advance, start
from attn.model.generate import NO_TOKEN, Prompt, generate, stream
from attn.model.sampling import Sampler

SIZES = {"vocab_size": 11, "max_len": 16, "d_model": 16, "num_heads": 2, "repeats": 1}
MODELS = {
    "encoder-decoder": {
        "pattern": ("attention", "cross_attention", "mlp"),
        "encoder_pattern": ("attention", "mlp"),
        "positions": "learned",
        "bias": "all",
    },
    "latent": {"kv_rank": 6, "qk_norm": False, "gate": True},
    "hybrid": {
        "pattern": ("short_conv", "gated_delta", "window", "mlp"),
        # With tied vectors it would write one token again and again.
        "embedding": Embedding(tied=False),
    },
    "latent of blocks": {
        "kv_rank": 6,
        "kernel": BigBirdAttention(block=2, num_global=1),
    },
    "distances": {
        "positions": "t5",
        "num_kv_heads": 1,
        "kernel": WindowAttention(width=4),
    },
}
RNG = np.random.default_rng(0)
TOKENS = jnp.asarray(RNG.integers(0, 11, (2, 12)), jnp.int32)
SOURCE = jnp.asarray(RNG.integers(0, 11, (2, 7)), jnp.int32)


@cache
def model_of(name):
    model = ModelConfig(**SIZES | MODELS[name], causal=True)
    return Transformer(model, rngs=nnx.Rngs(0))


def source_of(name):
    return SOURCE if name == "encoder-decoder" else None


@cache
def programs(name):
    """The logits of whole sequences, and a program of a prompt and its steps."""
    model, source = model_of(name), source_of(name)

    @jax.jit
    def decode(prompt, real, later):
        state = start(model, prompt, 12, TokenInfo(mask=real), source=source)

        def one(state, token):
            state = advance(model, token, state)
            return state, state.logits

        return state.logits, jax.lax.scan(one, state, later.T)[1]

    return jax.jit(lambda tokens: model(tokens, source=source))(TOKENS), decode


@pytest.mark.parametrize("side", ["left", "right"])
@pytest.mark.parametrize("name", MODELS)
def test_steps_after_a_prompt_give_the_logits_of_the_whole_sequence(name, side):
    """The prompts have 5 and 3 tokens; each row goes on with its own next ones."""
    lengths, T = np.array([5, 3]), 5
    prompt, real = np.zeros((2, T), np.int32), np.zeros((2, T), bool)
    for row, n in enumerate(lengths):
        at = slice(0, n) if side == "right" else slice(T - n, T)
        prompt[row, at], real[row, at] = TOKENS[row, :n], True
    later = np.stack([TOKENS[row, n : n + 7] for row, n in enumerate(lengths)])
    whole, decode = programs(name)
    first, others = decode(jnp.asarray(prompt), jnp.asarray(real), jnp.asarray(later))
    for row, n in enumerate(lengths):
        found = np.concatenate([first[None, row], others[:, row]])
        np.testing.assert_allclose(found, whole[row, n - 1 : n + 7], atol=2e-5)


PROMPT = Prompt(TOKENS[:, :4])


def test_greedy_writing_is_the_argmax_of_each_step_streamed_or_not():
    model = model_of("hybrid")
    written = np.asarray(generate(model, PROMPT, 6))
    assert min(len(set(row)) for row in written.tolist()) > 1
    both = jnp.concatenate([PROMPT.tokens, written], axis=1)
    logits = jax.jit(lambda tokens: model(tokens))(both)
    np.testing.assert_array_equal(written, logits[:, 3:-1].argmax(axis=-1))
    streamed = np.stack([*stream(model, PROMPT, 6)], axis=1)
    np.testing.assert_array_equal(streamed, written)


def test_a_sequence_ends_at_its_end_and_the_others_go_on():
    model = model_of("hybrid")
    free = np.asarray(generate(model, PROMPT, 6))
    end = int(free[0, 2])
    assert end not in [*free[0, :2], *free[1]]
    written = np.asarray(generate(model, PROMPT, 6, end=end))
    np.testing.assert_array_equal(written[0, :3], free[0, :3])
    assert (written[0, 3:] == NO_TOKEN).all()
    np.testing.assert_array_equal(written[1], free[1])


def test_beams_find_the_likeliest_of_all_sequences():
    """With as many beams as there are prefixes, the search leaves nothing out."""
    model, steps, V = model_of("latent"), 2, 11
    prompt = Prompt(PROMPT.tokens[:1])
    found, scores = beam_search(model, prompt, steps, width=V, end=V)
    pairs = np.stack(np.meshgrid(np.arange(V), np.arange(V), indexing="ij"), -1)
    rows = jnp.concatenate(
        [jnp.repeat(prompt.tokens, V * V, axis=0), pairs.reshape(-1, 2)], axis=1
    )
    logits = jax.nn.log_softmax(jax.jit(lambda t: model(t))(rows), axis=-1)
    each = np.arange(V * V)
    total = logits[each, 3, rows[:, 4]] + logits[each, 4, rows[:, 5]]
    best = np.argsort(-np.asarray(total))[:V]
    np.testing.assert_allclose(scores[0], np.asarray(total)[best], atol=1e-5)
    np.testing.assert_array_equal(found[0, 0], pairs.reshape(-1, 2)[best[0]])


def test_the_score_of_a_beam_is_the_log_probability_of_its_sequence():
    """Over more steps than one: each beam goes on from the state of its own parent."""
    model, steps, W = model_of("hybrid"), 4, 3
    found, scores = beam_search(model, PROMPT, steps, width=W, end=11)
    rows = jnp.concatenate(
        [jnp.repeat(PROMPT.tokens, W, axis=0), found.reshape(-1, steps)], axis=1
    )
    logits = jax.nn.log_softmax(jax.jit(lambda t: model(t))(rows)[:, 3:-1], axis=-1)
    each = jnp.take_along_axis(logits, rows[:, 4:, None], axis=-1)
    np.testing.assert_allclose(each.sum(axis=(1, 2)), scores.reshape(-1), atol=1e-4)


def test_a_beam_that_has_ended_keeps_its_score_and_may_win():
    model, prompt = model_of("latent"), Prompt(PROMPT.tokens[:1])
    likely = int(generate(model, prompt, 1)[0, 0])
    found, scores = beam_search(model, prompt, 5, width=3, end=likely)
    assert found[0, 0].tolist() == [likely] + [NO_TOKEN] * 4
    assert (np.diff(scores[0]) <= 0).all()
    longer, _ = beam_search(model, prompt, 5, width=3, end=likely, length_penalty=20.0)
    assert longer[0, 0].tolist() != found[0, 0].tolist()


LOGITS = jnp.log(jnp.asarray([[0.5, 0.3, 0.15, 0.05], [0.1, 0.2, 0.3, 0.4]]))


@pytest.mark.parametrize(
    ("sampler", "kept"),
    [
        (Sampler(1.0, top_k=2), [[0, 1], [2, 3]]),
        (Sampler(1.0, top_p=0.6), [[0, 1], [2, 3]]),
        (Sampler(1.0, top_p=0.05), [[0], [3]]),
        (Sampler(1.0, top_k=3, top_p=0.99), [[0, 1, 2], [1, 2, 3]]),
        (Sampler(1.0, top_k=9), [[0, 1, 2, 3], [0, 1, 2, 3]]),
        (Sampler(1e9, top_k=1), [[0], [3]]),
        (Sampler(1e9, top_p=0.25), [[0], [3]]),
    ],
    ids=str,
)
def test_what_may_be_sampled(sampler, kept):
    left = np.isfinite(sampler.kept(LOGITS))
    assert [np.nonzero(row)[0].tolist() for row in left] == kept


def test_a_sampler_draws_by_probability_and_is_greedy_at_0():
    draw = jax.jit(jax.vmap(partial(Sampler(1.0), LOGITS)))
    drawn = np.asarray(draw(jax.random.split(jax.random.key(0), 4000)))
    shares = np.stack([np.bincount(drawn[:, row], minlength=4) for row in range(2)])
    np.testing.assert_allclose(shares / 4000, np.exp(LOGITS), atol=0.03)
    np.testing.assert_array_equal(Sampler()(LOGITS, None), [0, 3])


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: Sampler(-1.0), "temperature = -1.0"),
        (lambda: Sampler(1.0, top_k=0), "top_k = 0"),
        (lambda: Sampler(1.0, top_p=1.5), "top_p = 1.5"),
        (lambda: Sampler(top_k=3), "give a temperature above 0"),
        (lambda: generate(model_of("hybrid"), PROMPT, 0), "0 tokens were asked for"),
        (
            lambda: generate(model_of("hybrid"), Prompt(TOKENS[:, :0]), 2),
            "the prompt is empty",
        ),
        (
            lambda: generate(
                model_of("encoder-decoder"), Prompt(TOKENS, source=SOURCE), 9
            ),
            "21 tokens, prompt included, are more than the 16 positions",
        ),
        (
            lambda: generate(model_of("encoder-decoder"), PROMPT, 2),
            "was given no source= to read",
        ),
    ],
)
def test_what_cannot_be_written_is_refused(make, words):
    with pytest.raises(UserError, match=words):
        make()


def test_a_mechanism_that_cannot_decode_is_refused_by_name():
    model = Transformer(
        ModelConfig(**SIZES, pattern=("linformer", "mlp")), rngs=nnx.Rngs(0)
    )
    with pytest.raises(UserError, match="'linformer' cannot do 'decoding'"):
        generate(model, PROMPT, 2)


def test_a_sampler_with_a_temperature_needs_a_key():
    prompt = Prompt(TOKENS[:, :2])
    for write in (generate, lambda *a, **k: next(stream(*a, **k))):
        with pytest.raises(UserError, match="samples; give a key"):
            write(model_of("latent"), prompt, 2, sampler=Sampler(1.0))


def test_the_last_token_needs_no_learned_position():
    model = model_of("encoder-decoder")
    prompt = Prompt(TOKENS, source=SOURCE)  # 12 of 16 positions
    assert generate(model, prompt, 5).shape == (2, 5)
    with pytest.raises(UserError, match="18 tokens, prompt included"):
        generate(model, prompt, 6)
