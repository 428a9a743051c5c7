"""Optimizers and schedules: each does what its paper says, and no knob is silent."""

from dataclasses import fields, replace
from functools import cache

import jax
import numpy as np
import optax
import pytest
from tiny import TRAIN, experiment_of, largest_gap

from attn.config import TrainConfig
from attn.config.optimizers import OPTIMIZERS, SGD, Adafactor, AdamW, Lion, Muon
from attn.config.schedules import (
    SCHEDULES,
    Constant,
    Cosine,
    InverseSqrt,
    Linear,
    WarmupStableDecay,
)
from attn.errors import UserError
from attn.model.weights import EMBEDDING, MATRIX, VECTOR
from attn.parallel.mesh import make_mesh
from attn.train.optimizer import learning_rate, make_optimizer
from attn.train.state import init_state, model_def

ROLES = {"matrix": MATRIX, "table": EMBEDDING, "scale": VECTOR}
PARAMS = {
    name: np.linspace(-1, 1, np.prod(shape)).reshape(shape).astype(np.float32)
    for name, shape in (("matrix", (2, 3)), ("table", (4, 2)), ("scale", (3,)))
}
FREE = replace(TRAIN, warmup_steps=0, weight_decay=0.0, clip_norm=1e6)
OTHER = {float: lambda x: x / 2, int: lambda x: x + 1, bool: lambda x: not x}


def slopes_of(params, steps):
    """Random gradients of some steps, small and large in turns."""
    random, sizes = np.random.default_rng(0), np.resize([1.0, 10.0, 0.1, 3.0], steps)
    return {
        name: np.float32([size * random.normal(size=p.shape) for size in sizes])
        for name, p in params.items()
    }


def optimized(config, params=PARAMS, roles=ROLES, steps=4):
    """Parameters after some steps along the same gradients."""
    optimizer, slopes = make_optimizer(config, roles), slopes_of(params, steps)

    @jax.jit
    def run(params):
        def one(carry, slope):
            params, state = carry
            updates, state = optimizer.update(slope, state, params)
            return (optax.apply_updates(params, updates), state), None

        return jax.lax.scan(one, (params, optimizer.init(params)), slopes)[0][0]

    return jax.device_get(run(params))


@cache
def unchanged(config):
    """Where several changes begin."""
    return optimized(config)


@pytest.mark.parametrize(
    "change",
    [
        {"peak_lr": 2e-2},
        {"warmup_steps": 0},
        {"weight_decay": 0.5},
        {"clip_norm": 0.01},
        {"steps": 24},
        {"schedule": Constant()},
        *({"optimizer": rule()} for rule in OPTIMIZERS.values() if rule is not AdamW),
    ],
    ids=str,
)
def test_a_field_of_the_training_changes_the_parameters(change):
    changed = optimized(replace(TRAIN, **change))
    assert largest_gap(changed, unchanged(TRAIN)) > 1e-6


@pytest.mark.parametrize(
    ("rule", "knob"),
    [(rule, f.name) for rule in OPTIMIZERS.values() for f in fields(rule)],
    ids=lambda x: getattr(x, "name", x),
)
def test_every_knob_of_an_optimizer_changes_the_parameters(rule, knob):
    # Large enough that moments of rows and columns differ from those of each number.
    usual = rule(least_factored=2) if rule.name == "adafactor" else rule()
    value = 1e-2 if knob == "eps" else OTHER[type(getattr(usual, knob))]
    value = value if knob == "eps" else value(getattr(usual, knob))
    other = replace(usual, **{knob: value})
    changed = optimized(replace(FREE, optimizer=other))
    assert largest_gap(changed, unchanged(replace(FREE, optimizer=usual))) > 1e-7


def test_the_usual_optimizer_is_optax_adamw():
    config = replace(TRAIN, clip_norm=1e6, weight_decay=0.3)
    rate = optax.warmup_cosine_decay_schedule(
        0.0, config.peak_lr, 2, 12, config.peak_lr / 10
    )
    mask = {name: role.decays for name, role in ROLES.items()}
    theirs, params = optax.adamw(rate, weight_decay=0.3, mask=mask), PARAMS
    state, slopes = theirs.init(params), slopes_of(PARAMS, 4)
    for step in range(4):
        slope = {name: x[step] for name, x in slopes.items()}
        updates, state = theirs.update(slope, state, params)
        params = optax.apply_updates(params, updates)
    assert largest_gap(optimized(config), params) < 1e-7


