"""Weights in another dtype, on a mesh, with another mechanism or fewer heads."""

import jax
import jax.numpy as jnp
import numpy as np
import pytest
from tiny_checkpoints import case, reference, weights, write, write_case

from attn.errors import UserError
from attn.kernels import KERNELS
from attn.parallel.mesh import MeshShape, make_mesh
from attn.pretrained import load

K_PROJ = "model.layers.1.self_attn.k_proj.weight"


def attention(model, i=0):
    return model.transformer.layers[2 * i].layer


def test_weights_in_bfloat16_are_read_and_kept(tmp_path):
    half = {k: w.astype(jnp.bfloat16) for k, w in weights("llama-2").items()}
    write(tmp_path, case("llama-2")["config"], half)
    wide, narrow = load(tmp_path), load(tmp_path, dtype="bfloat16")
    table = half["model.embed_tokens.weight"]
    for model, dtype in ((wide, jnp.float32), (narrow, jnp.bfloat16)):
        found = model.transformer.embedding[...]
        assert found.dtype == dtype
        assert np.array_equal(np.asarray(found), table.astype(dtype))
    assert narrow.transformer.model.dtype == "bfloat16"
    assert narrow.transformer.norm.scale[...].dtype == jnp.float32


def test_a_model_on_a_mesh_is_divided_and_gives_the_same(tmp_path):
    mesh = make_mesh(MeshShape(data=3, heads=2))
    model = load(write_case(tmp_path, "llama-3"), mesh=mesh)
    assert attention(model).q[...].sharding.spec == jax.P(None, "heads", None)
    known = reference("llama-3")
    found = np.asarray(model(known["tokens"], known["mask"]))
    real = known["mask"]
    np.testing.assert_allclose(found[real], known["expected"][real], rtol=0, atol=1e-4)


def test_a_mesh_that_does_not_divide_the_model_is_refused(tmp_path):
    mesh = make_mesh(MeshShape(heads=3))
    with pytest.raises(UserError, match="mesh heads = 3 and num_kv_heads = 2"):
        load(write_case(tmp_path, "llama-3"), mesh=mesh)


@pytest.mark.parametrize("name", ["qwen-2", "gpt2", "bert"])
def test_fewer_key_heads_are_means_of_groups(name, tmp_path):
    whole = load(write_case(tmp_path, name))
    shared = load(tmp_path, num_kv_heads=1)
    for name in ("k", "v", "k_bias", "v_bias"):
        theirs = np.asarray(getattr(attention(whole, 1), name)[...])
        ours = np.asarray(getattr(attention(shared, 1), name)[...])
        assert ours.shape[-2] == 1
        np.testing.assert_allclose(ours, theirs.mean(-2, keepdims=True), rtol=1e-6)


def test_key_heads_that_do_not_divide_are_refused(tmp_path):
    write_case(tmp_path, "qwen-2")
    with pytest.raises(
        UserError, match=r"num_kv_heads = 4 does not divide .* 2; .* 1, 2"
    ):
        load(tmp_path, num_kv_heads=4)


def test_a_soft_cap_stays_with_another_mechanism_or_is_refused(tmp_path):
    cap = attention(load(write_case(tmp_path, "gemma-2"))).kernel.softcap
    assert cap
    near = load(tmp_path, kernel=KERNELS["window"](width=3))
    assert attention(near).kernel == KERNELS["window"](width=3, softcap=cap)
    with pytest.raises(UserError, match=f"caps its scores at {cap:g}, .* 'retention'"):
        load(tmp_path, kernel=KERNELS["retention"]())


def test_scales_of_16_bits_are_added_to_in_float32(tmp_path):
    half = {k: w.astype(jnp.bfloat16) for k, w in weights("gemma-2").items()}
    model = load(write(tmp_path, case("gemma-2")["config"], half))
    there = np.asarray(half["model.norm.weight"], np.float32)
    np.testing.assert_array_equal(model.transformer.norm.scale[...], 1 + there)


def test_tensors_of_the_first_checkpoints_are_known(tmp_path):
    old = {
        k.replace("LayerNorm.weight", "LayerNorm.gamma").replace(
            "LayerNorm.bias", "LayerNorm.beta"
        ): w
        for k, w in weights("bert").items()
    }
    model = load(write(tmp_path / "bert", case("bert")["config"], old))
    known = load(write_case(tmp_path / "new", "bert"))
    scale, other = (m.transformer.embedding_norm.scale[...] for m in (model, known))
    assert np.array_equal(scale, other)
    name = "decoder.block.0.layer.1.EncDecAttention.relative_attention_bias.weight"
    more = weights("t5") | {name: np.zeros((32, 4), np.float32)}
    load(write(tmp_path / "t5", case("t5")["config"], more))


def test_another_mechanism_keeps_the_weights_and_changes_the_outputs(tmp_path):
    plain = load(write_case(tmp_path, "llama-2"))
    near = load(tmp_path, kernel=KERNELS["window"](width=3))
    assert np.array_equal(attention(near).q[...], attention(plain).q[...])
    tokens = reference("llama-2")["tokens"][:1, :8]
    before, after = np.asarray(plain(tokens)), np.asarray(near(tokens))
    np.testing.assert_allclose(after[:, :3], before[:, :3], atol=1e-5)
    assert np.abs(after[:, 3:] - before[:, 3:]).max() > 1e-2


def test_what_a_mechanism_owns_is_new_and_always_the_same(tmp_path):
    write_case(tmp_path, "llama-2")
    one, other = (load(tmp_path, kernel=KERNELS["performer"]()) for _ in range(2))
    drawn = [next(iter(attention(m).own.values()))[...] for m in (one, other)]
    assert np.abs(drawn[0]).max() > 0
    assert np.array_equal(*drawn)


def test_a_mechanism_that_cannot_is_refused_before_a_weight_is_read(tmp_path):
    write_case(tmp_path, "llama-2")
    with pytest.raises(UserError, match="linformer"):
        load(tmp_path, kernel=KERNELS["linformer"]())


def test_a_window_hides_what_is_farther_back(tmp_path):
    model = load(write_case(tmp_path, "mistral"))
    assert [attention(model, i).mask.dense(9, 9)[8].tolist() for i in (0, 1)] == [
        [False] * 2 + [True] * 7
    ] * 2
