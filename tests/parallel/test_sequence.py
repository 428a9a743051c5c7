"""The certificate: sequences over devices give what one device gives, or a refusal."""

from dataclasses import replace
from functools import cache, partial

import jax
import jax.numpy as jnp
import naive
import numpy as np
import pytest
from jax.sharding import PartitionSpec as P
from meshes import collectives, make
from tiny import exhaustive

from attn.attention import attend, attend_with_lse, recording
from attn.errors import UserError
from attn.kernels import KERNELS, Softmax
from attn.masks import Causal
from attn.parallel.strategies import STRATEGIES
from attn.parallel.support import HEADS, LENGTH, MASKS, SENT, support, table
from attn.positions import Alibi, alibi_slopes

B, T, N, H = 2, LENGTH, HEADS, 4
RICH = Softmax(sinks=True, softcap=4.0)


@cache
def options(*names):
    """Optional arguments of a call, by name."""
    random = np.random.default_rng(3)
    segments = jnp.asarray(np.sort(random.integers(0, 3, (B, T))), jnp.int32)
    every = {
        "padding": {"kv_mask": jnp.asarray(random.random((B, T)) < 0.7)},
        "lengths": {"q_lengths": jnp.array([T, 11]), "kv_lengths": jnp.array([T, 11])},
        "segments": {"q_segment_ids": segments, "kv_segment_ids": segments},
        "alibi": {"bias": Alibi(alibi_slopes(N))},
        "bias": {"bias": jnp.asarray(random.normal(size=(1, N, T, T)), "float32")},
        "positions": {
            "q_positions": jnp.flip(jnp.arange(T))[None].repeat(B, 0),
            "kv_positions": jnp.flip(jnp.arange(T))[None].repeat(B, 0),
        },
    }
    return {k: x for name in names for k, x in every[name].items()}


def arrays_of(spec, K):
    """The arrays that move, and the kernel's own where it has any."""
    random = np.random.default_rng(6)
    shapes = {"q": (B, T, N, H), "k": (B, T, K, H)}
    shapes["v"] = (B, T, K, naive.value_width(spec, H, 3))
    arrays = {
        n: jnp.asarray(random.normal(size=s), "float32") for n, s in shapes.items()
    }
    if spec.owns != "nothing":
        arrays["weights"] = naive.own_weights(spec, H, T, N)
    return arrays


def values(spec, mask, strategy, asked):
    """Makes the function of arrays to outputs and gradients."""
    scale = 0.3 if "scale" in asked else None
    # So few scores are `dense` otherwise, and those of one device are.
    impl = "blockwise" if "tiles" in asked and strategy != "auto" else "auto"
    options = {"mask": mask, "strategy": strategy, "scale": scale, "impl": impl}

    def loss(moving, still):
        call = attend_with_lse if "lse" in asked else attend
        found = call(spec, **moving, **still, **options)
        out, *lse = found if "lse" in asked else (found,)
        seen = [jnp.where(jnp.isfinite(x), x, 0).sum() for x in lse]
        return jnp.sin(out).sum() + sum(seen), found

    return jax.jit(jax.value_and_grad(loss, has_aux=True, allow_int=True))


def laid(name, x, heads):
    """An array of a call on the mesh; the sequence lies along seq."""
    if (name == "bias" and not isinstance(x, jax.Array)) or name == "weights":
        return jax.tree.map(lambda leaf: jax.device_put(leaf, P("heads")), x)
    spec = P("data", "seq") if x.ndim == 2 else P("data")
    if x.ndim == 4:
        spec = P("data", "seq", "heads" if x.shape[2] % heads == 0 else None, None)
    if name == "bias":
        spec = P(None, "heads", "seq", None)
    return jax.device_put(x, spec)


