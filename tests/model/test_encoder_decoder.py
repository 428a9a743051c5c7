"""Encoder-decoders, and decoders that read a source as a prompt."""

from dataclasses import replace
from functools import cache

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attn.config import (
    MLP,
    Attention,
    Embedding,
    Experiment,
    LatentAttention,
    ModelConfig,
    Norm,
    cost,
)
from attn.errors import UserError
from attn.kernels import Linear, Nystrom, Softmax, TokenInfo, WindowAttention
from attn.model import Transformer
from attn.model.decode import start
from attn.objectives import SequenceToSequence, TokenHead
from attn.tasks import Dates

SIZES = {"vocab_size": 11, "max_len": 13, "d_model": 16, "num_heads": 2, "repeats": 1}
PAIR = ModelConfig(
    **SIZES,
    pattern=("attention", "cross_attention", "mlp"),
    encoder_pattern=("attention", "mlp"),
    encoder_repeats=2,
    causal=True,
)
DECODER = ModelConfig(**SIZES, causal=True)
PAIR_OF_A_TASK = ModelConfig(
    pattern=("attention", "cross_attention", "mlp"),
    encoder_pattern=("attention", "mlp"),
    kernel=Linear(),
)
RNG = np.random.default_rng(0)
BATCH = {
    "source": jnp.asarray(RNG.integers(0, 11, (2, 7)), jnp.int32),
    "source_lengths": jnp.asarray([7, 4]),
    "tokens": jnp.asarray(RNG.integers(0, 11, (2, 6)), jnp.int32),
    "targets": jnp.asarray(RNG.integers(0, 11, (2, 6)), jnp.int32),
    "lengths": jnp.asarray([3, 6]),
}
OBJECTIVE = SequenceToSequence()


def shapes_of(model, head=TokenHead()):
    return nnx.eval_shape(lambda: Transformer(model, head, rngs=nnx.Rngs(0)))


@cache
def ready(model):
    """A model's weights, and its logits and their gradient by the embedding, jitted."""
    graph, _ = nnx.split(shapes_of(model))
    weights = jax.jit(lambda: nnx.state(Transformer(model, rngs=nnx.Rngs(0))))()
    run = jax.jit(lambda w, b: OBJECTIVE.logits(nnx.merge(graph, w), b))
    return lambda batch: np.asarray(run(weights, batch))


@pytest.mark.parametrize("model", [PAIR, DECODER], ids=["encoder-decoder", "decoder"])
def test_padding_of_source_and_target_changes_nothing(model):
    call = ready(model)
    whole = call(BATCH)
    source = BATCH["source"].at[1, 4:].add(3) % 11
    tokens = BATCH["tokens"].at[0, 3:].add(3) % 11
    padded = call(BATCH | {"source": source, "tokens": tokens})
    np.testing.assert_allclose(padded[0, :3], whole[0, :3], atol=1e-6)
    np.testing.assert_allclose(padded[1], whole[1], atol=1e-6)
    changed = call(BATCH | {"source": BATCH["source"].at[1, 3].add(3) % 11})
    assert np.abs(changed[1] - whole[1]).max() > 1e-3
    np.testing.assert_array_equal(changed[0], whole[0])


@pytest.mark.parametrize("model", [PAIR, DECODER], ids=["encoder-decoder", "decoder"])
def test_no_target_token_is_seen_before_its_position(model):
    call = ready(model)
    whole = call(BATCH)
    for t in (1, 4):
        changed = call(BATCH | {"tokens": BATCH["tokens"].at[1, t].add(1) % 11})
        np.testing.assert_allclose(changed[1, :t], whole[1, :t], atol=1e-6)
        assert np.abs(changed[1, t:] - whole[1, t:]).max() > 1e-3


def test_a_decoder_reads_its_source_as_a_prompt_without_the_padding_between():
    """The second row is 4 tokens of source and 6 of target, one after the other."""
    row = jnp.concatenate([BATCH["source"][1:, :4], BATCH["tokens"][1:]], axis=1)
    model = Transformer(DECODER, rngs=nnx.Rngs(0))
    wanted = jax.jit(lambda row: model(row))(row)[0, 4:]
    np.testing.assert_allclose(ready(DECODER)(BATCH)[1], wanted, atol=1e-5)


