"""Experiments that make no sense are refused, and each field is part of the identity."""

import json
from dataclasses import fields, is_dataclass, replace

import naive
import pytest
from tiny import TREES, experiment_of

from attn.config import (
    MLP,
    Attention,
    Embedding,
    Experiment,
    ModelConfig,
    Norm,
    ShortConv,
    TrainConfig,
    fingerprint,
    from_json,
    to_json,
)
from attn.errors import UserError
from attn.kernels import (
    KERNELS,
    Linear,
    Linformer,
    Longformer,
    Performer,
    Softmax,
    WindowAttention,
)
from attn.masks import FULL, Causal
from attn.positions import LinearScaling
from attn.tasks import MQAR, TASKS, Dates, Digits, ListOps

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
        ModelConfig(**{field: value}, **layers).require_read(field)


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


def test_a_field_that_is_not_used_leaves_older_hashes_alone():
    model = ModelConfig(attention_dropout=0.1)
    hashes = {fingerprint(replace(BASE, model=model)), fingerprint(BASE)}
    assert len(hashes | {fingerprint(replace(BASE, first_seed=1))}) == 3
    values = to_json(BASE)
    del values["model"]["attention_dropout"], values["first_seed"]
    del values["model"]["attend_padding"]
    assert fingerprint(from_json(values)) == fingerprint(BASE)


def test_a_size_that_equals_its_default_is_read():
    given = {"num_heads": 4, "num_kv_heads": 4, "head_dim": 16, "d_ff": 256}
    model = ModelConfig(d_model=64, **given)
    assert model.one_block == ModelConfig(d_model=64).one_block
    for field in given:
        model.require_read(field)


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


def variants(config):
    """The config with each of its fields changed, one at a time."""
    other = {
        "positions": "learned",
        "dtype": "bfloat16",
        "attention_impl": "dense",
        "pattern": ("attention",),
        "block": (Attention(), Attention()),
        "vocab_size": 600,
        "max_len": 80,
        "kernel": Linear(),
        "num_kv_heads": 2,
        "head_dim": 6,
        "d_ff": 100,
        "num_heads": 8,
        "kv_rank": 8,
        "rope_dim": 8,
        "rope_scaling": LinearScaling(),
        "act": "relu",
        "bias": "qkv",
    }
    # Fields that need another one.
    pair = {"pattern": ("cross_attention",), "encoder_pattern": ("mlp",)}
    together = {
        "encoder_pattern": pair,
        "encoder_block": pair
        | {"encoder_pattern": (), "encoder_block": (Attention(),)},
        "encoder_repeats": pair | {"encoder_repeats": 3},
    }
    for field in fields(config):
        value = getattr(config, field.name)
        if field.name in together:
            yield field.name, replace(config, **together[field.name])
            continue
        if is_dataclass(value) and not isinstance(value, TrainConfig | ModelConfig):
            continue
        if isinstance(value, bool):
            new = not value
        elif isinstance(config, ModelConfig) and field.name in other:
            new = other[field.name]
        elif isinstance(value, int | float):
            new = value * 2 if value else (1 if isinstance(value, int) else 0.5)
        elif value is None:
            new = 3.0
        else:
            new = value
        try:
            yield field.name, replace(config, **{field.name: new})
        except UserError:
            yield field.name, replace(config, **{field.name: value - 1})


