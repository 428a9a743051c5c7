"""The fused kernels, forward and backward, compiled for chips that are not here.

Needs packages beyond the extra `test`; CONTRIBUTING.md says which, under "Other machines".
"""

import os
from functools import partial

import jax
import jax.numpy as jnp
import numpy as np
import oracle
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P
from meshes import collectives, compile_for, described
from packages import need

from attn.attention import attend, recording
from attn.attention.backends import BACKENDS, CallShape, device_kind
from attn.kernels import Softmax
from attn.kernels.scoring import Scoring
from attn.kernels.tokens import TokenInfo
from attn.masks import FULL, BigBird, Blocks, Causal, Chunk, Global, Window
from attn.parallel.support import SENT

# Or libtpu looks for a TPU's metadata, and refuses a second process.
os.environ |= {"TPU_SKIP_MDS_QUERY": "1", "ALLOW_MULTIPLE_LIBTPU_LOAD": "1"}
# Or the plugin for GPUs looks for libraries that compiling does not need.
os.environ["JAX_SKIP_CUDA_CONSTRAINTS_CHECK"] = "1"

TPUS = {"v5e:2x2": "TPU v5 lite", "v6e:2x2": "TPU v6 lite", "v5p:2x2x1": "TPU v5"}
COMPOSITE = Causal() & (Window(255, 0) | Global(4))
MEGABYTE = 1e6


def check(program, target, calls, most):
    """So many kernels of the library, no communication, little memory."""
    text = program.as_text()
    assert text.count(f'custom_call_target="{target}"') == calls
    assert collectives(program) == []
    assert program.memory_analysis().temp_size_in_bytes < most


def served(name, mask, T=2048, H=128, dtype="bfloat16", required=(), S=None):
    """The kernel, after it said that it serves the call on the mesh in force."""
    device = device_kind()
    wanted = CallShape(
        2, T, S or T, 8, 4, H, H, dtype, mask, frozenset(required), device
    )
    assert BACKENDS[name].why_unsupported(wanted) is None

    def run(q, k, v, **given):
        return BACKENDS[name](q, k, v, mask=mask, **oracle.options(**given))

    return run


@pytest.mark.parametrize("name", TPUS)
def test_splash_compiles_for_a_tpu_divided_over_heads(name):
    mesh = described(name)
    with jax.set_mesh(mesh):
        assert device_kind() == TPUS[name]
        kernel = served("splash", COMPOSITE, required=("packing",))
    ids = {"q_ids": (2, 2048), "kv_ids": (2, 2048)}
    check(compile_for(mesh, kernel, **ids), "tpu_custom_call", 2, 40 * MEGABYTE)


@pytest.mark.parametrize("name", ["splash", "pallas"])
def test_a_tpu_kernel_sends_nothing_over_a_mesh_of_data_and_heads(name):
    mesh = described("v5e:2x2", data=2, heads=2)
    with jax.set_mesh(mesh):
        kernel = served(name, Causal())
    calls = {"splash": 2, "pallas": 3}[name]
    check(compile_for(mesh, kernel), "tpu_custom_call", calls, 40 * MEGABYTE)


@pytest.mark.parametrize("name", TPUS)
def test_our_own_kernel_compiles_for_a_tpu_with_all_that_it_can(name):
    mesh = described(name)
    mask = Causal() & (Blocks(np.eye(16, dtype=bool), 128) | Window(255, 0))
    with jax.set_mesh(mesh):
        served("pallas", mask, required=("packing", "lengths", "lse", "sinks"))

    def both(q, k, v, ids):
        info = TokenInfo(ids, lengths=ids[:, 0])
        out, lse = BACKENDS["pallas"](
            q,
            k,
            v,
            mask=mask,
            scoring=Scoring(softcap=30.0, sinks=jnp.zeros(8)),
            q_info=info,
            kv_info=info,
            lse=True,
        )
        return out + lse[..., None].astype(out.dtype)

    program = compile_for(mesh, both, ids=(2, 2048))
    check(program, "tpu_custom_call", 3, 40 * MEGABYTE)


def test_our_own_kernel_asks_the_mask_about_positions_known_at_run_time():
    mesh = described("v5e:2x2")
    with jax.set_mesh(mesh):
        served("pallas", COMPOSITE, T=500, H=80, required=("positions",))

    def attend(q, k, v, at):
        info = TokenInfo(positions=at)
        return BACKENDS["pallas"](q, k, v, mask=COMPOSITE, q_info=info, kv_info=info)

    program = compile_for(mesh, attend, T=500, H=80, at=(2, 500))
    check(program, "tpu_custom_call", 3, 40 * MEGABYTE)


def test_without_splash_the_scores_are_held():
    def dense(q, k, v):
        return attend(Softmax(), q, k, v, mask=COMPOSITE, impl="dense")

    program = compile_for(described("v5e:2x2"), dense, T=8192)
    assert program.memory_analysis().temp_size_in_bytes > 1000 * MEGABYTE


def test_splash_holds_no_scores_where_dense_attention_does():
    mesh = described("v5e:2x2")
    with jax.set_mesh(mesh):
        kernel = served("splash", Causal(), T=8192)
    program = compile_for(mesh, kernel, T=8192)
    check(program, "tpu_custom_call", 3, 40 * MEGABYTE)