def test_sums_count_real_targets_and_whole_rows():
    logits = np.full((3, 6, 11), -9.0, np.float32)
    batch = BATCH | {name: jnp.concatenate([x, x[:1]]) for name, x in BATCH.items()}
    right = np.asarray(batch["targets"]).copy()
    right[0, 3:] += 1  # wrong where there is padding: still a match
    right[1, 5] += 1  # wrong at its last token
    for row, column in np.ndindex(3, 6):
        logits[row, column, right[row, column] % 11] = 9.0

    class Fixed(SequenceToSequence):
        """An objective whose model says `logits`."""

        def logits(self, model, batch, key=None):
            return jnp.asarray(logits)

    weights = jnp.asarray([1.0, 1.0, 0.0])  # the last row fills the batch
    sums = Fixed().sums(None, batch | {"weights": weights})
    assert (sums["count"], sums["rows"], sums["exact_match"]) == (9, 2, 1)
    assert sums["accuracy"] == 8
    metrics = Fixed().metrics(sums)
    assert metrics["exact_match"] == 0.5
    assert metrics["accuracy"] == pytest.approx(8 / 9)


FULL_SPEC = ModelConfig(
    **SIZES,
    pattern=("attention", "cross_attention", "mlp"),
    encoder_block=(Attention(positions="t5", window=3), MLP(bias="none")),
    positions="learned",
    bias="all",
    qk_norm=True,
    gate=True,
    gated=True,
    norm=Norm("layer", "both"),
    embedding=Embedding(tied=False, norm=True, num_types=2),
    causal=True,
)


@pytest.mark.parametrize(
    "model",
    [PAIR, FULL_SPEC, ModelConfig(**SIZES, norm=Norm(at="post"), bias="qkv")],
    ids=["pair", "everything", "post norm"],
)
def test_parameters_of_stacks_and_parts_are_counted_as_they_are(model):
    there = sum(x.size for x in jax.tree.leaves(nnx.state(shapes_of(model), nnx.Param)))
    assert cost.model_params(model, TokenHead()) == there


@pytest.mark.parametrize(
    ("fields", "words"),
    [
        ({"pattern": ("attention", "cross_attention")}, "no encoder for it to read"),
        ({"encoder_pattern": ("attention",)}, "an encoder that no layer reads"),
        ({"encoder_repeats": 2}, "encoder_repeats = 2 repeats nothing"),
        ({"pattern": ("cross", "mlp")}, "did you mean 'cross_attention'"),
        (
            {"pattern": ("cross_attention",), "encoder_pattern": ("ffn",)},
            "ModelConfig.encoder_pattern 'ffn'; did you mean 'mlp'",
        ),
        ({"block": (Attention(source="memory"),)}, "no encoder for it to read"),
        ({"rope_dim": 20}, "rope_dim = 20 is above head_dim = 16"),
    ],
)
def test_an_encoder_and_its_readers_come_together(fields, words):
    with pytest.raises(UserError, match=words):
        ModelConfig(**fields)


def test_a_mechanism_that_cannot_read_a_source_as_its_prompt_is_refused_at_once():
    """Padding lies between source and target, so positions are known at run time."""
    task = Dates(num_dates=64)
    assert Experiment("pair", "It writes.", task, PAIR_OF_A_TASK)
    with pytest.raises(UserError, match="'linear' cannot do 'positions'"):
        Experiment("alone", "It writes.", task, ModelConfig(kernel=Linear()))


def test_attention_to_the_encoder_has_no_positions_of_its_own():
    for fields in ({"window": 4}, {"positions": "rotary"}, {"rope_base": 100.0}):
        name = next(iter(fields))
        with pytest.raises(UserError, match=f"Attention.{name} = .* source = 'memory'"):
            Attention(source="memory", **fields)
    cross = PAIR.layers[1]
    assert (cross.positions, cross.mechanism) == ("none", Softmax())
    linear = Attention(source="memory", kernel=Linear()).resolve(PAIR)
    assert linear.mechanism == Linear()


def test_a_model_is_called_with_a_source_where_it_has_an_encoder_alone():
    pair, decoder = (Transformer(m, rngs=nnx.Rngs(0)) for m in (PAIR, DECODER))
    with pytest.raises(UserError, match="was given no source= to read"):
        pair(BATCH["tokens"])
    with pytest.raises(UserError, match="has no encoder for source="):
        decoder(BATCH["tokens"], source=BATCH["source"])


