"""Knobs of synthetic tasks: each changes the rows, and what cannot be met is told."""

from dataclasses import fields, replace

import pytest
from small import BY_NAME, TASKS

from attn.errors import UserError
from attn.tasks import (
    SPLITS,
    AssociativeRecall,
    Brevo,
    CommonWords,
    Copy,
    Depo,
    FrequentWords,
    Induction,
    Mano,
    NgramLookup,
    SelectiveCopy,
    Sort,
    VariableTracking,
    WordProblem,
)

each = pytest.mark.parametrize("task", TASKS, ids=list(BY_NAME))
OTHERS = {"noise_vocab": 1, "group": "z5", "operators": "as", "key": "suffix"}
OTHERS |= {"shuffle": "once", "scored": "first", "alpha": 1.5}


@each
def test_every_knob_changes_the_rows(task):
    base = AssociativeRecall(vocab_size=12, noise_vocab=2, noise_share=0.3)
    task = replace(base if task.name == base.name else task, num_train=60, num_test=20)
    other = {"noise_share": 0.1, "unique": True, "num_queries": 3, "min_nodes": 4}

    def content(one):
        return [a.tobytes() for s in SPLITS for a in one.rows(s).values()]

    for field in fields(task):
        step = 2 if field.name == "seq_len" else 1
        value = getattr(task, field.name)
        changed = {**OTHERS, **other}.get(
            field.name, value + step if isinstance(value, int) else None
        )
        assert content(replace(task, **{field.name: changed})) != content(task), field


@pytest.mark.parametrize(
    ("task", "knobs", "words"),
    [
        (Induction, {"seq_len": 3}, "seq_len = 3; it must be at least 4"),
        (Induction, {"vocab_size": 2}, "vocab_size = 2; it must be at least 3"),
        (Induction, {"num_test": 0}, "num_test = 0; it must be at least 1"),
        (Induction, {"data_seed": -1}, "data_seed = -1; it must be 0 or more"),
        (AssociativeRecall, {"seq_len": 21}, "seq_len = 21; it must be even"),
        (AssociativeRecall, {"noise_vocab": 7}, "vocab_size = 10; it must be at least 11"),
        (AssociativeRecall, {"noise_share": 0.2}, "noise_share = 0.2; .* 0 where noise_"),
        (SelectiveCopy, {"num_tokens": 128}, "num_tokens = 128; it must be 1 .. 127 for"),
        (Copy, {"seq_len": 8}, "min_tokens = 5; it must be 1 .. 4, half of seq_len = 8"),
        (Copy, {"vocab_size": 3}, "vocab_size = 3; it must be at least 4"),
        (Sort, {"unique": True, "seq_len": 60}, "vocab_size = 22; it must be at least 32"),
        (NgramLookup, {"seq_len": 9, "n": 4}, "seq_len = 9; it must be at least 12"),
        (WordProblem, {"group": "q8"}, "group = 'q8'; it must be parity, z2 .. z512, s3"),
        (WordProblem, {"group": "s6"}, "group = 's6'; it must be parity, z2"),
        (Mano, {"operators": "aa"}, "operators = 'aa'; it must be some of a, s and m"),
        (Mano, {"modulus": 1}, "modulus = 1; it must be at least 2"),
        (Depo, {"num_nodes": 20}, "seq_len = 64; it must be at least 69, for edges"),
        (Depo, {"num_queries": 17}, "num_queries = 17; it must be 1 .. num_nodes = 16"),
        (Depo, {"num_names": 9}, "num_names = 9; it must be at least num_nodes = 16"),
        (Brevo, {"num_nodes": 9}, "seq_len = 144; it must be at least 166, for edges"),
        (Brevo, {"num_nodes": 2}, "num_nodes = 2; it must be at least 3"),
        (Brevo, {"num_graphs": 0}, "num_graphs = 0; it must be at least 1"),
        (CommonWords, {"num_answers": 0}, "num_answers = 0; it must be at least 1"),
        (CommonWords, {"repeats": 1}, "repeats = 1; it must be above other_repeats = 1"),
        (CommonWords, {"other_repeats": 0}, "other_repeats = 0; it must be at least 1"),
        (CommonWords, {"seq_len": 34}, "seq_len = 34; it must be at least 35, for the"),
        (CommonWords, {"num_words": 97}, "num_words = 97; it must be at least 98, for"),
        (FrequentWords, {"alpha": 0.0}, "alpha = 0.0; it must be above 0"),
        (FrequentWords, {"seq_len": 25}, "seq_len = 25; it is too short for counts that"),
        (FrequentWords, {"seq_len": 1}, "seq_len = 1; it is too short for counts that"),
        (FrequentWords, {"num_words": 2}, "num_words = 2; it must be at least num_answ"),
        (VariableTracking, {"num_chains": 0}, "num_chains = 0; it must be at least 1"),
        (VariableTracking, {"num_hops": -1}, "num_hops = -1; it must be 0 or more"),
        (VariableTracking, {"num_names": 19}, "num_names = 19; it must be at least 20,"),
        (VariableTracking, {"num_values": 3}, "num_values = 3; it must be at least num_"),
        (VariableTracking, {"seq_len": 45}, "seq_len = 45; it must be at least 46, for"),
    ],
)  # fmt: skip
def test_a_knob_that_cannot_be_met_is_told_in_one_line(task, knobs, words):
    with pytest.raises(UserError, match=f"^{task.__name__}.{words}") as told:
        task(**knobs)
    assert "\n" not in str(told.value)