def assert_as_one_device(spec, mask, strategy, asked=(), shape=(1, 1, 2), K=N):
    """Compares values and gradients with one device's; returns what is sent."""
    moving, given = (
        arrays_of(spec, K),
        options(*(set(asked) - {"lse", "scale", "tiles"})),
    )
    moving |= {n: x for n, x in given.items() if n == "bias"}
    still = {n: x for n, x in given.items() if n != "bias"}
    alone = values(spec, mask, "auto", asked)(moving, still)
    with jax.set_mesh(make(shape)):
        moving, still = (
            {n: laid(n, x, shape[1]) for n, x in part.items()}
            for part in (moving, still)
        )
        compiled = values(spec, mask, strategy, asked).lower(moving, still).compile()
        found = compiled(moving, still)
    (_, out), _ = found
    assert jax.tree.leaves(out)[0].sharding.spec[1] == "seq"
    for a, e in zip(jax.tree.leaves(found), jax.tree.leaves(alone), strict=True):
        np.testing.assert_allclose(np.asarray(a), np.asarray(e), rtol=1e-5, atol=1e-5)
    return set(collectives(compiled))


def cells():
    """Every mechanism, mask and strategy that the table knows, and whether it serves."""
    for name in naive.SPECS:
        for mask in MASKS:
            row = support(naive.SPECS[name], mask)
            for strategy in STRATEGIES if row else ():
                yield name, mask, strategy, strategy in row.strategies


SHOWN = {
    ("linear", "full", "scan"),
    ("performer", "causal", "scan"),
    ("retention", "causal", "scan"),
    ("gated_delta", "causal", "scan"),
    ("rglru", "causal", "scan"),
    ("softmax", "causal", "ring"),
    ("softmax", "per_head", "all_gather"),
    ("differential", "causal", "all_to_all"),
    ("linformer", "full", "all_gather"),
}
"""Cells that stand for the others, which are exhaustive."""
DECLARED = [
    case[:3] if case[:3] in SHOWN else exhaustive(*case[:3])
    for case in cells()
    if case[3]
]


@pytest.mark.parametrize(("name", "mask", "strategy"), DECLARED)
def test_a_declared_cell_gives_what_one_device_gives(name, mask, strategy):
    spec = naive.SPECS[name]
    sent = assert_as_one_device(spec, MASKS[mask], strategy)
    of_weights = {"all-reduce"} | ({"all-gather"} if spec.owns != "nothing" else set())
    assert sent <= {*SENT[strategy]} | of_weights
    assert sent & {*SENT[strategy]}


WITH_SINKS = [
    exhaustive(name, mask, strategy)
    for name, mask, strategy, _ in cells()
    if strategy in support(naive.SPECS[name], mask).sinks
]


@pytest.mark.parametrize(("name", "mask", "strategy"), WITH_SINKS)
def test_a_cell_with_sinks_gives_what_one_device_gives(name, mask, strategy):
    spec = replace(naive.SPECS[name], sinks=True)
    assert_as_one_device(spec, MASKS[mask], strategy)


REFUSED = [
    c[:3] if c[0] in naive.PATHS else exhaustive(c[:3]) for c in cells() if not c[3]
]


@pytest.mark.parametrize("case", REFUSED, ids="-".join)
def test_a_cell_that_is_not_declared_is_refused_by_name(case):
    name, mask, strategy = case
    spec = naive.SPECS[name]
    moving = arrays_of(spec, N)
    with jax.set_mesh(make((1, 1, 2))):
        moving = {n: laid(n, x, 1) for n, x in moving.items()}
        words = f"strategy = '{strategy}' for kernel '{name}'"
        with pytest.raises(UserError, match=words) as refused:
            attend(spec, **moving, mask=MASKS[mask], strategy=strategy)
    able = support(spec, mask).strategies
    assert (f"{able[0]}" if able else "no other can serve") in str(refused.value)


EVERYTHING = ("padding", "lengths", "segments", "alibi", "scale", "lse")


