"""What is registered is sound: named once, fairly sized, and traceable."""

import csv
from dataclasses import fields, replace
from functools import cache
from math import isfinite
from pathlib import Path

import jax
import jax.numpy as jnp
import pytest
from jax.sharding import NamedSharding
from tiny import exhaustive

import attn
import experiments
from attn import registry
from attn.config import Experiment, cost
from attn.config.claims import Claim, Prediction
from attn.config.tuning import Tuning, at_rate, tuned, untuned
from attn.errors import UserError
from attn.kernels import Softmax
from attn.parallel.mesh import MeshShape, make_mesh
from attn.parallel.rules import spec
from attn.tasks import SPLITS, TASKS, Dataset
from attn.tasks.base import in_32_bits
from attn.tasks.pairs import Pairs
from attn.train.state import init_state, model_def
from attn.train.step import make_train_step

ITEMS = registry.everything()
EXPERIMENTS = [item for item in ITEMS if isinstance(item, Experiment)]
PLANNED = [x for x in ITEMS if isinstance(x, registry.Study) and x.planned]
STUDIES = [x for x in ITEMS if isinstance(x, registry.Study) and not x.planned]
RESULTS = Path(experiments.__file__).parent / "results"
COMMITTED = sorted(path.parent for path in RESULTS.glob("*/*/config.json"))


def few_baselines(task):
    """The baselines of a task, by name, as they come out on a few rows."""
    sizes = {"num_train": 64, "num_valid": 8, "num_test": 8}
    named = {field.name for field in fields(task)}
    return _baselines(replace(task, **{k: v for k, v in sizes.items() if k in named}))


@cache
def _baselines(few):
    rows = {
        split: {key: in_32_bits(array) for key, array in few.rows(split).items()}
        for split in SPLITS
    }
    return few.baselines(Dataset(rows, "", ""))


UNRUN = {planned.name for study in PLANNED for planned in study.experiments}
RUN = [e for e in EXPERIMENTS if e.name not in UNRUN]
FIRST = {type(e.task): e.name for e in reversed(RUN)}
TRACED = [
    # Every task once: others trace every mechanism and pattern.
    pytest.param(e, id=e.name)
    if e.name == FIRST[type(e.task)]
    else exhaustive(e, id=e.name)
    for e in RUN
]


@pytest.mark.parametrize("experiment", TRACED)
def test_every_experiment_traces_its_train_step(experiment):
    # One block of the layers that repeat.
    model = replace(experiment.model, repeats=1, encoder_repeats=None)
    experiment = replace(experiment, model=model)
    task, B = experiment.task, experiment.train.batch_size
    shapes = {"tokens": (task.seq_len,), "targets": (task.num_scored,)}
    if getattr(task.objective, "scored", "all") == "positions":
        shapes["positions"] = (task.num_scored,)
    if task.padded:
        shapes["lengths"] = ()
    if task.objective.reads_source:
        shapes |= {"source": (task.source_len,), "source_lengths": ()}
    mesh = make_mesh(MeshShape())
    with jax.set_mesh(mesh):
        sharding = NamedSharding(mesh, spec("C R B"))
        batch = {
            name: jax.ShapeDtypeStruct((1, 1, B, *shape), jnp.int32, sharding=sharding)
            for name, shape in shapes.items()
        }
        state = jax.eval_shape(lambda: init_state(experiment, (0,)))
        step = make_train_step(experiment, model_def(experiment))
        after, metrics = jax.eval_shape(step, state, batch)
    assert metrics["loss"].shape == (1, 1)
    assert jax.tree.map(lambda x: x.shape, after) == jax.tree.map(
        lambda x: x.shape, state
    )


