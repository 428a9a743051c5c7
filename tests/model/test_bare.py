"""A model of its own: no experiment, no task, no mesh."""

from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx
from tiny import exhaustive

from attn.config import MLP, Attention, LatentAttention, ModelConfig, ShortConv
from attn.errors import UserError
from attn.kernels import Softmax, TokenInfo, WindowAttention
from attn.model import Transformer
from attn.objectives import ClassHead, NextToken, TokenHead
from attn.parallel.mesh import MeshShape, make_mesh

SIZES = {"vocab_size": 11, "max_len": 8, "d_model": 16, "num_heads": 2, "repeats": 1}
TOKENS = jnp.asarray(np.random.default_rng(0).integers(0, 11, (2, 8)), jnp.int32)


def build(model, head=TokenHead()):
    """A model that is called as one program."""
    graph, weights = nnx.split(Transformer(model, head, rngs=nnx.Rngs(0)))
    run = jax.jit(lambda weights, *a, **k: nnx.merge(graph, weights)(*a, **k))
    return partial(run, weights)


def make(head=TokenHead(), **fields):
    return build(ModelConfig(**SIZES | fields), head)


def test_a_decoder_and_an_encoder_need_no_task():
    decoder, encoder = make(causal=True), make(ClassHead(3))
    changed = TOKENS.at[:, -1].set(0)
    before, after = decoder(TOKENS), decoder(changed)
    assert before.shape == (2, 8, 11)
    np.testing.assert_array_equal(before[:, :-1], after[:, :-1])
    assert encoder(TOKENS).shape == (2, 1, 3)
    assert np.abs(encoder(TOKENS) - encoder(changed)).max() > 1e-3


@pytest.mark.parametrize("name", ["vocab_size", "max_len"])
def test_a_model_without_a_size_is_refused(name):
    with pytest.raises(UserError, match=f"ModelConfig.{name} is not given"):
        make(**{name: None})


HYBRID = (
    ShortConv(width=3),
    Attention(kernel=WindowAttention(width=3), num_heads=4, head_dim=8),
    MLP(d_ff=24),
    Attention(num_kv_heads=1),
)


@pytest.mark.parametrize(
    "positions",
    [
        *("learned", "rotary", "t5"),
        *map(exhaustive, ("none", "sinusoidal", "alibi")),
    ],
)
def test_packed_sequences_are_what_each_is_alone(positions):
    model = make(block=HYBRID, positions=positions, causal=True)
    alone = [model(TOKENS[:1, :3]), model(TOKENS[:1, 3:])]
    packed = TokenInfo(
        segment_ids=jnp.array([[0] * 3 + [1] * 5]),
        positions=jnp.array([[*range(3), *range(5)]]),
    )
    np.testing.assert_allclose(
        model(TOKENS[:1], packed), np.concatenate(alone, axis=1), atol=2e-5
    )


@pytest.mark.parametrize("positions", ["rotary", "alibi", "t5"])
def test_relative_positions_know_distances_alone(positions):
    model = make(positions=positions, causal=True)
    shifted = TokenInfo(positions=jnp.arange(8)[None] + 100)
    np.testing.assert_allclose(model(TOKENS), model(TOKENS, shifted), atol=2e-5)
    still = make(positions="none", causal=True)
    assert np.abs(model(TOKENS) - still(TOKENS)).max() > 1e-3


def test_the_base_of_rotary_positions_matters():
    slow, fast = make(rope_base=1e6), make(rope_base=10.0)
    assert np.abs(slow(TOKENS) - fast(TOKENS)).max() > 1e-3


def test_padding_by_length_and_by_mask_are_the_same():
    model = make(ClassHead(3), block=HYBRID, positions="t5")
    lengths = model(TOKENS, TokenInfo(lengths=jnp.array([5, 8])))
    mask = jnp.arange(8)[None] < jnp.array([[5], [8]])
    masked = model(TOKENS, TokenInfo(mask=mask))
    np.testing.assert_allclose(lengths, masked, rtol=1e-5, atol=1e-6)
    other = jnp.where(mask, TOKENS, 0)
    np.testing.assert_allclose(lengths, model(other, TokenInfo(mask=mask)), atol=1e-6)


def test_states_and_inputs_of_layers_know_padding_too():
    model = Transformer(ModelConfig(**SIZES), rngs=nnx.Rngs(0))
    other, info = TOKENS.at[:, 5:].set(0), TokenInfo(lengths=jnp.array([5, 5]))
    hidden = jax.jit(model.hidden)
    a, b = hidden(TOKENS, info), hidden(other, info)
    np.testing.assert_array_equal(a[:, :5], b[:, :5])
    assert np.abs(hidden(TOKENS) - hidden(other))[:, :5].max() > 1e-3


def test_a_latent_layer_has_keys_for_every_head_whatever_the_others_share():
    block = (Attention(), LatentAttention(kv_rank=8), MLP())
    shared, latent = ModelConfig(num_kv_heads=1, block=block).attention_layers[:2]
    assert (shared.sizes[1], latent.sizes[1]) == (1, 4)


@pytest.mark.exhaustive
def test_a_mesh_changes_nothing():
    free = make(block=HYBRID, positions="alibi", num_heads=2)(TOKENS)
    with jax.set_mesh(make_mesh(MeshShape(data=2, heads=2))):
        laid = make(block=HYBRID, positions="alibi", num_heads=2)(TOKENS)
    assert laid.sharding.spec[0] == "data"
    np.testing.assert_allclose(laid, free, atol=1e-5)


def test_a_bias_of_distances_is_refused_where_a_kernel_takes_none():
    with pytest.raises(UserError, match="'linear' cannot do 'relative_bias'"):
        ModelConfig(pattern=("linear",), positions="alibi")


def test_packed_sequences_may_be_longer_together_than_positions_were_learned_for():
    model = make(positions="learned", causal=True)
    packed = TokenInfo(jnp.repeat(jnp.arange(2), 6)[None], jnp.arange(12)[None] % 6)
    both = jnp.concatenate([TOKENS[:1, :6], TOKENS[1:, :6]], axis=1)
    np.testing.assert_allclose(
        model(both, packed)[0, 6:], model(TOKENS[1:, :6])[0], atol=2e-5
    )


def test_a_longer_sequence_than_positions_were_learned_for_is_refused():
    with pytest.raises(
        UserError, match=r"9 tokens are more than ModelConfig\.max_len = 8"
    ):
        make(positions="learned")(jnp.zeros((1, 9), jnp.int32))


def test_a_weight_of_zero_takes_a_position_out_of_the_loss():
    objective, model = NextToken(), make(causal=True)
    batch = {"tokens": TOKENS, "targets": TOKENS}
    weights = jnp.ones((2, 8)).at[:, 3:].set(0)
    loss = objective.loss(model, batch | {"weights": weights})
    short = {name: rows[:, :3] for name, rows in batch.items()}
    np.testing.assert_allclose(loss, objective.loss(model, short), rtol=1e-6)
    sums = objective.sums(model, batch | {"weights": weights})
    assert sums["count"] == 6
    np.testing.assert_allclose(sums["loss"] / 6, loss, rtol=1e-6)
    rows = objective.loss(model, batch | {"weights": jnp.array([1.0, 0.0])})
    first = {name: rows[:1] for name, rows in batch.items()}
    np.testing.assert_allclose(rows, objective.loss(model, first), rtol=1e-6)


def test_an_implementation_named_by_a_layer_is_checked():
    with pytest.raises(UserError, match="attention_impl of 'softmax' 'blockwize'"):
        ModelConfig(block=(Attention(kernel=Softmax(), impl="blockwize"),))
