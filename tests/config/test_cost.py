"""Costs are those of the real model, and matched models cost the same."""

from dataclasses import replace

import jax
import pytest
from jax.sharding import PartitionSpec as P
from tiny import (
    DECODERS,
    ENCODERS,
    RECALL,
    TREES,
    exhaustive,
    experiment_for,
    experiment_of,
    logits,
    place,
    random_batch,
    some,
)

from attn.cli.listing import details
from attn.config import MLP, Attention, Experiment, ModelConfig
from attn.config.cost import count_params, decode_state, forward_flops, train_flops
from attn.config.match import match
from attn.errors import UserError
from attn.kernels import KERNELS, Linear, Performer, Softmax, WindowAttention
from attn.kernels.sparse.base import SparseSoftmax
from attn.parallel.mesh import make_mesh
from attn.tasks import MQAR, Digits, PyDoc
from attn.train.state import build, model_def

BLOCKS = ("short_conv", "attention", "mlp")


def parameters(experiment):
    with jax.set_mesh(make_mesh()):
        params, _ = jax.eval_shape(lambda: build(experiment, jax.random.key(0)))
    return sum(leaf.size for leaf in params.values())


@pytest.mark.parametrize(
    ("name", "positions"),
    [
        (name, p) if name == "softmax" or p == "learned" else exhaustive(name, p)
        for name in KERNELS
        for p in ("none", "learned", "sinusoidal", "rotary")
    ],
)
def test_parameters_are_counted_as_they_are(name, positions):
    kernel = KERNELS[name]()
    decoder = MQAR(seq_len=64)
    for task, able in ((decoder, DECODERS), (Digits(), ENCODERS)):
        if name in able:
            model = ModelConfig(
                pattern=BLOCKS, kernel=kernel, positions=positions, num_kv_heads=2
            )
            experiment = Experiment("a", "b", task, model)
            assert parameters(experiment) == count_params(experiment)


@pytest.mark.parametrize(
    "name", ["window", *some([n for n in ENCODERS if n != "window"])]
)
def test_flops_are_within_a_fifth_of_what_the_compiler_counts(name):
    # Dense kernels compute what the mask hides too, so they are asked without one.
    task = replace(TREES, seq_len=64)
    experiment = replace(experiment_for(name, d_model=64, pattern=BLOCKS), task=task)
    mesh = make_mesh()
    batch = place(random_batch(task, (1,)), mesh, P("data"))
    with jax.set_mesh(mesh):
        params, features = build(experiment, jax.random.key(0))
        model = model_def(experiment)
        call = jax.jit(lambda p, f, b: logits(experiment, model.merge(p, f), b))
        counted = call.lower(params, features, batch).compile().cost_analysis()["flops"]
    if issubclass(KERNELS[name], SparseSoftmax):
        # The implementation by definition scores every pair.
        free = replace(
            experiment, model=replace(experiment.model, kernel=KERNELS["softmax"]())
        )
        assert forward_flops(experiment) < forward_flops(free)
        experiment = free
    assert forward_flops(experiment) == pytest.approx(counted, rel=0.2)


def test_a_training_step_is_three_forward_passes_of_the_batch():
    experiment = experiment_of()
    assert train_flops(experiment) == 3 * 8 * forward_flops(experiment)


@pytest.mark.parametrize(
    ("model", "numbers"),
    [
        ({"num_heads": 4, "head_dim": 8}, 16 * 4 * 16),
        ({"num_heads": 4, "head_dim": 8, "num_kv_heads": 2}, 16 * 2 * 16),
        ({"num_heads": 4, "head_dim": 8, "num_kv_heads": 1}, 16 * 16),
        ({"kernel": WindowAttention(width=5), "head_dim": 8}, 2 * 5 * 16),
        ({"kernel": Linear(), "head_dim": 8, "num_kv_heads": 1}, 8 * 9),
        # Each query head has random features of its own, so nothing is shared.
        (
            {"kernel": Performer(num_features=12), "head_dim": 8, "num_kv_heads": 1},
            2 * 12 * 10,
        ),
        # One latent and one rotated key for all heads; an attended sum keeps none.
        ({"num_heads": 4, "head_dim": 8, "kv_rank": 6}, 16 * (6 + 4)),
        ({"num_heads": 8, "head_dim": 8, "kv_rank": 6, "rope_dim": 2}, 16 * (6 + 2)),
        ({"num_heads": 8, "kv_rank": 6, "positions": "learned"}, 16 * 6),
        ({"kernel": WindowAttention(width=5), "kv_rank": 6, "rope_dim": 2}, 5 * 8),
        ({"kernel": Linear(), "kv_rank": 6, "rope_dim": 2}, 2 * 10 * 9),
        ({"pattern": ("short_conv",), "conv_width": 3}, 2 * 16),
        ({"pattern": ("mlp",)}, 0),
    ],
)
def test_what_decoding_keeps_follows_from_heads_and_kernel(model, numbers):
    assert decode_state(experiment_of(**model)) == 4 * numbers
    state = getattr(model.get("kernel"), "keeps", "keys") == "state"
    narrow = decode_state(experiment_of(**model, dtype="bfloat16"))
    assert narrow == (4 if state else 2) * numbers
    assert decode_state(experiment_of(**model, repeats=3)) == 12 * numbers


