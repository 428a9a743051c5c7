"""What a model writes after a prompt, as text: nothing is lost, and spaces are kept."""

import jax
import numpy as np
import pytest
from flax import nnx

from attn.config import Embedding, ModelConfig
from attn.inspect.writer import Writer, end_tokens
from attn.model import Transformer
from attn.model.generate import Prompt, generate
from attn.model.sampling import GREEDY

V = 12


@pytest.fixture(scope="module")
def model():
    # With tied vectors it would say the last token again and again.
    apart = Embedding(tied=False)
    sizes = {"vocab_size": V, "max_len": 32, "d_model": 16, "num_heads": 2}
    config = ModelConfig(**sizes, causal=True, embedding=apart)
    return Transformer(config, rngs=nnx.Rngs(1))


def numbers(model, **more):
    """A writer of numbers with a space between, as synthetic tasks have."""
    encode = lambda text: [int(word) for word in text.split()]  # noqa: E731
    return Writer(model, encode, lambda tokens: " ".join(map(str, tokens)), **more)


def written(model, tokens, steps):
    return np.asarray(generate(model, Prompt(jax.numpy.asarray([tokens])), steps))[0]


def test_a_continuation_is_one_text_with_its_prompt(model):
    after = written(model, [1, 2, 3], 5)
    pieces = [*numbers(model).stream("1 2 3", 5, GREEDY, 0)]
    assert "1 2 3" + "".join(pieces) == " ".join(map(str, [1, 2, 3, *after]))
    assert len(pieces) == 5
    (best,) = numbers(model).beams("1 2 3", 1, 1)
    assert best == f" {after[0]}"


def test_no_more_beams_are_shown_than_there_are_continuations(model):
    assert len(numbers(model).beams("1 2 3", 1, V + 5)) == V


def test_a_character_that_is_never_finished_is_shown_at_the_end(model):
    writer = Writer(
        model,
        lambda text: [1, 2],
        lambda tokens: "a" * (len(tokens) - 1) + ("a", "\ufffd")[len(tokens) > 2],
    )
    assert "".join(writer.stream("aa", 3, GREEDY, 0)) == "aa\ufffd"


def test_what_follows_a_source_stands_alone(model):
    decoder = numbers(model, start=0)
    after = written(model, [1, 2, 0], 3)
    assert "".join(decoder.stream("1 2", 3, GREEDY, 0)) == " ".join(map(str, after))


def test_any_of_several_tokens_ends_a_text(model):
    assert end_tokens({"eos_token_id": [7, 8]}) == (7, 8)
    assert (end_tokens({"eos_token_id": 7}), end_tokens({})) == ((7,), ())
    after = written(model, [1, 2, 3], 5).tolist()
    assert len(set(after)) == 5
    for ends in ((after[3], after[2]), (after[2], after[3])):
        pieces = numbers(model, end=ends).stream("1 2 3", 5, GREEDY, 0)
        assert "1 2 3" + "".join(pieces) == " ".join(map(str, [1, 2, 3, *after[:2]]))