def test_sgd_goes_along_its_momentum_and_lion_along_the_sign():
    slope = {name: x[0] for name, x in slopes_of(PARAMS, 1).items()}
    for rule, along in ((SGD(0.0), lambda g: g), (Lion(), np.sign)):
        config = replace(FREE, optimizer=rule, schedule=Constant())
        moved = optimized(config, steps=1)
        for name, p in PARAMS.items():
            expected = p - config.peak_lr * along(slope[name])
            np.testing.assert_allclose(moved[name], expected, rtol=1e-5, atol=1e-7)


@pytest.mark.parametrize("rule", OPTIMIZERS.values(), ids=OPTIMIZERS)
def test_decay_is_of_matrices_and_embeddings_alone(rule):
    with_decay = replace(FREE, optimizer=rule(), weight_decay=0.5)
    ends = [
        optimized(config, steps=1)
        for config in (replace(FREE, optimizer=rule()), with_decay)
    ]
    assert largest_gap(ends[0]["scale"], ends[1]["scale"]) == 0
    assert largest_gap(ends[0]["matrix"], ends[1]["matrix"]) > 0
    assert largest_gap(ends[0]["table"], ends[1]["table"]) > 0


def test_muon_turns_a_matrix_orthogonally_over_its_contracted_axes():
    random = np.random.default_rng(1)
    params = {"o": random.normal(size=(2, 4, 3)).astype(np.float32)}
    role = {"o": MATRIX._replace(inputs=2)}
    config = replace(FREE, optimizer=Muon(), schedule=Constant())
    step = (params["o"] - optimized(config, params, role, 1)["o"]) / config.peak_lr
    sizes = np.linalg.svd(step.reshape(8, 3), compute_uv=False)
    # Newton-Schulz brings singular values near 1; the size of AdamW's update follows.
    assert (np.abs(sizes / (0.2 * 8**0.5) - 1) < 0.4).all()


def test_every_parameter_has_the_role_that_its_layer_gives_it():
    pattern = ("short_conv", "gated_delta", "based", "mlp")
    experiment = experiment_of(pattern=pattern, positions="learned")
    with jax.set_mesh(make_mesh()):
        roles = model_def(experiment).roles
        params = init_state(experiment, (0,)).params
    assert roles.keys() == params.keys()
    for name, role in roles.items():
        word = name.rpartition("/")[2]
        table = word.endswith("embedding")
        spared = word in ("scale", "taps", "norm") or word.endswith(("_alpha", "_beta"))
        inputs = {"o": 2}.get(word, 1) if "/own/" not in name else None
        if table or spared:
            inputs = None
        assert role == (not spared, inputs), name


RATES = {
    Constant(): {2: 1.0, 6: 1.0, 11: 1.0},
    Cosine(): {2: 1.0, 7: 0.55, 12: 0.1},
    Linear(): {2: 1.0, 7: 0.5, 12: 0.0},
    WarmupStableDecay(decay=1 / 3): {2: 1.0, 8: 1.0, 10: 0.5, 12: 0.0},
    InverseSqrt(): {2: 1.0, 8: 0.5},
}


@pytest.mark.parametrize("schedule", RATES, ids=lambda schedule: schedule.name)
def test_a_schedule_rises_to_its_peak_and_ends_where_it_says(schedule):
    config = TrainConfig(steps=12, warmup_steps=2, peak_lr=0.1, schedule=schedule)
    rate = learning_rate(config)
    assert rate(0) == 0
    assert rate(1) == pytest.approx(0.05)
    for step, share in RATES[schedule].items():
        assert rate(step) == pytest.approx(0.1 * share, abs=1e-7)


def test_every_schedule_has_its_rates_here():
    assert {type(schedule) for schedule in RATES} == set(SCHEDULES.values())


@pytest.mark.parametrize(
    ("make", "words"),
    [
        (lambda: AdamW(b2=1.0), r"adamw.b2 = 1.0; it must be from 0 to below 1"),
        (lambda: AdamW(eps=-1.0), r"adamw.eps = -1.0; it must be above 0"),
        (lambda: Muon(iterations=0), r"muon.iterations = 0"),
        (lambda: Adafactor(threshold=-1.0), r"adafactor.threshold = -1.0"),
        (lambda: Lion(b1=-0.1), r"lion.b1 = -0.1"),
        (lambda: Cosine(final=1.5), r"cosine.final = 1.5; it must be from 0 to 1"),
        (
            lambda: TrainConfig(accumulate=3),
            "accumulate = 3 does not divide batch_size",
        ),
    ],
)
def test_a_wrong_knob_is_refused_by_name(make, words):
    with pytest.raises(UserError, match=words):
        make()