@pytest.mark.parametrize(
    ("mask", "H", "dtype"),
    [
        (~Causal() | Chunk(100), 64, "bfloat16"),
        (Causal(offset=7) & Window(300, 9), 80, "float32"),
        (FULL, 256, "bfloat16"),
        (COMPOSITE, 256, "float32"),
    ],
    ids=str,
)
def test_splash_compiles_for_every_kind_of_mask_and_head(mask, H, dtype):
    mesh = described("v5e:2x2")
    with jax.set_mesh(mesh):
        kernel = served("splash", mask, H=H, dtype=dtype)
    program = compile_for(mesh, kernel, H=H, dtype=dtype)
    check(program, "tpu_custom_call", 2, 40 * MEGABYTE)


@pytest.mark.parametrize(
    ("target", "data", "mask"),
    [
        ("h200:8", 2, Causal()),
        *(("h200:4", 1, m) for m in (Causal(), Causal() & Window(255, 0), FULL)),
    ],
    ids=str,
)
def test_cudnn_compiles_for_h200s_divided_over_data_and_heads(target, data, mask):
    need("nvidia.cudnn")
    mesh = described(target, data)
    with jax.set_mesh(mesh):
        assert device_kind() == "NVIDIA H200"
        kernel = served("cudnn", mask)
    check_cudnn(compile_for(mesh, kernel))


def test_cudnn_compiles_with_lengths():
    need("nvidia.cudnn")
    mesh = described("h200:4")
    with jax.set_mesh(mesh):
        kernel = served("cudnn", Causal(), required=("lengths",))

    def padded(q, k, v, rows):
        return kernel(q, k, v, q_lengths=rows[:, 0], kv_lengths=rows[:, 1])

    check_cudnn(compile_for(mesh, padded, rows=(2, 2)))


def check_cudnn(program):
    text = program.as_text()
    assert text.count('custom_call_target="__cudnn$fmhaSoftmax"') == 1
    assert text.count('custom_call_target="__cudnn$fmhaSoftmaxBackward"') == 1
    assert collectives(program) == []
    assert program.memory_analysis().temp_size_in_bytes < 40 * MEGABYTE


@pytest.mark.filterwarnings("ignore:jax.experimental.pallas.*:DeprecationWarning")
@pytest.mark.parametrize("mask", [Causal(), Causal() & Chunk(200)], ids=str)
def test_tokamax_compiles_for_an_h200_divided_over_heads(mask):
    need("tokamax")
    mesh = described("h200:4")
    with jax.set_mesh(mesh):
        kernel = served("tokamax", mask, T=1024, H=64)
    program = compile_for(mesh, kernel, T=1024, H=64)
    check(program, "__gpu$xla.gpu.triton", 2, 20 * MEGABYTE)


@pytest.mark.parametrize(
    ("mask", "dtype", "H"),
    [(COMPOSITE, "bfloat16", 80), (BigBird(1024, block=32), "float32", 128)],
    ids=["composite", "table"],
)
def test_our_gpu_kernel_compiles_for_an_h200_divided_over_heads(mask, dtype, H):
    mesh = described("h200:4")
    asked = "packing", "lengths", "softcap", "sinks", "lse"
    with jax.set_mesh(mesh):
        served("triton", mask, 1024, H, dtype, asked)

    def run(q, k, v, rows):
        q_info = TokenInfo(segment_ids=rows, lengths=rows[:, 0])
        scoring = Scoring(softcap=2.0, sinks=jnp.zeros(8))
        infos = {"q_info": q_info, "kv_info": q_info}
        return BACKENDS["triton"](q, k, v, mask=mask, scoring=scoring, **infos)

    program = compile_for(mesh, run, T=1024, H=H, dtype=dtype, rows=(2, 1024))
    check(program, "__gpu$xla.gpu.triton", 3, 20 * MEGABYTE)


@pytest.mark.parametrize(
    ("target", "strategy", "impl", "chosen", "called"),
    [
        ("v5e:2x2", "all_to_all", "auto", "splash", "tpu_custom_call"),
        ("v5e:2x2", "ring", "pallas", "pallas", "tpu_custom_call"),
        ("h200:8", "all_to_all", "auto", "cudnn", "__cudnn$fmhaSoftmaxBackward"),
        ("h200:8", "ring", "auto", "triton", "__gpu$xla.gpu.triton"),
        ("h200:8", "all_gather", "auto", "triton", "__gpu$xla.gpu.triton"),
    ],
)
def test_kernels_compile_where_a_mesh_divides_the_sequence(
    target, strategy, impl, chosen, called
):
    if chosen == "cudnn":
        need("nvidia.cudnn")
    mesh = described(target, data={"v5e:2x2": 1, "h200:8": 2}[target], heads=1, seq=4)
    how = {"mask": Causal(), "impl": impl, "strategy": strategy}
    with recording() as found:
        program = compile_for(mesh, partial(attend, Softmax(), **how))
    assert found[0].implementation == f"{strategy} of {chosen}"
    assert {one.implementation.split()[-1] for one in found} == {chosen}
    assert f'custom_call_target="{called}"' in program.as_text()
    assert set(collectives(program)) == set(SENT[strategy])
    assert program.memory_analysis().temp_size_in_bytes < 40 * MEGABYTE


def test_jit_chooses_anew_for_another_chip():
    seen = []
    traced = jax.jit(lambda x: (seen.append(device_kind()), x)[1])
    for name in ("v5e:2x2", "v6e:2x2", "v5e:2x2"):
        mesh = described(name)
        x = jax.ShapeDtypeStruct((4,), jnp.float32, sharding=NamedSharding(mesh, P()))
        with jax.set_mesh(mesh):
            traced.lower(x)
    traced(jnp.ones(4))
    assert seen == ["TPU v5 lite", "TPU v6 lite", "cpu"]
