"""Other mechanisms in pretrained weights: the scores they keep, and what text costs."""

import sys
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace

import jax
import jax.numpy as jnp
import numpy as np
import optax
import pytest
from flax import nnx

from attn import pretrained
from attn.cli import swapping as command
from attn.cli.options import Swapping
from attn.errors import UserError
from attn.inspect import swapping
from attn.inspect.swapping import Windows, draw_windows
from attn.kernels import Based, Linear, MoBA, Synthesizer, TopK, WindowAttention
from attn.masks import FULL, Causal
from attn.plots.style import LIGHT
from attn.plots.swaps import draw, make_table
from attn.plots.tables import to_markdown
from attn.pretrained.uptraining import _gradients, _trained, uptrained
from attn.records.files import read_json
from attn.records.swaps import FILE, UNMODIFIED, Point, Swaps, begun, describe, save
from attn.records.typed import decode
from attn.registry import Replacement

sys.path.append(str(Path(__file__).parents[1] / "pretrained"))
from tiny_checkpoints import write_case

T = 24
TEXT = Swaps("w", {"w.gguf": "0"}, "t", "0", (9, 9, 9), T, 3, 0)


@pytest.fixture(scope="module")
def model(tmp_path_factory):
    """A small decoder of random weights."""
    return pretrained.load(write_case(tmp_path_factory.mktemp("w"), "llama-2"))


@pytest.fixture(scope="module")
def windows(model):
    """Three windows of random tokens."""
    V = model.transformer.model.vocab_size
    drawn = np.random.default_rng(0).integers(0, V, (3, T + 1)).astype(np.int32)
    return Windows(drawn, np.array([60, 70, 80]))


def kept_in(folder):
    """The record in a folder."""
    return decode(Swaps, read_json(folder / FILE), where=folder)


def points(*bits):
    """The unmodified weights, and a mechanism a row of bits, of a falling share."""
    found = [Point(UNMODIFIED, UNMODIFIED, False, 1.0, (1.0, 1.5, 2.0))]
    for i, row in enumerate(bits):
        found.append(Point(f"m{i}", f"m{i}", bool(i % 2), 0.5 / (i + 1), row))
    return replace(TEXT, points=tuple(found))


def own_largest(k):
    """The pairs of each query and its k best of random earlier keys, counted one by one."""
    scores = np.random.default_rng(1).normal(size=(T, T))
    return sum(len(sorted(scores[t, : t + 1])[-k:]) for t in range(T))


