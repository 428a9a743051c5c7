"""Checkpoints and inputs that are refused, each in one line that says what to do."""

import json

import numpy as np
import pytest
from safetensors.numpy import save_file
from tiny_checkpoints import CASES, case, weights, write, write_case

from attn.errors import UserError
from attn.pretrained import load
from attn.pretrained.call import token_info
from attn.pretrained.config_keys import read_config
from attn.pretrained.families import FAMILIES

WHOLE = "model.safetensors"
DOWN = "model.layers.0.mlp.down_proj.weight"


def refusal(ask) -> str:
    with pytest.raises(UserError) as caught:
        ask()
    assert "\n" not in str(caught.value)
    return str(caught.value)


CONFIGS = {
    "mamba": ({"model_type": "mamba"}, "unknown model_type in config.json 'mamba'"),
    "no family": ({"model_type": None}, "has no model_type; it is one of bert, gemma2"),
    "unknown key": (
        {"attn_sink": 4},
        "attn_sink = 4 is not known in the family 'llama'",
    ),
    "bias": (
        {"attention_bias": True},
        "attention_bias = True changes what is computed",
    ),
    "activation": ({"hidden_act": "mish"}, "config.json: hidden_act 'mish'"),
    "yarn": (
        {"rope_scaling": {"rope_type": "yarn", "factor": 2.0}},
        "rope_scaling.rope_type = 'yarn' changes what is computed",
    ),
    "half a scaling": (
        {"rope_scaling": {"rope_type": "llama3", "factor": 2.0}},
        "rope_scaling has no low_freq_factor",
    ),
    "two scalings": (
        {
            "rope_parameters": {"rope_type": "default"},
            "rope_scaling": {"type": "linear", "factor": 2.0},
        },
        "rope_parameters = {'rope_type': 'default'} and rope_scaling =",
    ),
    "part of a head": (
        {"rope_parameters": {"rope_theta": 1e4, "partial_rotary_factor": 0.5}},
        "rope_parameters.partial_rotary_factor = 0.5",
    ),
    "quantised": (
        {"quantization_config": {"bits": 4}},
        "quantization_config = {'bits': 4} is not known",
    ),
    "no size": ({"num_hidden_layers": None}, "num_hidden_layers = None is no value"),
}


@pytest.mark.parametrize("change, words", CONFIGS.values(), ids=CONFIGS)
def test_a_config_that_cannot_be_followed_is_refused_by_name(change, words, tmp_path):
    config = case("llama-2")["config"] | change
    write(tmp_path, {k: v for k, v in config.items() if v is not None or v == ""}, {})
    (tmp_path / "config.json").write_text(json.dumps(config))
    assert words in refusal(lambda: load(tmp_path))


def refusal_or_none(family, config) -> str | None:
    try:
        family.model(read_config(family, config))
    except UserError as error:
        return str(error)
    return None


@pytest.mark.parametrize("name", CASES)
def test_a_value_of_any_key_is_followed_or_refused_by_name(name):
    config = case(name)["config"]
    family = FAMILIES[config["model_type"]]
    for key in family.keys.read:
        for wrong in (
            "x",
            [1],
            {"a": 1},
            {"rope_type": "linear", "factor": "x"},
            -1,
            0,
        ):
            said = refusal_or_none(family, config | {key: wrong})
            assert said is None or key in said or "ModelConfig." in said, said


def test_a_tensor_that_is_missing_extra_or_misshapen_is_named(tmp_path):
    config, whole = case("llama-2")["config"], weights("llama-2")
    for tensors, words in (
        ({k: w for k, w in whole.items() if k != DOWN}, f"lacks the tensor {DOWN[6:]}"),
        (whole | {"score.weight": np.ones(3)}, "holds the tensor score.weight"),
        (whole | {DOWN: whole[DOWN].T.copy()}, f"{DOWN} has shape (44, 30)"),
        (whole | {DOWN: np.ones((30, 44), np.int8)}, f"{DOWN} is I8"),
    ):
        write(tmp_path, config, tensors)
        assert words in refusal(lambda: load(tmp_path))


