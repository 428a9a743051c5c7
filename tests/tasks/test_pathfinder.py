"""Pathfinder: labels that a solver finds in the pixels, and curves that keep apart."""

import itertools
from dataclasses import replace

import numpy as np
import pytest

from attn.errors import UserError
from attn.tasks import SPLITS, Dataset, Pathfinder, pathfinder, pathfinder_layouts
from attn.tasks.pathfinder_curves import derived
from attn.tasks.pathfinder_layouts import Plan, layouts
from attn.tasks.pathfinder_paddles import LOOKS, table
from attn.tasks.pathfinder_solver import distances, solved

EASY = Pathfinder(contour_length=6, num_train=400, num_valid=40, num_test=200)


@pytest.fixture(scope="module")
def easy() -> Dataset:
    return Dataset({split: EASY.rows(split) for split in SPLITS}, "", "")


@pytest.mark.parametrize(
    "task, least",
    [
        (Pathfinder(num_test=600), 0.99),
        (Pathfinder(num_test=48, distractor_contrast=1.0), 0.95),
        (Pathfinder(size=64, contour_length=9, num_test=48), 1.0),
    ],
    ids=["published", "equally bright", "64 pixels"],
)
def test_labels_are_those_that_a_solver_finds_in_the_pixels(task, least):
    rows = task.rows("test")
    found = solved(LOOKS[task.size], rows["tokens"], task.contour_length)
    assert np.mean(found == rows["targets"][:, 0]) >= least


def test_a_solver_is_lost_where_pixels_are_shuffled_between_images(easy):
    """Each image's answer is in its own pixels: those of the next pair say nothing."""
    rows = easy.splits["test"]
    found = solved(LOOKS[32], np.roll(rows["tokens"], 2, axis=0), 6)
    assert 0.4 < np.mean(found == rows["targets"][:, 0]) < 0.6


def test_of_every_pair_one_image_is_positive_and_not_always_the_first(easy):
    labels = easy.splits["train"]["targets"].reshape(-1, 2)
    np.testing.assert_array_equal(labels.sum(axis=1), 1)
    assert 0.4 < labels[:, 0].mean() < 0.6


def test_no_image_comes_twice_even_between_splits(easy):
    tokens = np.concatenate([rows["tokens"] for rows in easy.splits.values()])
    assert len(np.unique(tokens, axis=0)) == 640


def test_an_image_does_not_depend_on_those_made_with_it(easy, monkeypatch):
    monkeypatch.setattr(pathfinder, "AT_ONCE", 7)
    monkeypatch.setattr(pathfinder_layouts, "AT_ONCE", 50)
    found = replace(EASY, num_train=21).rows("train")
    for key, array in found.items():
        np.testing.assert_array_equal(array, easy.splits["train"][key][:21])


@pytest.mark.parametrize(
    "knobs",
    [
        {"contour_length": 7},
        {"num_distractors": 1},
        {"continuity": 1.5},
        {"distractor_contrast": 1.0},
        {"data_seed": 1},
    ],
    ids=lambda knobs: next(iter(knobs)),
)
def test_a_knob_changes_the_images(easy, knobs):
    other = replace(EASY, num_test=8, **knobs).rows("test")["tokens"]
    assert (other != easy.splits["test"]["tokens"][:8]).any(axis=1).all()


@pytest.mark.parametrize("size", LOOKS)
def test_paddles_keep_their_distance_from_all_but_their_neighbours(size):
    look = LOOKS[size]
    plan = Plan(look, contour_length=9, num_distractors=4, continuity=1.0)
    found = layouts(plan, derived(np.zeros(1, np.uint64), np.arange(6)))
    assert found is not None
    for image in range(6):
        curves = [*zip(found.at[image], found.kinds[image])]
        more = zip(found.more_at[image], found.more_kinds[image])
        curves += itertools.compress(more, found.placed[image])
        own = [
            (curve, number, _space(look, at, kind))
            for curve, (places, kinds) in enumerate(curves)
            for number, (at, kind) in enumerate(zip(places, kinds))
        ]
        for (a, i, one), (b, j, other) in itertools.combinations(own, 2):
            if a != b or j - i > 1:
                assert (one + other).max() < 459


def _space(look, at, kind) -> np.ndarray:
    canvas = np.zeros(look.side**2, int)
    canvas[look.place(at[None].astype(int)) + look.window] = table(look).space[kind]
    return canvas


@pytest.mark.parametrize("size", LOOKS)
def test_a_paddle_covers_the_area_of_a_stroke_with_round_ends(size):
    look = LOOKS[size]
    area = look.length * look.thickness + np.pi * (look.thickness / 2) ** 2
    np.testing.assert_allclose(table(look).ink.sum(axis=1), area, rtol=0.06)


def test_discs_are_three_pixels_wide_and_found_where_they_are():
    """The two first paddles lie 7 pixels apart, to a rounded pixel."""
    found = layouts(Plan(LOOKS[32], 6, 0, 1.0), derived(np.array([5], np.uint64)))
    assert found is not None
    first, second = found.at[0, :, 0].astype(int)
    assert 6.2 < np.hypot(*(first - second)) < 7.8
    image = np.zeros((32, 32), int)
    for y, x in (first, second):
        image[y - 1 : y + 2, x - 1 : x + 2] = 255
    squared = distances(LOOKS[32], image.reshape(1, -1))
    assert squared[0] == ((first - second) ** 2).sum()


def test_answers_are_not_told_by_ink_nor_by_pixels_one_by_one(easy):
    found = EASY.baselines(easy)
    assert found["chance"] == found["majority"] == 0.5
    assert 0.4 < found["ink"] < 0.6
    assert 0.4 < found["linear"] < 0.6


@pytest.mark.parametrize(
    "knobs, said",
    [
        ({"size": 33}, r"size = 33; it must be one of \[32, 64\]"),
        (
            {"size": 64, "seq_len": 1024},
            "seq_len = 1024; .* 4096 pixels; give --task.seq-len 0",
        ),
        ({"contour_length": 2}, "contour_length = 2; it must be at least 3"),
        ({"num_distractors": -1}, "num_distractors = -1; it must be at least 0"),
        ({"continuity": 0.0}, "continuity = 0.0; it must be above 0"),
        ({"distractor_contrast": -1.0}, "distractor_contrast = -1.0; .* above 0"),
        ({"num_test": 0}, "num_test = 0"),
        ({"data_seed": -1}, "data_seed = -1"),
    ],
)
def test_a_value_that_cannot_be_is_named(knobs, said):
    with pytest.raises(UserError, match=rf"^Pathfinder\.{said}"):
        Pathfinder(**knobs)


def test_curves_that_find_no_room_are_an_error_not_an_endless_search(monkeypatch):
    monkeypatch.setattr(pathfinder_layouts, "PATIENCE", 2)
    task = Pathfinder(contour_length=60, num_test=2)
    with pytest.raises(UserError, match=r"contour_length = 60 leaves no room"):
        task.rows("test")