def own_blocks(block, count):
    """The pairs in a query's own block, up to it, and in its best earlier ones."""
    gates, total = np.random.default_rng(1).normal(size=(T, T)), 0
    for t in range(T):
        best = sorted(range(t // block), key=lambda i: -gates[t, i])[: count - 1]
        taken = {t // block, *best}
        total += sum(s // block in taken for s in range(t + 1))
    return total


def test_the_scores_that_are_kept_are_counted_as_one_by_one():
    causal, dense = Causal(), Causal().dense(T)
    near = np.arange(T)[:, None] - np.arange(T) < 5
    window = WindowAttention(width=5)
    assert swapping.num_kept(window, causal, T) == (dense & near).sum()
    for k in (1, 5, T):
        assert swapping.num_kept(TopK(num_keys=k), causal, T) == own_largest(k)
        assert TopK(num_keys=k).num_pairs(FULL, T, T) == T * k
    for block, count in ((4, 1), (4, 3), (7, 2), (4, 9)):
        kernel = MoBA(block=block, num_blocks=count)
        assert swapping.num_kept(kernel, causal, T) == own_blocks(block, count)


def test_what_says_no_number_is_counted_on_its_map():
    assert Linear().num_pairs(Causal(), T, T) is None
    assert swapping.num_kept(Linear(), Causal(), 8) == 8 * 9 // 2


def test_what_keeps_everything_gives_the_bits_of_the_unmodified_weights(model, windows):
    base = swapping.unmodified(model, windows)
    every = WindowAttention(width=T)
    for kernel, same in ((every, True), (WindowAttention(width=2), False)):
        found = swapping.measure(model, Replacement("w", (kernel,)), kernel, windows)
        assert (found.kept == base.kept) == same
        assert np.allclose(found.bits, base.bits, rtol=1e-6) == same
    assert found.kept == (2 * T - 1) / (T * (T + 1) / 2)


def test_layer_by_layer_is_the_model_and_bits_are_of_the_next_tokens(model, windows):
    logits = np.asarray(model(windows.tokens[:1, :-1]), np.float64)[0]
    chances = np.exp(logits) / np.exp(logits).sum(axis=1, keepdims=True)
    asked = chances[np.arange(T), windows.tokens[0, 1:]]
    first = swapping.unmodified(model, windows).bits[0]
    assert first == pytest.approx(-np.log2(asked).sum() / 60, rel=1e-5)


def test_weights_are_shared_and_a_mechanism_with_its_own_is_refused(model):
    near = pretrained.swapped(model, WindowAttention(width=2))
    assert near.transformer.embedding[...] is model.transformer.embedding[...]
    with pytest.raises(UserError, match=r"'synthesizer' has weights of its own"):
        pretrained.swapped(model, Synthesizer())
    kernels = (WindowAttention(width=T + 1), TopK(num_keys=2), Based())
    whys = [why for _, why in swapping.able(kernels, T)]
    assert f"window.width = {T + 1}" in (whys[0] or "")
    assert whys[1] is None


class Letters:
    """A tokenizer of one letter a token, by its code."""

    def encode(self, text):
        """The codes of letters, and where each stands."""
        ends = [(i, i + 1) for i in range(len(text))]
        return SimpleNamespace(ids=[ord(c) for c in text], offsets=ends)


def test_windows_are_of_several_texts_and_their_bytes_are_counted():
    texts = ["é" * 40, "a" * 40, "short", "b" * 26]
    found = draw_windows(texts, Letters(), tokens=T, windows=3, seed=0)
    assert found.tokens.shape == (3, T + 1)
    by = dict(zip(found.tokens[:, 0].tolist(), found.num_bytes.tolist()))
    assert by == {ord("é"): 2 * T, ord("a"): T, ord("b"): T}
    with pytest.raises(UserError, match=r"4 windows: 3 of 4 texts have more than 24"):
        draw_windows(texts, Letters(), tokens=T, windows=4, seed=0)


def test_a_difference_is_paired_by_window():
    found = points((1.1, 1.6, 2.1), (1.0, 2.0, 2.0))
    same, other = (found.difference(point) for point in found.points[1:])
    assert same is not None
    assert other is not None
    assert (same.mean, same.half) == pytest.approx((0.1, 0.0), abs=1e-12)
    assert other.half == pytest.approx(4.303 / 6, rel=1e-3)


def test_a_record_is_gone_on_with_and_one_of_other_windows_is_refused(tmp_path):
    found = TEXT.with_point(points().points[0], {"cpu": "x"})
    save(tmp_path, found)
    assert begun(tmp_path, TEXT) == found
    with pytest.raises(UserError, match="made with seed = 0, and 1 is asked for"):
        begun(tmp_path, replace(TEXT, seed=1))
    assert describe(WindowAttention(width=4)) == "window width=4"
    assert describe(WindowAttention(width=4, softcap=2.0)) != "window width=4"


def test_a_second_call_makes_no_point_again(tmp_path, monkeypatch, windows):
    monkeypatch.setattr(command, "_windows", lambda *_: windows)
    weights = write_case(tmp_path / "weights", "llama-2")
    kernels = (WindowAttention(width=2), WindowAttention(width=T))
    work = [(Replacement("w", kernels), kernel) for kernel in kernels]
    asked = Swapping(tokens=T, windows=3)
    root = tmp_path / "root"
    root.mkdir()
    command._run(weights, "tiny", asked, work[:1], root)
    first = kept_in(root).points
    monkeypatch.setattr(swapping, "unmodified", None)  # not to be called
    command._run(weights, "tiny", asked, work, root)
    both = kept_in(root).points
    assert [point.line for point in first] == [UNMODIFIED, "w"]
    assert both[:2] == first
    assert both[2].bits == pytest.approx(first[0].bits, rel=1e-6)
    monkeypatch.setattr(swapping, "measure", None)
    command._run(weights, "tiny", asked, work, root)
    assert kept_in(root).points == both


def test_uptraining_lowers_the_loss_and_moves_attention_alone(model):
    V = model.transformer.model.vocab_size
    row = np.random.default_rng(3).integers(0, V, (2, T + 1)).astype(np.int32)
    windows = Windows(np.tile(row, (9, 1)), np.full(18, 60))
    training, near = swapping.Uptraining(8, 1e-2), WindowAttention(width=4)
    before = swapping.measure(model, Replacement("w", (near,)), near, windows[:2])
    after = swapping.measure_trained(
        model, "w", near, windows[:2], training, training.batches(windows[2:])
    )
    assert np.mean(after.bits) < 0.97 * np.mean(before.bits)
    assert after.key == ("w, 8 steps at 0.01", "window width=4")
    assert after.kept == before.kept
    trained = uptrained(model.transformer, [row], 1e-2, 1)
    pairs = zip(
        *(nnx.to_flat_state(nnx.state(m)) for m in (model.transformer, trained))
    )
    moved = {old[0][-1] for old, new in pairs if not np.array_equal(old[1][...], new[1][...])}  # fmt: skip
    assert moved == {"q", "k", "v", "o"}


def test_what_was_trained_is_held_against_what_was_trained_as_much():
    line = f"{UNMODIFIED}, 8 steps at 0.01"
    found = points((1.1, 1.6, 2.1))
    base = Point(line, UNMODIFIED, False, 1.0, (0.9, 1.4, 1.9))
    other = Point("w, 8 steps at 0.01", "w", False, 0.5, (1.0, 1.5, 2.0))
    found = replace(found, points=(*found.points, base, other))
    rises = [found.difference(point) for point in found.points]
    assert [r and round(r.mean, 6) for r in rises] == [None, 0.1, -0.1, 0.1]


def test_a_swap_with_steps_scores_the_same_windows_and_goes_on(tmp_path, monkeypatch):
    drawn = np.random.default_rng(0).integers(0, 9, (7, T + 1)).astype(np.int32)
    monkeypatch.setattr(command, "_windows", lambda *_: Windows(drawn, np.full(7, 60)))
    weights = write_case(tmp_path / "weights", "llama-2")
    near = WindowAttention(width=2)
    work = [(Replacement("w", (near,)), near)]
    root = tmp_path / "root"
    root.mkdir()
    asked = Swapping(tokens=T, windows=3, steps=2, rate=1e30)
    assert command._run(weights, "tiny", asked, work, root) == 1  # it diverges
    before = kept_in(root).points
    assert [point.line for point in before] == [UNMODIFIED, "w"]
    asked = Swapping(tokens=T, windows=3, steps=2, rate=1e-3)
    assert command._run(weights, "tiny", asked, work, root) == 0
    after = kept_in(root).points
    assert after[:2] == before
    assert [p.line for p in after[2:]] == [
        f"{UNMODIFIED}, 2 steps at 0.001",
        "w, 2 steps at 0.001",
    ]
    monkeypatch.setattr(swapping, "measure_trained", None)
    assert command._run(weights, "tiny", asked, work, root) == 0


def test_a_step_of_uptraining_is_that_of_the_whole_model(model):
    tokens = np.random.default_rng(4).integers(0, 9, (2, T + 1)).astype(np.int32)
    graph, state = nnx.split(model.transformer)

    def loss(state):
        logits = nnx.merge(graph, state)(jnp.asarray(tokens[:, :-1]))
        asked = tokens[:, 1:]
        return optax.softmax_cross_entropy_with_integer_labels(logits, asked).mean()

    asked, whole = jax.jit(jax.value_and_grad(loss))(state)
    whole = whole["layers"]
    split = [nnx.split(x, _trained, ...) for x in model.transformer.layers]
    parts = map(list, zip(*split))
    value, own = _gradients(model.transformer, *parts, jnp.asarray(tokens))
    assert float(value) == pytest.approx(float(asked), rel=1e-5)
    for i, block in enumerate(own):
        for path, leaf in nnx.to_flat_state(block):
            expected = whole[i][path[0]][path[1]][...]
            np.testing.assert_allclose(leaf[...], expected, rtol=1e-4, atol=1e-6)


def test_table_and_picture_hold_every_point():
    found = points((1.1, 1.6, 2.1), (1.4, 1.5, 2.5))
    text = to_markdown([make_table(found)])
    assert "| m0 | m0 | 50.0 | 1.600 ± 1.242 | 0.100 ± 0.000 |" in text
    axes = draw(found, LIGHT).axes[0]
    drawn = {round(float(y), 6) for line in axes.get_lines() for y in line.get_ydata()}
    assert {1.5, 1.6, 1.8} <= drawn
    worse = found.with_point(Point("bad", "bad", False, 1.0, (9.0, 9.0, 9.0)), {})
    said = [text.get_text() for text in draw(worse, LIGHT).axes[0].texts]
    assert "\u2191 bad 9.00" in said
