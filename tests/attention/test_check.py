"""`attend` refuses what it would misread: one line that names the argument and the way."""

from functools import partial

import jax
import jax.numpy as jnp
import jaxtyping
import numpy as np
import pytest

from attn.attention import attend, attend_with_lse, effective_map, explain
from attn.errors import UserError
from attn.kernels import Softmax
from attn.positions import Alibi

B, T, S, N, H = 2, 3, 4, 2, 4
Q, KV = np.ones((B, T, N, H), "float32"), np.ones((B, S, N, H), "float32")
IDS = {"q_segment_ids": np.zeros((B, T), int), "kv_segment_ids": np.zeros((B, S), int)}


@pytest.fixture(autouse=True)
def no_type_checks():
    """Calls go past the type checks of the test run, as a user's do."""
    jaxtyping.config.update("jaxtyping_disable", True)
    yield
    jaxtyping.config.update("jaxtyping_disable", False)


MISREAD = {
    "an additive mask": ({"kv_mask": np.zeros((B, S))}, "kv_mask is float64; .* bool"),
    "a mask of integers": ({"kv_mask": np.ones((B, S), int)}, "kv_mask is int64"),
    "a mask for a bias": (
        {"bias": np.ones((B, N, T, S), bool)},
        "bias is bool; .* mask",
    ),
    "a padding id": (
        IDS | {"kv_segment_ids": np.full((B, S), -1)},
        "kv_segment_ids holds -1; .* kv_mask",
    ),
    "a padding id of queries": (
        IDS | {"q_segment_ids": jnp.full((B, T), -1)},
        "q_segment_ids holds -1",
    ),
    "ids of floats": (
        IDS | {"q_segment_ids": np.ones((B, T))},
        "q_segment_ids is float64; it must be integer",
    ),
    "lengths of floats": ({"kv_lengths": np.ones(B)}, "kv_lengths is float64"),
    "negative lengths": ({"q_lengths": np.array([-1, 2])}, "q_lengths holds -1"),
    "long keys": ({"kv_lengths": np.array([1, 5])}, "kv_lengths holds 5; .* S = 4"),
    "long queries": ({"q_lengths": np.array([1, 4])}, "q_lengths holds 4; .* T = 3"),
    "positions of floats": ({"q_positions": np.ones((B, T))}, "q_positions is float64"),
    "negative positions": (
        {"kv_positions": np.full((B, S), -2)},
        "kv_positions holds -2",
    ),
    "queries of integers": ({"q": Q.astype(int)}, "q is int64; .* cast it"),
    "complex values": ({"v": KV.astype(complex)}, "v is complex128"),
    "values of 8 bits": (
        {"v": jnp.asarray(KV, jnp.float8_e4m3fn)},
        "v is float8_e4m3fn; .* float16, bfloat16, float32 or float64: cast it",
    ),
    "a bias of 8 bits": (
        {"bias": jnp.zeros((1, N, T, S), jnp.float8_e5m2)},
        "bias is float8_e5m2; .* cast it",
    ),
    "a complex scale": ({"scale": 1j}, "scale is 1j; it must be a finite number"),
    "a scale of each head": (
        {"scale": np.ones(N)},
        "scale is an array; .* multiplies q",
    ),
    "a switch for a scale": (
        {"scale": True},
        "scale is True; it must be a finite number",
    ),
    "a switch of numpy": ({"scale": np.True_}, "scale is True; .* finite number"),
    "no scale": ({"scale": float("nan")}, "scale is nan"),
    "a list": ({"q": Q.tolist()}, r"q is a list; .* jnp\.asarray\(q\)"),
    "a list of lengths": ({"kv_lengths": [1, 2]}, "kv_lengths is a list"),
    "a bias of one head": (
        {"bias": Alibi(jnp.array(0.5))},
        "bias is of no axis of heads",
    ),
    "a list for a bias": ({"bias": [[0.0]]}, "bias is a list"),
    "a class": ({"kernel": Softmax}, r"kernel is Softmax; .* Softmax\(\)"),
    "a name": ({"kernel": "softmax"}, "kernel is 'softmax'; it must be an instance"),
}


@pytest.mark.parametrize("case", MISREAD)
def test_what_would_be_misread_is_refused_in_one_line(case):
    changed, said = MISREAD[case]
    arguments = {"kernel": Softmax(), "q": Q, "k": KV, "v": KV} | changed
    with pytest.raises(UserError, match=said) as raised:
        attend(**arguments)
    assert "\n" not in str(raised.value)


def test_a_tracer_is_never_forced_and_only_its_type_is_looked_at():
    def run(lengths, ids):
        told = {"kv_lengths": lengths, "q_segment_ids": ids, "kv_segment_ids": ids}
        return attend(Softmax(), *[jnp.asarray(KV)] * 3, **told)

    assert jax.jit(run)(jnp.array([9, 9]), -jnp.ones((B, S), int)).shape == KV.shape
    with pytest.raises(UserError, match="kv_lengths is float32"):
        jax.eval_shape(
            lambda x: attend(Softmax(), Q, KV, KV, kv_lengths=x),
            jax.ShapeDtypeStruct((B,), jnp.float32),
        )


def test_numbers_at_hand_are_looked_at_inside_a_trace_too():
    def run(q, lengths):
        return attend(Softmax(), q, KV, KV, kv_lengths=lengths)

    for lengths in (jnp.array([1, 5]), np.array([1, 5])):
        with pytest.raises(UserError, match="kv_lengths holds 5"):
            jax.eval_shape(partial(run, lengths=lengths), Q)
    jax.eval_shape(partial(run, lengths=jnp.array([1, 4])), Q)


@pytest.mark.parametrize("impl", Softmax.implementations)
def test_arrays_of_numpy_are_arrays(impl):
    random = np.random.default_rng(0)
    q, k, v = (random.normal(size=x.shape).astype("float32") for x in (Q, KV, KV))
    told = IDS | {
        "kv_mask": np.arange(S)[None] < np.array([[S], [2]]),
        "q_positions": np.arange(T)[None].repeat(B, 0),
        "kv_positions": np.arange(S)[None].repeat(B, 0),
        "q_lengths": np.array([2, 3]),
        "kv_lengths": np.array([3, 4]),
        "bias": random.normal(size=(1, N, T, S)).astype("float32"),
    }
    ours = jax.tree.map(jnp.asarray, told)
    run = partial(attend, Softmax(), impl=impl, scale=np.float32(0.5))
    expected = run(*map(jnp.asarray, (q, k, v)), **ours)
    np.testing.assert_array_equal(run(q, k, v, **told), expected)


@pytest.mark.parametrize("call", [attend_with_lse, explain, effective_map])
def test_a_misspelt_option_is_named_with_the_nearest(call):
    arrays = [jnp.asarray(KV)] * (2 if call is effective_map else 3)
    with pytest.raises(UserError, match="'kv_masks'; did you mean 'kv_mask'"):
        call(Softmax(), *arrays, kv_masks=None)