@pytest.mark.parametrize(
    ("spec", "mask", "strategy", "asked", "shape", "K"),
    [
        (RICH, "window", "ring", EVERYTHING, (2, 2, 2), 2),
        (RICH, "window", "all_gather", EVERYTHING, (2, 2, 2), 2),
        (RICH, "window", "all_to_all", EVERYTHING, (2, 2, 2), 2),
        (Softmax(), "causal", "ring", ("bias",), (1, 1, 4), 1),
        (RICH, "causal", "ring", ("tiles", "padding", "lse"), (1, 1, 2), 2),
        exhaustive(RICH, "window", "ring", ("tiles", *EVERYTHING), (2, 2, 2), 2),
        exhaustive(Softmax(), "causal", "ring", ("lse",), (1, 1, 4), 4),
        exhaustive(Softmax(), "causal", "ring", ("positions",), (1, 1, 4), 4),
        exhaustive(Softmax(), "full", "ring", ("segments",), (1, 1, 8), 2),
        exhaustive(Softmax(), "causal", "all_gather", ("positions",), (1, 1, 4), 1),
        exhaustive(Softmax(), "causal", "all_gather", ("bias",), (1, 2, 4), 2),
        exhaustive(Softmax(), "causal", "all_to_all", ("bias",), (1, 2, 2), 1),
        exhaustive(RICH, "causal", "ring", (), (1, 1, 4), 2),
    ],
    ids=lambda x: getattr(x, "name", str(x)),
)
def test_options_of_softmax_give_what_one_device_gives(
    spec, mask, strategy, asked, shape, K
):
    assert_as_one_device(spec, MASKS[mask], strategy, asked, shape, K)


SCANS = [
    (n, mask) for n, mask, strategy, able in cells() if able and strategy == "scan"
]


@pytest.mark.parametrize(
    ("name", "mask"),
    [c if c == ("gated_delta", "causal") else exhaustive(*c) for c in SCANS],
)
def test_a_scan_with_padding_and_groups_gives_what_one_device_gives(name, mask):
    asked, shape = ("padding", "lengths"), (2, 2, 2)
    assert_as_one_device(naive.SPECS[name], MASKS[mask], "scan", asked, shape, 2)


def test_scan_has_one_implementation_and_says_so():
    spec = naive.SPECS["linear"]
    moving = arrays_of(spec, N)
    with jax.set_mesh(make((1, 1, 2))):
        moving = {n: laid(n, x, 1) for n, x in moving.items()}
        with pytest.raises(UserError, match=r"impl = 'recurrent' .* is 'chunked'"):
            attend(spec, **moving, mask=Causal(), impl="recurrent", strategy="scan")


def test_what_a_divided_call_chose_is_recorded():
    moving = arrays_of(Softmax(), N)
    with jax.set_mesh(make((1, 1, 2))), recording() as found:
        moving = {n: laid(n, x, 1) for n, x in moving.items()}
        jax.eval_shape(partial(attend, Softmax(), strategy="ring"), **moving)
    assert [(x.implementation, x.reason) for x in found] == [
        ("ring of dense", "asked for by name; 512 scores are within 1,048,576")
    ]


def test_the_table_has_every_mechanism_and_a_strategy_for_each():
    assert {row.kernel for row in table()} == set(KERNELS)
    assert all(row.strategies for row in table() if row.mask != "per_head")


def test_every_cell_of_the_table_is_held_to_one_device():
    rows = [(row.kernel, row.mask, row) for row in table()]
    served = {(*cell, s) for *cell, row in rows for s in row.strategies}
    with_sinks = {(*cell, s) for *cell, row in rows for s in row.sinks}
    assert {getattr(case, "values", case) for case in DECLARED} == served
    assert {case.values for case in WITH_SINKS} == with_sinks
    family = {name for name, kind in KERNELS.items() if issubclass(kind, Softmax)}
    assert {name for name, *_ in with_sinks} == family