def test_every_field_but_the_claim_changes_the_fingerprint():
    seen = {fingerprint(BASE): "base"}

    def put(label, experiment):
        print_ = fingerprint(experiment)
        assert print_ not in seen, (label, seen[print_])
        seen[print_] = label

    pair = replace(BASE, task=Dates(num_dates=64))
    for name, model in variants(BASE.model):
        if name not in ("kernel", "causal", "attend_padding"):
            put(name, replace(pair if model.encoder else BASE, model=model))
    for name, norm in {"kind": Norm("layer"), "at": Norm(at="post"), "eps": Norm(eps=1e-5)}.items():  # fmt: skip
        put(f"norm.{name}", replace(BASE, model=ModelConfig(norm=norm)))
    for name, value in (
        *{"tied": False, "scale": 1.0, "norm": True, "num_types": 2}.items(),
        *{"logit_scale": 0.5, "logit_cap": 30.0}.items(),
    ):
        embedding = Embedding(**{name: value})
        put(f"embedding.{name}", replace(BASE, model=ModelConfig(embedding=embedding)))
    for name, train in variants(BASE.train):
        if name != "save_every":
            put(name, replace(BASE, train=train))
    for name, task in variants(BASE.task):
        put(f"task.{name}", replace(BASE, task=task))
    put("name", replace(BASE, name="other"))
    put("seeds", replace(BASE, seeds=4))
    put("other task", replace(BASE, task=Digits()))
    put("causal", replace(BASE, task=Digits(), model=ModelConfig(causal=True)))
    put("padded", replace(BASE, task=ListOps()))
    attending = ModelConfig(attend_padding=True)
    put("attend_padding", replace(BASE, task=ListOps(), model=attending))
    put("kernel is window", replace(BASE, model=ModelConfig(kernel=WindowAttention())))
    for kernel in (WindowAttention(), Longformer(), Performer()):
        for name, changed in variants(kernel):
            label = f"{kernel.name}.{name}"
            put(label, replace(BASE, model=ModelConfig(kernel=changed)))
    assert fingerprint(replace(BASE, claim="It is not so.")) == fingerprint(BASE)
    often = replace(BASE.train, save_every=7)
    assert fingerprint(replace(BASE, train=often)) == fingerprint(BASE)


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


def test_two_kernels_or_tasks_with_equal_fields_differ():
    assert len({json.dumps(to_json(kernel())) for kernel in KERNELS.values()}) == len(
        KERNELS
    )
    assert len({json.dumps(to_json(task())) for task in TASKS.values()}) == len(TASKS)


@pytest.mark.parametrize("name", KERNELS)
@pytest.mark.parametrize("task", TASKS.values())
def test_an_experiment_comes_back_from_json(name, task):
    kernel = naive.SPECS[name]
    if ("causal" if task().objective.causal else "bidirectional") in kernel.can:
        hybrid = (Attention(kernel=kernel, num_heads=4), ShortConv(width=4), MLP())
        encoder = ()
        if task().objective.reads_source:
            hybrid, encoder = (*hybrid, Attention(source="memory")), ("mlp",)
        model = ModelConfig(
            block=hybrid, encoder_pattern=encoder, positions="none", conv_width=2
        )
        experiment = replace(BASE, task=task(), model=model)
        values = json.loads(json.dumps(to_json(experiment), allow_nan=False))
        assert from_json(values) == experiment
        assert values["model"]["block"][0]["kernel"]["is"] == name


def test_a_field_that_an_older_file_lacks_has_its_default():
    values = to_json(BASE)
    del values["model"]["rope_base"], values["train"]["clip_norm"]
    assert from_json(values) == BASE


@pytest.mark.parametrize(
    ("path", "value", "words"),
    [
        (
            "model.num_heads",
            "four",
            'experiment holds model.num_heads = "four", not int',
        ),
        ("model.num_heads", 4.0, "model.num_heads = 4.0, not int"),
        ("model.num_heads", True, "model.num_heads = true, not int"),
        ("model.dtype", "f32", 'model.dtype = "f32", not'),
        (
            "model.kernel",
            {"is": "sofmax"},
            "kernel.is 'sofmax'; did you mean 'softmax'",
        ),
        ("model.kernel", 3, "model.kernel = 3, not Kernel"),
        (
            "model.num_head",
            4,
            "model.num_head of ModelConfig .*did you mean 'num_heads'",
        ),
        ("model.pattern", ["attention", 3], "model.pattern.1 = 3, not str"),
        ("task.is", "mqra", "did you mean 'mqar'"),
        ("train", [], "train = .., not TrainConfig"),
    ],
)
def test_a_wrong_value_in_json_is_refused_by_its_path(path, value, words):
    values = to_json(BASE)
    *parents, name = path.split(".")
    inner = values
    for parent in parents:
        inner = inner[parent]
    inner[name] = value
    with pytest.raises(UserError, match=words) as error:
        from_json(values)
    assert "\n" not in str(error.value)


def test_a_missing_field_without_a_default_is_named():
    values = to_json(BASE)
    del values["name"]
    with pytest.raises(UserError, match="the experiment has no name"):
        from_json(values)


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
