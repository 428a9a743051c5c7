"""Experiments that make no sense are refused, and what is left open is derived."""

from dataclasses import replace

import pytest
from tiny import TREES, experiment_of

from attn.config import (
    MLP,
    Attention,
    Experiment,
    ModelConfig,
    TrainConfig,
)
from attn.config.model_checks import require_read
from attn.errors import UserError
from attn.kernels import (
    KERNELS,
    Linear,
    Linformer,
    Longformer,
    Softmax,
    WindowAttention,
)
from attn.masks import FULL, Causal
from attn.tasks import MQAR, Digits

BASE = Experiment("base", "It is so.", MQAR())
NAN, INF = float("nan"), float("inf")

BAD_MODELS = [
    *[
        (name, value)
        for name in (
            "d_model repeats num_heads num_kv_heads head_dim kv_rank rope_dim d_ff "
            "conv_width"
        ).split()
        for value in (0, -3)
    ],
    ("num_heads", 5),
    ("num_kv_heads", 3),
    ("num_kv_heads", 8),
    ("head_dim", 7),
    ("dropout", -0.1),
    ("dropout", 1.0),
    ("dropout", NAN),
    ("attention_dropout", -0.1),
    ("attention_dropout", 1.0),
    ("attention_impl", "cuda"),
]
BAD_TRAINS = [
    *[
        (name, value)
        for name in "steps batch_size eval_every save_every".split()
        for value in (0, -2)
    ],
    *[(name, v) for name in ("peak_lr", "clip_norm") for v in (0.0, -1.0, NAN, INF)],
    *[("weight_decay", v) for v in (-0.1, NAN, INF)],
    ("warmup_steps", -1),
    ("warmup_steps", 500),
]


@pytest.mark.parametrize(("field", "value"), BAD_MODELS)
def test_a_bad_model_field_is_refused_by_name_and_value(field, value):
    with pytest.raises(UserError) as error:
        ModelConfig(**{field: value})
    assert field in str(error.value)
    assert str(value) in str(error.value)
    assert "\n" not in str(error.value)


@pytest.mark.parametrize(("field", "value"), BAD_TRAINS)
def test_a_bad_train_field_is_refused_by_name_and_value(field, value):
    with pytest.raises(UserError) as error:
        TrainConfig(**{field: value})
    assert field in str(error.value)
    assert str(value) in str(error.value)


@pytest.mark.parametrize(
    ("field", "value"), [("positions", "rotory"), ("dtype", "f16")]
)
def test_a_word_that_is_no_choice_is_refused_without_a_type_checker(field, value):
    model = ModelConfig()
    object.__setattr__(model, field, value)
    with pytest.raises(UserError, match=f"ModelConfig.{field} '{value}'"):
        model.__post_init__()


def test_an_odd_head_is_refused_for_rotary_positions_alone():
    assert ModelConfig(head_dim=7, positions="learned").sizes["head_dim"] == 7


@pytest.mark.parametrize(
    ("pattern", "words"),
    [
        ((), "pattern is empty"),
        (("attention", "short_con"), "did you mean 'short_conv'"),
        (("longformr",), "did you mean 'longformer'"),
    ],
)
def test_a_bad_pattern_is_refused_with_the_nearest_layer(pattern, words):
    with pytest.raises(UserError, match=words):
        ModelConfig(pattern=pattern)


def test_an_implementation_that_a_layer_of_the_pattern_lacks_is_refused():
    with pytest.raises(UserError, match="attention_impl of 'linear' 'blockwise'"):
        ModelConfig(pattern=("attention", "linear"), attention_impl="blockwise")


@pytest.mark.parametrize(
    ("field", "value", "layers"),
    [
        ("d_ff", 96, {"pattern": ("attention",)}),
        ("conv_width", 4, {}),
        ("num_heads", 8, {"pattern": ("mlp",)}),
        ("num_kv_heads", 2, {"block": (Attention(num_heads=4, num_kv_heads=4),)}),
        ("kv_rank", 8, {"block": (Attention(),)}),
        ("rope_base", 500.0, {"pattern": ("short_conv",)}),
    ],
)
def test_a_size_that_no_layer_reads_is_refused(field, value, layers):
    with pytest.raises(UserError, match=f"ModelConfig.{field} = {value} is read by no"):
        require_read(ModelConfig(**{field: value}, **layers), field)


