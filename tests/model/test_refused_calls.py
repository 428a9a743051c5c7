"""A model refuses what it would misread, as `attend` does: one line with the way out."""

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest
from flax import nnx

from attn.config import MLP, Attention, ModelConfig
from attn.errors import UserError
from attn.kernels import Softmax, TokenInfo
from attn.model import Transformer
from attn.objectives import TokenHead

B, T, V = 2, 8, 11
SIZES = {"vocab_size": V, "max_len": T, "d_model": 16, "num_heads": 2, "repeats": 1}
TOKENS = np.random.default_rng(0).integers(0, V, (B, T))


@pytest.fixture(autouse=True)
def no_type_checks():
    """Calls go past the type checks of the test run, as a user's do."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


@pytest.fixture(scope="module")
def model():
    return Transformer(ModelConfig(**SIZES), TokenHead(), rngs=nnx.Rngs(0))


CONFIGS = {
    "a class": ({"kernel": Softmax}, r"kernel is Softmax; .* such as Softmax\(\)"),
    "a name": ({"kernel": "linear"}, r"kernel is 'linear'; .* such as Linear\(\)"),
    "no kernel": ({"kernel": None}, r"kernel is None; .* such as Softmax\(\)"),
    "a layer's class": (
        {"block": (Attention,)},
        r"ModelConfig\.block holds Attention; .* such as Attention\(\)",
    ),
    "a layer's name": (
        {"block": ("mlp", MLP())},
        r"ModelConfig\.block holds 'mlp'; .* names go into pattern",
    ),
    "an encoder's layer": (
        {"encoder_block": (MLP,), "pattern": ("cross_attention", "mlp")},
        r"ModelConfig\.encoder_block holds MLP; .* such as MLP\(\)",
    ),
    "a layer alone": ({"block": Attention()}, r"block is Attention.*; .* tuple"),
    "the class of a layer's kernel": (
        {"block": (Attention(kernel=Softmax), MLP())},
        r"Attention\.kernel is Softmax; .* such as Softmax\(\)",
    ),
    "a kernel for a layer": ({"block": (Softmax(),)}, r"block holds Softmax"),
    "a name for a pattern": ({"pattern": "mlp"}, r"pattern is 'mlp'; .* tuple, as in"),
}


@pytest.mark.parametrize("case", CONFIGS)
def test_what_is_no_layer_or_kernel_is_refused_in_one_line(case):
    fields, said = CONFIGS[case]
    with pytest.raises(UserError, match=said) as raised:
        ModelConfig(**SIZES | fields)
    assert "\n" not in str(raised.value)


MISREAD = {
    "tokens of floats": (TOKENS / 2, {}, "tokens is float64; it must be integer"),
    "a list": (TOKENS.tolist(), {}, r"tokens is a list; .* jnp\.asarray\(tokens\)"),
    "one sequence": (TOKENS[0], {}, r"tokens is \(8,\); it must be \(batch, tokens\)"),
    "no tokens": (TOKENS[:, :0], {}, r"tokens is \(2, 0\); .* none of them 0"),
    "a token below": (TOKENS - 11, {}, "tokens holds -.*; .* padding goes into"),
    "a token above": (
        jnp.asarray(TOKENS).at[0, 0].set(V),
        {},
        "tokens holds 11; it must be at most vocab_size - 1 = 10",
    ),
    "long rows": (
        TOKENS,
        {"lengths": jnp.array([9, 8])},
        "lengths holds 9; it must be at most T = 8",
    ),
    "a list of lengths": (TOKENS, {"lengths": [9]}, "lengths is a list"),
    "negative lengths": (TOKENS, {"lengths": np.array([-1, 8])}, "lengths holds -1"),
    "lengths of other rows": (
        TOKENS,
        {"lengths": np.array([1, 2, 3])},
        r"lengths is \(3,\); it must be \(2,\)",
    ),
    "an additive mask": (
        TOKENS,
        {"mask": np.zeros((B, T))},
        "mask is float64; .* bool",
    ),
    "a padding id": (
        TOKENS,
        {"segment_ids": np.full((B, T), -1)},
        "segment_ids holds -1; .* padding goes in",
    ),
    "negative positions": (
        TOKENS,
        {"positions": np.arange(-1, T - 1)[None]},
        "positions holds -1",
    ),
    "one position a row": (
        TOKENS,
        {"positions": np.zeros((B, 1), int)},
        r"positions is \(2, 1\); it must be \(2, 8\)",
    ),
    "positions of another length": (
        TOKENS,
        {"positions": np.arange(T + 1)[None]},
        r"positions is \(1, 9\); it must be \(2, 8\)",
    ),
}


@pytest.mark.parametrize("case", MISREAD)
def test_what_a_model_would_misread_is_refused_in_one_line(model, case):
    tokens, info, said = MISREAD[case]
    for call in (model, model.hidden, model.maps):
        with pytest.raises(UserError, match=said) as raised:
            call(tokens, TokenInfo(**info))
        assert "\n" not in str(raised.value)


def test_what_an_encoder_would_misread_is_refused_under_the_name_of_the_source():
    layers = {"pattern": ("cross_attention",), "encoder_pattern": ("mlp",)}
    model = Transformer(ModelConfig(**SIZES | layers), rngs=nnx.Rngs(0))
    with pytest.raises(UserError, match=r"source holds 11; .* vocab_size - 1 = 10"):
        model(TOKENS, source=np.full((B, 3), V))
    told = TokenInfo(lengths=np.array([4, 3]))
    with pytest.raises(UserError, match=r"source_lengths holds 4; .* S = 3"):
        model(TOKENS, source=TOKENS[:, :3], source_info=told)


def test_of_a_tracer_only_the_type_is_looked_at(model):
    def run(tokens, lengths):
        return model(tokens, TokenInfo(lengths=lengths))

    ints, shape = jnp.int32, jax.ShapeDtypeStruct
    made = jax.eval_shape(run, shape((B, T), ints), shape((B,), ints))
    assert made.shape == (B, T, V)
    with pytest.raises(UserError, match="tokens is float32"):
        jax.eval_shape(run, shape((B, T), jnp.float32), shape((B,), ints))
    with pytest.raises(UserError, match=r"tokens is \(8,\)"):
        jax.eval_shape(run, shape((T,), ints), shape((B,), ints))


def test_what_is_said_once_is_of_every_row(model):
    tokens = jnp.asarray(TOKENS)
    whole = model(tokens, TokenInfo(positions=jnp.arange(T)[None].repeat(B, 0)))
    for positions in (np.arange(T), jnp.arange(T)[None]):
        once = model(TOKENS, TokenInfo(positions=positions))
        np.testing.assert_array_equal(once, whole)
