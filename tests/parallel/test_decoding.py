"""Decoding on a mesh: the tokens of one device, and steps that send nothing."""

import jax
import jax.numpy as jnp
import naive
import numpy as np
import pytest
from flax import nnx
from meshes import collectives, make
from tiny import some

from attn.attention.decode import begin, step
from attn.config import ModelConfig
from attn.errors import UserError
from attn.kernels import KERNELS, BigBirdAttention, TokenInfo
from attn.masks import FULL, Causal, PerHead
from attn.model import Transformer
from attn.model.beams import beam_search
from attn.model.generate import Prompt, generate, stream
from attn.parallel.mesh import MeshShape, make_mesh

B, L, N, H = 4, 12, 4, 8
MODELS = {
    "hybrid": {"pattern": ("short_conv", "attention", "gated_delta", "mlp")},
    "one key head": {"num_kv_heads": 1, "positions": "t5"},
    "latent": {"kv_rank": 6, "kernel": BigBirdAttention(block=2, num_global=1)},
    "encoder-decoder": {
        "pattern": ("attention", "cross_attention", "mlp"),
        "encoder_pattern": ("attention", "mlp"),
        "num_kv_heads": 2,
    },
}
RNG = np.random.default_rng(0)
TOKENS = RNG.integers(0, 32, (B, 6)).astype(np.int32)
REAL = np.arange(6) >= np.array([[0], [2], [1], [3]])


def model_of(name):
    sizes = {"vocab_size": 32, "max_len": L, "d_model": 32, "repeats": 1}
    model = ModelConfig(**sizes, num_heads=N, causal=True, **MODELS[name])
    return Transformer(model, rngs=nnx.Rngs(0))


def prompt_of(name):
    source = jnp.asarray(TOKENS[:, ::-1]) if name == "encoder-decoder" else None
    info = TokenInfo(mask=jnp.asarray(REAL))
    return Prompt(jnp.asarray(TOKENS), info, source, info if source is not None else
                  TokenInfo())  # fmt: skip


@pytest.mark.parametrize("name", MODELS)
def test_what_is_written_on_a_mesh_is_what_one_device_writes(name):
    expected = generate(model_of(name), prompt_of(name), 5, end=3)
    assert len(np.unique(expected)) > 3
    for shape in ({"heads": 4}, {"data": 2, "fsdp": 2, "heads": 2}):
        with jax.set_mesh(make_mesh(MeshShape(**shape))):
            found = generate(model_of(name), prompt_of(name), 5, end=3)
        np.testing.assert_array_equal(found, expected)


def test_a_stream_and_beams_are_those_of_one_device():
    prompt = Prompt(jnp.asarray(TOKENS[:1]))
    model = model_of("one key head")
    expected, scores = beam_search(model, prompt, 4, width=3, end=None)
    streamed = [*stream(model, prompt, 4)]
    with jax.set_mesh(make_mesh(MeshShape(heads=2))):
        model = model_of("one key head")
        np.testing.assert_array_equal([*stream(model, prompt, 4)], streamed)
        found, own = beam_search(model, prompt, 4, width=3, end=None)
    np.testing.assert_array_equal(found, expected)
    np.testing.assert_allclose(own, scores, rtol=1e-5)


DECODING = [name for name in naive.PATHS if "decoding" in KERNELS[name].can]


@pytest.mark.parametrize("name", some(DECODING))
def test_a_step_sends_nothing_between_devices(name):
    spec, K = naive.SPECS[name], 2
    Hv = naive.value_width(spec, H, H)
    weights = naive.own_weights(spec, H, L, N) or None
    with jax.set_mesh(make((2, 4))):

        def one(q, k, v, cache, at):
            return step(spec, q, k, v, cache, mask=Causal(), positions=at,
                        weights=weights)  # fmt: skip

        cache = begin(spec, Causal(), B, L, heads=(N, K), widths=(H, Hv))
        shapes = (B, 1, N, H), (B, 1, N, H), (B, 1, N, Hv)
        spec_of = jax.P("data", None, "heads", None)
        tokens = [jax.device_put(jnp.ones(shape), spec_of) for shape in shapes]
        at = jax.device_put(jnp.zeros((B, 1), jnp.int32), jax.P("data", None))
        compiled = jax.jit(one).lower(*tokens, cache, at).compile()
        # Each device has a key head of its own, and its part of the rows.
        assert {x.sharding.shard_shape(x.shape)[0] for x in jax.tree.leaves(cache)} == {
            B // 2
        }
    assert collectives(compiled) == []


def test_what_a_mesh_cannot_divide_is_refused():
    kernel, sizes = KERNELS["softmax"](), {"heads": (N, N), "widths": (H, H)}
    with jax.set_mesh(make((2, 1, 2))), pytest.raises(UserError, match="mesh seq = 2"):
        begin(kernel, Causal(), B, L, **sizes)
    mask = PerHead((Causal(), Causal() & FULL, Causal(), Causal()))
    with jax.set_mesh(make((1, 2))), pytest.raises(UserError, match="mask for each"):
        begin(kernel, mask, B, L, **sizes)
    with (
        jax.set_mesh(make((2, 1))),
        pytest.raises(UserError, match="2 parts, and beams"),
    ):
        beam_search(model_of("latent"), Prompt(jnp.asarray(TOKENS)), 2, width=2, end=3)