def test_an_encoder_keeps_nothing_to_decode():
    assert decode_state(experiment_of(TREES)) is None


# Shazeer 2019: "attention" twice in a decoder block is self- and cross-attention.
T5_LIKE = ("attention", "mlp", "attention", "attention", "mlp")
LM1B = ("attention", "mlp")


def shazeer(pattern, d_ff, **heads):
    sizes = {"d_model": 1024, "num_heads": 8, "head_dim": 128} | heads
    model = ModelConfig(pattern=pattern, repeats=6, d_ff=d_ff, **sizes)
    return Experiment("shazeer", "It is so.", PyDoc(seq_len=256), model)


@pytest.mark.parametrize(
    ("pattern", "reference", "heads", "published"),
    [
        (T5_LIKE, 4096, {"num_kv_heads": 1}, 5440),
        (T5_LIKE, 4096, {"num_heads": 1, "head_dim": 128}, 6784),
        (T5_LIKE, 4096, {"num_heads": 2, "head_dim": 64}, 6784),
        (T5_LIKE, 4096, {"num_heads": 4, "head_dim": 32}, 6784),
        (T5_LIKE, 4096, {"num_heads": 8, "head_dim": 16}, 6784),
        (LM1B, 8192, {"num_kv_heads": 1}, 9088),
        (LM1B, 8192, {"num_heads": 1, "head_dim": 128}, 9984),
    ],
)
def test_matching_parameters_gives_the_widths_that_shazeer_published(
    pattern, reference, heads, published
):
    wanted = shazeer(pattern, reference)
    found = match(shazeer(pattern, 1, **heads), wanted, "params")
    assert found.model.d_ff == published
    assert count_params(found) == count_params(wanted)


def test_heads_that_share_one_width_cost_the_same_parameters():
    # Vaswani et al. 2017, table 3, rows A: h times d_k is 512.
    counts = {
        count_params(shazeer(LM1B, 2048, d_model=512, num_heads=h, head_dim=512 // h))
        for h in (1, 4, 8, 16, 32)
    }
    assert len(counts) == 1


@pytest.mark.parametrize("name", DECODERS)
def test_matching_flops_is_right_to_half_a_hidden_unit(name):
    wanted = experiment_of(d_ff=256)
    start = experiment_for(name)
    found = match(start, wanted, "flops")
    unit = 4 * RECALL.seq_len * 16
    assert abs(forward_flops(found) - forward_flops(wanted)) <= unit / 2


@pytest.mark.parametrize("positions", ["rotary", "none"])
@pytest.mark.parametrize("name", DECODERS)
def test_matching_the_cache_gives_the_nearest_head(name, positions):
    wanted = experiment_of(num_heads=4, head_dim=32)
    start = experiment_for(name, positions=positions)
    found = match(start, wanted, "kv_cache")
    H, step = found.model.head_dim, 2 if positions == "rotary" else 1
    step = max(step, KERNELS[name].head_multiple)
    assert H % step == 0
    gaps = [
        abs(
            decode_state(replace(start, model=replace(start.model, head_dim=size)))
            - decode_state(wanted)
        )
        for size in (H, H - step, H + step)
    ]
    assert gaps[0] == min(gaps)


@pytest.mark.parametrize(
    ("experiment", "reference", "by", "words"),
    [
        (experiment_of(TREES), experiment_of(), "kv_cache", "encoder.*match params"),
        (experiment_of(), experiment_of(TREES), "kv_cache", "encoder.*match params"),
        (experiment_of(pattern=("attention",)), experiment_of(), "params", "no layer"),
        (experiment_of(pattern=("mlp",)), experiment_of(), "kv_cache", "no layer"),
        (experiment_of(d_model=64), experiment_of(), "params", "costs more"),
    ],
)
def test_what_cannot_be_matched_is_refused(experiment, reference, by, words):
    with pytest.raises(UserError, match=words):
        match(experiment, reference, by)


def test_matching_reaches_the_smallest_size():
    smallest = experiment_of(d_ff=1)
    assert match(experiment_of(), smallest, "params") == smallest


def test_matching_nothing_changes_nothing():
    assert match(experiment_of(), experiment_of(d_ff=99), "none") == experiment_of()


def test_a_layer_with_a_window_keeps_and_says_what_the_mechanism_of_that_width_does():
    own = experiment_of(kernel=WindowAttention(width=5))
    layers = (Attention(window=5), MLP())
    layer = replace(own, model=replace(own.model, kernel=Softmax(), block=layers))
    assert decode_state(layer) == decode_state(own) < decode_state(experiment_of())
    assert details(layer)["mask"] == "Causal() & Window(4, 4)"