VARIED = {
    "head_width": {"head_dim": None},
    "kv_heads": dict.fromkeys(("num_kv_heads", "head_dim", "kv_rank", "rope_dim")),
    "positions": {"positions": "rotary"},
    "single_head": {"repeats": 1, "head_dim": None},
    "trees": {"attend_padding": False},
}
"""The fields that a study is about, beside the mechanism and the number of heads."""
MATCHED = {"cache": cost.decode_state, "flops": cost.forward_flops}
"""What is equal, by the last word of a name, where it is not parameters."""


@pytest.mark.parametrize("study", STUDIES, ids=lambda s: s.name)
def test_a_study_compares_models_of_equal_size_on_equal_terms(study):
    at_one_rate = untuned(study.experiments, study.tunings)
    layers = {(e.task, e.model.pattern) for e in at_one_rate}
    for task, pattern in layers:
        group = [e for e in at_one_rate if (e.task, e.model.pattern) == (task, pattern)]
        for e in group:
            # A name says where something else than parameters is what is equal.
            size = MATCHED.get(e.name.rpartition("_")[2], cost.count_params)
            assert size(e) == pytest.approx(size(group[0]), rel=0.01)
        assert len({(e.train, e.seeds) for e in group}) == 1
        # What looks ahead only where it may, and what never does, read the same sequence.
        same = {"kernel": Softmax(), "d_ff": 1, "num_heads": 1, "causal": False}
        same |= VARIED.get(study.name, {})
        assert len({replace(e.model, **same) for e in group}) == 1


@pytest.mark.parametrize(
    "study", [s for s in STUDIES if s.tunings], ids=lambda s: s.name
)
def test_a_tuned_study_takes_the_best_rate_of_a_grid_for_each_experiment(study):
    assert {*study.tunings} == {e.name for e in study.experiments}
    for e in study.experiments:
        grid = study.tunings[e.name]
        sign = 1 if e.task.metric.higher_is_better else -1
        best = max(sign * grid.score(r) for r in grid.rates if isfinite(grid.score(r)))
        assert sign * grid.score(grid.chosen) == best
        assert e.train.peak_lr == grid.chosen
        assert grid.before in grid.rates


LONG = ("architectures", "arena", "lra")
"""Studies of many tasks, whose baselines take seconds each."""


@pytest.mark.parametrize(
    "study",
    [exhaustive(s, id=s.name) if s.name in LONG else s for s in STUDIES],
    ids=lambda s: s.name,
)
def test_every_study_has_claims_that_can_be_judged(
    study, request, tiny_packages, made_speeches
):
    own = {experiment.name: experiment.task for experiment in study.experiments}
    if any(isinstance(task, Pairs) for task in own.values()):
        request.getfixturevalue("tiny_pairs")
    predictions = [p for claim in study.claims for p in claim.predictions]
    assert predictions
    baselines = {}
    for prediction in predictions:
        than, task = prediction.than, own[prediction.run]
        if isinstance(than, float):
            continue
        if than in own:
            assert own[than] == task
            continue
        if task not in baselines:
            baselines[task] = few_baselines(task)
        assert than in baselines[task]


def test_a_claim_names_experiments_of_its_study():
    claim = Claim("None.", (Prediction("recall_softmacs", "recall_window"),))
    with pytest.raises(UserError, match="did you mean 'recall_softmax'"):
        replace(registry.get("families"), claims=(claim,))


def test_a_grid_goes_with_the_experiment_as_registered(own_registry):
    base = replace(EXPERIMENTS[0], name="mine")
    grid = Tuning((1e-4, 1e-3), ((0.1,), (0.2,)), before=1e-4, chosen=1e-3)
    mine = tuned([base], {"mine": grid})
    registry.register(registry.Study("own", "None.", mine, 1, {"mine": grid}))
    assert mine[0].train.peak_lr == 1e-3
    assert registry.tunings_of([replace(mine[0], seeds=5)]) == {"mine": grid}
    longer = replace(mine[0], train=replace(mine[0].train, steps=70))
    assert registry.tunings_of([longer]) == {}
    assert untuned([longer], registry.tunings())[0].train.peak_lr == 1e-4
    other = at_rate(longer, 5e-3)
    assert untuned([other], registry.tunings()) == (other,)