def test_a_window_of_a_layer_is_the_mechanism_of_that_width():
    """In a decoder; an encoder's reaches as far to both sides."""
    tokens = BATCH["tokens"]
    windows = (
        ModelConfig(**SIZES, block=(Attention(window=3), MLP()), causal=True),
        ModelConfig(**SIZES, kernel=WindowAttention(width=3), causal=True),
    )
    a, b = (Transformer(m, rngs=nnx.Rngs(0)) for m in windows)
    a, b = jax.jit(lambda: (a(tokens), b(tokens)))()
    np.testing.assert_allclose(a, b, atol=1e-6)


def test_maps_name_the_layers_of_both_stacks_and_mix_real_tokens_alone():
    model = Transformer(PAIR, rngs=nnx.Rngs(0))
    info = TokenInfo(lengths=BATCH["source_lengths"])
    maps = jax.jit(
        lambda: model.maps(BATCH["tokens"], source=BATCH["source"], source_info=info)
    )()
    assert {name: m.shape[2:] for name, m in maps.items()} == {
        "encoder_0": (7, 7),
        "encoder_2": (7, 7),
        "layer_0": (6, 6),
        "layer_1": (6, 7),
    }
    np.testing.assert_allclose(maps["layer_1"].sum(axis=-1), 1, atol=1e-6)
    assert not maps["layer_1"][1, :, :, 4:].any()


def test_a_gate_and_a_partial_rotation_change_what_is_said():
    said = [
        ready(ModelConfig(**SIZES, causal=True, **fields))(BATCH)
        for fields in ({}, {"gate": True}, {"rope_dim": 4})
    ]
    assert np.abs(said[1] - said[0]).max() > 1e-3
    assert np.abs(said[2] - said[0]).max() > 1e-3


def test_a_mechanism_that_mixes_queries_cannot_read_the_encoder_for_a_decoder():
    block = (
        Attention(),
        Attention(source="memory", kernel=Nystrom(num_landmarks=2)),
        MLP(),
    )
    model = ModelConfig(block=block, encoder_pattern=("attention", "mlp"))
    with pytest.raises(UserError, match="'nystrom' mixes queries"):
        Experiment("one", "It leaks.", Dates(), model)


def test_what_goes_by_positions_reads_no_source():
    window = Attention(source="memory", kernel=WindowAttention(width=4))
    model = ModelConfig(block=(Attention(), window), encoder_pattern=("attention",))
    with pytest.raises(UserError, match="'window' sees keys by their positions"):
        Experiment("one", "It reads.", Dates(), model)
    alone = ModelConfig(pattern=("short_conv", "attention"))
    with pytest.raises(UserError, match="short_conv mixes neighbours"):
        Experiment("alone", "It reads.", Dates(), alone)


@pytest.mark.parametrize("dtype", ["float32", "bfloat16"])
def test_decoding_of_a_pair_keeps_the_bytes_that_tables_name(dtype):
    """Whole keys, a ring, a state, a latent, and the encoder's keys once."""
    block = (
        Attention(num_kv_heads=1),
        Attention(window=3),
        Attention(kernel=Linear()),
        LatentAttention(kv_rank=5),
        Attention(source="memory", num_kv_heads=1),
        MLP(),
    )
    model = ModelConfig(
        block=block,
        encoder_pattern=("attention", "mlp"),
        num_heads=2,
        repeats=2,
        dtype=dtype,
    )
    pair = Experiment("pair", "It writes.", Dates(), model)
    model, (L, S) = pair.resolved_model, pair.lengths
    tokens, source = (jax.ShapeDtypeStruct((1, n), jnp.int32) for n in (1, S))
    shapes = shapes_of(model)
    state = nnx.eval_shape(
        lambda m, t, s: start(m, t, L, source=s), shapes, tokens, source
    )
    leaves = jax.tree.leaves(state.caches)
    counted = sum(x.size * x.dtype.itemsize for x in leaves if x.dtype != jnp.int32)
    assert counted == cost.decode_state(pair)


def test_decoding_refuses_what_it_would_not_follow():
    tokens = BATCH["tokens"]
    decoder = Transformer(DECODER, rngs=nnx.Rngs(0))
    with pytest.raises(UserError, match="leave out segment_ids and positions"):
        start(decoder, tokens, 9, TokenInfo(segment_ids=jnp.zeros_like(tokens)))
    padded = Transformer(replace(DECODER, attend_padding=True), rngs=nnx.Rngs(0))
    with pytest.raises(UserError, match="attend_padding = True; decoding reads no"):
        start(padded, tokens, 9)
