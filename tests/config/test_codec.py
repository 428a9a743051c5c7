"""Each field is part of an experiment's identity, and of its file, which gives it back."""

import json
from dataclasses import fields, is_dataclass, replace

import naive
import pytest
from tiny import exhaustive

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
    Longformer,
    Performer,
    WindowAttention,
)
from attn.positions import LinearScaling
from attn.tasks import MQAR, TASKS, Dates, Digits, ListOps, Tfds

BASE = Experiment("base", "It is so.", MQAR())


def test_a_field_that_is_not_used_leaves_older_hashes_alone():
    model = ModelConfig(attention_dropout=0.1)
    hashes = {fingerprint(replace(BASE, model=model)), fingerprint(BASE)}
    assert len(hashes | {fingerprint(replace(BASE, first_seed=1))}) == 3
    values = to_json(BASE)
    del values["model"]["attention_dropout"], values["first_seed"]
    del values["model"]["attend_padding"]
    assert fingerprint(from_json(values)) == fingerprint(BASE)
    own = replace(BASE, name="own", task=Tfds(data="letters"))
    assert fingerprint(own) == "cf367109d29b"  # before it had `grey`
    assert (
        fingerprint(replace(own, task=Tfds(data="letters", grey=True)))
        != "cf367109d29b"
    )


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


def test_two_kernels_or_tasks_with_equal_fields_differ():
    assert len({json.dumps(to_json(kernel())) for kernel in KERNELS.values()}) == len(
        KERNELS
    )
    assert len({json.dumps(to_json(task())) for task in TASKS.values()}) == len(TASKS)


def of_each_one(pairs):
    """Pairs, of which those that hold nothing new are `exhaustive`."""
    seen, cases = set(), []
    for pair in pairs:
        cases.append(exhaustive(*pair) if seen.issuperset(pair) else pair)
        seen.update(pair)
    return cases


NEEDS = {
    name: "causal" if task().objective.causal else "bidirectional"
    for name, task in TASKS.items()
}
TOGETHER = [
    (kernel, task)
    for kernel in KERNELS
    for task, needed in NEEDS.items()
    if needed in KERNELS[kernel].can
]


def test_every_kernel_and_every_task_is_in_an_experiment_here():
    assert {name for pair in TOGETHER for name in pair} == {*KERNELS, *TASKS}


@pytest.mark.parametrize(("name", "task"), of_each_one(TOGETHER))
def test_an_experiment_comes_back_from_json(name, task):
    kernel, task = naive.SPECS[name], TASKS[task]()
    hybrid = (Attention(kernel=kernel, num_heads=4), ShortConv(width=4), MLP())
    encoder = ()
    if task.objective.reads_source:
        hybrid, encoder = (*hybrid, Attention(source="memory")), ("mlp",)
    model = ModelConfig(
        block=hybrid, encoder_pattern=encoder, positions="none", conv_width=2
    )
    experiment = replace(BASE, task=task, model=model)
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