def test_a_tied_table_that_differs_is_refused_and_an_equal_one_is_not(tmp_path):
    config, whole = case("llama-3")["config"], weights("llama-3")
    table = whole["model.embed_tokens.weight"]
    write(tmp_path, config, whole | {"lm_head.weight": table})
    assert load(tmp_path).transformer.model.embedding.tied
    write(tmp_path, config, whole | {"lm_head.weight": table + 1})
    assert "lm_head.weight differs from model.embed_tokens" in refusal(
        lambda: load(tmp_path)
    )


def test_a_truncated_file_is_named(tmp_path):
    path = write_case(tmp_path, "llama-2") / WHOLE
    path.write_bytes(path.read_bytes()[:-4])
    assert f"{path} is damaged" in refusal(lambda: load(tmp_path))


def test_shards_that_are_absent_or_lack_a_tensor_are_named(tmp_path):
    write_case(tmp_path, "llama-2", num_shards=2)
    second = tmp_path / "model-00002-of-00002.safetensors"
    save_file({"other": np.ones(1)}, second)
    assert f"{second} lacks the tensor" in refusal(lambda: load(tmp_path))
    second.unlink()
    assert f"lacks {second.name}" in refusal(lambda: load(tmp_path))


def test_a_pickle_is_refused_with_the_way_to_convert_it(tmp_path):
    write_case(tmp_path, "llama-2")
    (tmp_path / WHOLE).rename(tmp_path / "pytorch_model.bin")
    said = refusal(lambda: load(tmp_path))
    assert "pickle, pytorch_model.bin, which may run any code" in said
    assert "weights_only=True" in said


def test_a_folder_without_a_checkpoint_is_named(tmp_path):
    assert "has no config.json" in refusal(lambda: load(tmp_path))
    (tmp_path / "config.json").mkdir()
    said = refusal(lambda: load(tmp_path))
    assert "config.json cannot be read (Is a directory)" in said
    (tmp_path / "config.json").rmdir()
    assert "is not here" in refusal(lambda: load(tmp_path / "absent"))
    (tmp_path / "config.json").write_text("{")
    assert "is not JSON" in refusal(lambda: load(tmp_path))
    (tmp_path / "config.json").write_text("{}")
    assert "holds no weights" in refusal(lambda: load(tmp_path))


@pytest.fixture(scope="module")
def bert(tmp_path_factory):
    return load(write_case(tmp_path_factory.mktemp("bert"), "bert"))


def test_inputs_that_no_model_can_read_are_refused(bert):
    for tokens, mask, words in (
        (np.zeros((1, 0), int), None, "tokens have shape (1, 0)"),
        (np.zeros((1, 41), int), None, "41 tokens are more than the 40 positions"),
        (np.full((1, 4), 61), None, "token 61 is none of the vocabulary's 61"),
        (np.full((1, 4), -1), None, "token -1 is none"),
        (np.zeros((1, 4), int), np.zeros((1, 4), bool), "hides every token of a row"),
    ):
        assert words in refusal(lambda t=tokens, m=mask: bert(t, m))
    short = np.ones((1, 3), bool)
    assert "kv_mask has shape (1, 3)" in refusal(
        lambda: token_info(short, (1, 4), True)
    )


def test_a_tokenizer_that_is_not_there_is_told(bert):
    assert "has no tokenizer.json" in refusal(lambda: bert.encode(["a"]))


def test_positions_of_roberta_begin_after_its_padding_token(tmp_path):
    config = case("roberta")["config"] | {"pad_token_id": 0}
    write(tmp_path, config, weights("roberta"))
    assert "pad_token_id = 0 changes what is computed" in refusal(
        lambda: load(tmp_path)
    )