@pytest.mark.parametrize("folder", COMMITTED, ids=lambda f: f"{f.parent.name}/{f.name}")
def test_committed_results_are_of_what_is_registered(folder):
    run, expected = attn.records.load(folder), registry.get(folder.name)
    study, _, other = folder.parent.name.rpartition("_")
    if study in ("arena", "long_text"):  # under another mechanism
        kernel = run.experiment.model.kernel
        assert other == kernel.name
        expected = replace(expected, model=replace(expected.model, kernel=kernel))
    if folder.parent.name == "translation_long":  # twice the steps, and half the seeds
        twice = replace(expected.train, steps=2 * expected.train.steps)
        expected = replace(expected, train=twice, seeds=1)
    expected = replace(expected, claim=run.experiment.claim)  # in the words of its time
    assert run.experiment == expected
    assert run.result.tuning == registry.tunings().get(folder.name)


AUDITED = sorted((RESULTS / "audits").glob("*.csv"))


@pytest.mark.parametrize("path", AUDITED, ids=lambda path: path.stem)
def test_committed_audits_are_of_tasks_with_the_baselines_that_they_have_now(
    path, tiny_packages, made_speeches
):
    name, *knobs = path.stem.split("-")
    values = (knob.split("=") for knob in knobs)
    task = TASKS[name](**{k: int(v) if v.isdecimal() else v for k, v in values})
    own = few_baselines(task) if task.metric.name == "accuracy" else {}
    with path.open() as file:
        kept = {row["solver"]: float(row["accuracy"]) for row in csv.DictReader(file)}
    assert {f"{key.replace('_', ' ')} (its own)" for key in own} < set(kept)
    assert kept.get("chance (its own)") == own.get("chance")


@pytest.mark.parametrize(
    ("solver", "known"),
    [
        ("majority (its own)", 0.164),
        ("root (its own)", 0.3655),
        ("root and leaves (its own)", 0.493),
    ],
)
def test_listops_of_published_sizes_has_the_accuracies_that_others_rows_have(
    solver, known
):
    (path,) = (RESULTS / "audits").glob("listops-seq_len=2000-*-num_test=2000.csv")
    with path.open() as file:
        kept = {row["solver"]: float(row["accuracy"]) for row in csv.DictReader(file)}
    of_both = (known * (1 - known) * (1 / 2000 + 1 / 4000)) ** 0.5
    assert abs(kept[solver] - known) < 2 * of_both


def test_the_families_study_holds_three_families_two_tasks_and_three_seeds():
    group = registry.get("families").experiments
    assert {e.model.kernel.family for e in group} == {"dense", "sparse", "lowrank"}
    assert {e.task.name for e in group} == {"mqar", "pydoc"}
    assert len({e.model.kernel for e in group}) >= 5
    assert all(e.seeds >= 3 for e in group)


@pytest.mark.parametrize(
    ("name", "parameters"), [("7b", 6_738_415_616), ("70b", 68_976_648_192)]
)
def test_what_is_planned_has_the_parameters_of_the_model_that_it_is_named_after(
    name, parameters
):
    # Those of the published weights of Llama-2-7b-hf and Llama-2-70b-hf.
    assert cost.count_params(registry.get(name)) == parameters


def test_words_and_seeds_are_no_part_of_what_is_registered():
    one = EXPERIMENTS[0]
    assert registry.is_registered(replace(one, claim="In other words.", seeds=9))
    longer = replace(one, train=replace(one.train, steps=one.train.steps + 1))
    assert not registry.is_registered(longer)


def test_a_name_is_registered_once():
    with pytest.raises(UserError, match="two experiments are called 'families'"):
        registry.register(registry.get("families"))


def test_an_unknown_name_offers_the_nearest():
    with pytest.raises(UserError, match="did you mean 'families'"):
        registry.get("famillies")