@pytest.mark.parametrize(
    ("model", "words"),
    [
        ({"kernel": Linear()}, "'linear' cannot do 'bias'"),
        ({"positions": "alibi"}, "positions = 'alibi' does not leave free"),
        ({"kernel": Softmax(softcap=30.0)}, "a soft-cap does not leave free"),
    ],
)
def test_attention_dropout_needs_a_bias_that_nobody_has_taken(model, words):
    ModelConfig(**model)
    with pytest.raises(UserError, match=words):
        ModelConfig(attention_dropout=0.1, **model)


def test_a_size_that_equals_its_default_is_read():
    given = {"num_heads": 4, "num_kv_heads": 4, "head_dim": 16, "d_ff": 256}
    model = ModelConfig(d_model=64, **given)
    assert model.one_block == ModelConfig(d_model=64).one_block
    for field in given:
        require_read(model, field)


def test_a_kernel_that_no_layer_runs_is_refused():
    with pytest.raises(UserError, match=r"ModelConfig.kernel = Linear\(\) has no"):
        ModelConfig(pattern=("softmax", "mlp"), kernel=Linear())


@pytest.mark.parametrize(
    ("model", "words"),
    [
        (ModelConfig(kernel=WindowAttention(width=65)), "window.width = 65.*64 tokens"),
        (ModelConfig(kernel=Longformer(num_global=65)), "longformer.num_global = 65"),
        (ModelConfig(kernel=Linformer()), "'linformer' cannot do 'causal'"),
        (ModelConfig(pattern=("linformer",)), "'linformer' cannot do 'causal'"),
    ],
)
def test_a_kernel_that_cannot_do_the_task_is_refused(model, words):
    with pytest.raises(UserError, match=words):
        replace(BASE, model=model)


def test_what_looks_back_alone_is_refused_an_encoder_and_told_the_way_out():
    kernel = KERNELS["retention"]()
    with pytest.raises(
        UserError, match=r"'retention' looks back alone.*--model.causal"
    ):
        experiment_of(TREES, kernel=kernel)
    assert experiment_of(TREES, kernel=kernel, causal=True).mask == Causal()


@pytest.mark.parametrize(
    ("change", "words"),
    [({"claim": "  "}, "'base' makes no claim"), ({"seeds": 0}, "seeds = 0")],
)
def test_an_experiment_without_a_claim_or_a_seed_is_refused(change, words):
    with pytest.raises(UserError, match=words):
        replace(BASE, **change)


def test_an_encoder_may_be_causal_and_a_decoder_is_without_being_told():
    encoder = replace(BASE, task=Digits())
    assert (encoder.mask, BASE.mask) == (FULL, Causal())
    causal = ModelConfig(causal=True)
    assert replace(encoder, model=causal).mask == Causal()
    with pytest.raises(UserError, match="'mqar' makes a decoder, which is causal"):
        replace(BASE, model=causal)


def test_padding_is_attended_only_where_there_is_some():
    with pytest.raises(UserError, match="attend_padding = True: 'mqar' has no padding"):
        replace(BASE, model=ModelConfig(attend_padding=True))


def test_a_layer_takes_from_the_model_what_it_leaves_open():
    near = Attention(kernel=WindowAttention(width=8), num_heads=2, positions="none")
    model = ModelConfig(block=(near, MLP(), Attention(), MLP(d_ff=32)), head_dim=16)
    first, _, second, last = model.layers[:4]
    assert (first.sizes, second.sizes) == ((2, 2, 16), (4, 4, 16))
    assert (first.positions, second.positions) == ("none", "rotary")
    assert (model.layers[1].d_ff, last.d_ff) == (256, 32)
    assert len(model.layers) == 8


def test_layers_are_said_once():
    with pytest.raises(UserError, match="block and pattern"):
        ModelConfig(block=(Attention(),), pattern=("attention",))


@pytest.mark.parametrize("name", ["vocab_size", "max_len"])
def test_a_model_is_not_smaller_than_its_task(name):
    with pytest.raises(UserError, match=f"ModelConfig.{name} = 8 is below"):
        replace(BASE, model=ModelConfig(**{name: 8}))


def test_sizes_that_are_not_given_are_derived():
    model = ModelConfig(d_model=48, num_heads=6)
    assert model.sizes == {
        "num_heads": 6,
        "num_kv_heads": 6,
        "head_dim": 8,
        "d_ff": 192,
    }
    stack = ModelConfig(pattern=("mlp", "attention"), repeats=2).layers
    assert [layer.name for layer in stack] == ["mlp", "attention"] * 2
