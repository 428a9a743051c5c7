"""Decoding on a mesh: the tokens of one device, and steps that send nothing."""

import jax
import jax.numpy as jnp
import naive
import numpy as np
import pytest
from flax import nnx
from jax.sharding import PartitionSpec as P
from jaxtyping import TypeCheckError
from meshes import collectives, make
from tiny import exhaustive, some

from attn.attention.decode import begin, prefill, step
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


@pytest.mark.parametrize(
    "shape", [MeshShape(data=2, fsdp=2, heads=2), exhaustive(MeshShape(heads=4))]
)
@pytest.mark.parametrize(
    "name", [exhaustive(n) if n == "latent" else n for n in MODELS]
)
def test_what_is_written_on_a_mesh_is_what_one_device_writes(name, shape):
    expected = generate(model_of(name), prompt_of(name), 5, end=3)
    assert len(np.unique(expected)) > 3
    with jax.set_mesh(make_mesh(shape)):
        found = generate(model_of(name), prompt_of(name), 5, end=3)
    np.testing.assert_array_equal(found, expected)


@pytest.mark.exhaustive
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
    """Of two key heads each of four devices has a copy of one, and half of the rows."""
    spec, K = naive.SPECS[name], 2
    Hv = naive.value_width(spec, H, H)
    weights = naive.own_weights(spec, H, L, N) or None

    def one(q, k, v, cache, at):
        return step(spec, q, k, v, cache, mask=Causal(), positions=at,
                    weights=weights)  # fmt: skip

    with jax.set_mesh(make((2, 4))):
        cache = begin(spec, Causal(), B, L, heads=(N, K), widths=(H, Hv))
        heads = jax.device_put(jnp.ones((B, 1, N, H)), P("data", None, "heads", None))
        k, v = (
            jax.device_put(jnp.ones((B, 1, K, width)), P("data", None, None, None))
            for width in (H, Hv)
        )
        at = jax.device_put(jnp.zeros((B, 1), jnp.int32), P("data", None))
        compiled = jax.jit(one).lower(heads, k, v, cache, at).compile()
    assert collectives(compiled) == []
    for x in jax.tree.leaves(cache):
        part = x.sharding.shard_shape(x.shape)
        assert part[0] == B // 2
        assert x.ndim == 2 or part[1] == 1


@pytest.mark.parametrize("sizes", [{"num_kv_heads": 1}, {"vocab_size": 31}])
def test_an_accelerator_holds_whole_what_its_mesh_cannot_divide(sizes, monkeypatch):
    """Products are written otherwise there than on a CPU."""
    monkeypatch.setattr("attn.model.products.device_kind", lambda: "TPU v5 lite")
    sizes = {"vocab_size": 32, "max_len": L, "d_model": 32, "num_heads": N} | sizes
    with jax.set_mesh(make_mesh(MeshShape(heads=2))):
        model = Transformer(ModelConfig(**sizes, causal=True), rngs=nnx.Rngs(0))
        found = jax.eval_shape(lambda: model(jnp.asarray(TOKENS) % 31))
    assert found.shape == (B, 6, sizes["vocab_size"])


def test_what_a_mesh_cannot_divide_is_refused():
    kernel, sizes = KERNELS["softmax"](), {"heads": (N, N), "widths": (H, H)}
    model, odd = model_of("latent"), Prompt(jnp.asarray(TOKENS[:3, :5]))
    with jax.set_mesh(make((1, 1, 2))):
        with pytest.raises(UserError, match="mesh seq = 2"):
            begin(kernel, Causal(), B, L, **sizes)
        with pytest.raises(UserError, match="mesh seq = 2"):
            generate(model, odd._replace(info=TokenInfo(lengths=jnp.ones(3, int))), 2)
    mask = PerHead((Causal(), Causal() & FULL, Causal(), Causal()))
    with jax.set_mesh(make((1, 2))):
        with pytest.raises(UserError, match="mask for each"):
            begin(kernel, mask, B, L, **sizes)
        with pytest.raises(UserError, match="heads = 2 does not divide num_heads = 3"):
            begin(kernel, Causal(), B, L, heads=(3, 3), widths=(H, H))
    with jax.set_mesh(make((2, 1))):
        with pytest.raises(UserError, match="into 2 parts, and there are 3"):
            generate(model, odd, 2)
        with pytest.raises(UserError, match="2 parts, and beams"):
            beam_search(model, Prompt(jnp.asarray(TOKENS)), 2, width=2, end=3)


def test_a_bias_that_is_an_array_does_not_decode():
    kernel, x = KERNELS["softmax"](), jnp.ones((B, 2, N, H))
    cache = begin(kernel, Causal(), B, L, heads=(N, N), widths=(H, H))
    with pytest.raises((UserError, TypeCheckError), match="bias"):
        prefill(kernel, x, x, x, cache, mask=Causal(), bias=jnp.ones((B, N, 2, 2)))
