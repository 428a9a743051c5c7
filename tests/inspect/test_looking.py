"""Looks at texts: what is read, what is drawn and written, what is refused."""

import json
from dataclasses import replace
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from flax import nnx

from attn.config import ModelConfig
from attn.errors import UserError
from attn.inspect.look_files import write
from attn.inspect.looking import Asked, find
from attn.inspect.reader import MOST, Reader, require_maps, without_map
from attn.inspect.sentence import of_task, of_task_tokens, of_tokenizer
from attn.kernels import RGLRU, Linear
from attn.model import Transformer
from attn.tasks import Dates

TASK = Dates()
SIZES = {"vocab_size": 258, "max_len": 80, "d_model": 8, "num_heads": 2, "repeats": 1}
PAIR = ModelConfig(
    **SIZES,
    pattern=("attention", "mlp", "attention", "cross_attention"),
    encoder_pattern=("mlp", "attention"),
    causal=True,
)
DECODER = ModelConfig(**SIZES, pattern=("attention",), causal=True)


def reader_of(model, **more):
    read, spell = partial(of_task, TASK), partial(of_task_tokens, TASK)
    return Reader(Transformer(model, rngs=nnx.Rngs(0)), read, spell, **more)


def shapes_of(model):
    return nnx.eval_shape(lambda: Transformer(model, rngs=nnx.Rngs(0)))


@pytest.fixture(scope="module")
def pair():
    return reader_of(PAIR, start=TASK.start, end=TASK.end)


def asked(text="ab 12", **more):
    return Asked(text, **more)


def test_a_word_is_found_by_its_characters_whatever_the_tokens_are():
    sentence = of_task(TASK, "été, Île été")
    assert sentence.where("île") == [7, 8, 9, 10]
    assert sentence.where("été") == [0, 1, 2, 3, 4]
    assert sentence.where("l") == sentence.where("") == []
    assert sentence.labels[6] == "␣"


def test_a_tokenizer_gives_the_words_of_the_text_and_the_tokens_that_it_adds():
    tokenizers = pytest.importorskip("tokenizers")
    words = {"[CLS]": 0, "the": 1, "cat": 2, "##s": 3}
    model = tokenizers.models.WordPiece(words, unk_token="[CLS]")
    tokenizer = tokenizers.Tokenizer(model)
    tokenizer.normalizer = tokenizers.normalizers.Lowercase()
    tokenizer.pre_tokenizer = tokenizers.pre_tokenizers.Whitespace()
    tokenizer.post_processor = tokenizers.processors.TemplateProcessing(
        single="[CLS] $A", special_tokens=[("[CLS]", 0)]
    )
    sentence = of_tokenizer(tokenizer, "The cats")
    assert sentence.labels == ("[CLS]", "The", "cat", "s")
    assert sentence.where("cats") == [2, 3]
    alone = of_tokenizer(tokenizer, "The cats", special=False)
    assert alone.labels == ("The", "cat", "s")


def test_an_encoder_decoder_is_looked_at_under_the_tokens_of_each_side(pair):
    findings = find(pair, asked(pair="2-1", word="12"))
    (look,) = findings.looks
    assert [(m.name, "".join(m.queries), "".join(m.keys)) for m in look.layers] == [
        ("encoder 0", "ab␣12", "ab␣12"),
        ("layer 0", "<start>2-1", "<start>2-1"),
        ("layer 1", "<start>2-1", "<start>2-1"),
        ("cross 0", "2-1<end>", "ab␣12"),
    ]
    tokens = [jnp.array([[TASK.start, *b"2-1"]]), jnp.array([[*b"ab 12"]])]
    maps = jax.jit(lambda: pair.model.maps(tokens[0], source=tokens[1]))()
    for layer, name in ((0, "encoder_1"), (1, "layer_0"), (3, "layer_3")):
        found = look.layers[layer].values
        np.testing.assert_allclose(found, maps[name][0], atol=1e-6)
    (word,) = findings.words  # the source alone has it
    assert word.kind == "encoder"
    expected = maps["encoder_1"][0][:, 3:5].mean(axis=1)
    np.testing.assert_allclose(word.found.weights[0], expected, atol=1e-6)


def test_what_was_found_is_written_as_pictures_a_page_and_tables(pair, tmp_path):
    findings = find(pair, asked(pair="2-1", word="12", layer="layer 1", head=1))
    paths = write(findings, "mine", tmp_path)
    assert [path.name for path in paths] == [
        "all_encoder.png",
        "all_layer.png",
        "all_cross.png",
        "head.png",
        "looks.html",
        "looks.md",
        "looks.json",
    ]
    assert paths[3].read_bytes().startswith(b"\x89PNG")
    said = paths[5].read_text()
    assert "| encoder 0 | 1 |" in said
    assert "8 heads; in large: layer 1, head 1." in said
    record = json.loads(paths[6].read_text())
    assert record["alignment"]["targets"] == ["2", "-", "1", "<end>"]
    assert len(record["looks"][0]["heads"]) == 8
    assert "http://" not in paths[4].read_text().replace("http://www.w3.org", "")


def test_two_texts_of_a_decoder_are_drawn_in_one_picture(tmp_path):
    findings = find(reader_of(DECODER), asked("one bank", pair="two bank", word="bank"))
    assert [look.title for look in findings.looks] == ["one bank", "two bank"]
    assert [len(word.found.keys) for word in findings.words] == [8, 8]
    names = [path.name for path in write(findings, "mine", tmp_path)]
    assert names[0] == "all_layer.png"
    page = (tmp_path / "looks.html").read_text()
    assert '"name":"one bank"' in page
    assert '"name":"two bank"' in page


@pytest.mark.parametrize(
    "more, words",
    [
        ({"word": "bank"}, "--from 'bank' is no word of the texts"),
        ({"layer": "cross 1"}, "unknown --layer 'cross 1'; did you mean 'cross 0'?"),
        ({"layer": "7"}, "unknown --layer 'cross 7'"),
        ({"head": 2}, "--head 2; the layer has heads 0 to 1"),
        ({"text": ""}, "--text has no token"),
        ({"text": "x" * (MOST + 1)}, f"--text has 65 tokens, .* at most {MOST}"),
        ({"pair": "x" * MOST}, "--pair has 64 tokens, .* at most 63"),
    ],
)
def test_what_cannot_be_looked_at_is_refused(pair, more, words):
    with pytest.raises(UserError, match=words):
        find(pair, asked(**{"pair": "2-1"} | more))


def test_layers_without_a_map_are_named_and_a_model_of_them_is_refused():
    mixed = replace(DECODER, pattern=("rglru", "attention"))
    assert without_map(shapes_of(mixed)) == {"layer 0": "rglru"}
    require_maps(shapes_of(replace(DECODER, kernel=Linear())))
    with pytest.raises(UserError, match=r"no attention map \(rglru has another map"):
        require_maps(shapes_of(replace(DECODER, kernel=RGLRU())))
    with pytest.raises(UserError, match=r"no attention map \(no attention\)"):
        require_maps(shapes_of(replace(DECODER, pattern=("mlp",))))


def test_a_target_is_read_as_it_is_told_and_a_source_as_a_source(pair):
    reader = replace(pair, read_target=lambda text: of_task(TASK, text[:3]))
    (look,) = find(reader, asked(pair="2-1, and more")).looks
    assert look.queries["encoder"].text == "ab 12"
    assert look.queries["layer"].text == "2-1"
