"""A fused kernel says in one line why it cannot serve a call, naming the value."""

from dataclasses import replace

import jax
import numpy as np
import pytest

from attn.attention.backends import BACKENDS, CallShape, device_kind
from attn.attention.backends.base import Backend
from attn.device import generation
from attn.masks import (
    FULL,
    BigBird,
    Blocks,
    Causal,
    Chunk,
    Global,
    Mask,
    PerHead,
    Window,
)

HOPPER, V5E = "NVIDIA H200", "TPU v5 lite"
BAND = Causal() & Window(64, 0)
TWO_INTERVALS = Causal() & (Window(64, 0) | Global(4))


@pytest.fixture(autouse=True)
def _everything_is_installed(monkeypatch):
    """What is installed decides first, and differs between machines."""
    monkeypatch.setattr(Backend, "_installed", lambda self, ask: None)
    monkeypatch.setattr(jax, "__version_info__", (0, 10, 2))


def ask(name, **changed):
    device = V5E if name in ("splash", "pallas") else HOPPER
    served = CallShape(
        2, 512, 512, 8, 4, 64, 64, "bfloat16", Causal(), frozenset(), device
    )
    return replace(served, **changed)


class Lookup(Mask):
    """Looks each query up in a table, which a kernel on a TPU cannot."""

    def predicate(self, q, k):
        import jax.numpy as jnp

        return jnp.asarray(np.arange(512) % 7)[q] >= k

    def tile(self, q0, q1, k0, k1):
        return np.full(np.broadcast(q0, k0).shape, 1)

    def __repr__(self):
        return "Lookup()"


@pytest.mark.parametrize("name", BACKENDS)
def test_a_call_within_the_limits_is_served(name):
    assert BACKENDS[name].why_unsupported(ask(name)) is None
    assert BACKENDS[name].why_unsupported(ask(name, mask=FULL, T=1024)) is None
    assert (
        BACKENDS[name].why_unsupported(
            ask(name, mask=BAND, required=frozenset({"scale"}))
        )
        is None
    )


REFUSALS = [
    ("cudnn", {"device": "cpu"}, "device 'cpu'; it takes NVIDIA devices"),
    ("tokamax", {"device": V5E}, "device 'TPU v5 lite'; it takes NVIDIA"),
    ("splash", {"device": HOPPER}, "device 'NVIDIA H200'; it takes TPU"),
    ("splash", {"device": "TPU v3"}, "generation 3; it takes 4 and later"),
    ("cudnn", {"device": "Tesla T4"}, "device 'Tesla T4'; it takes NVIDIA"),
    ("cudnn", {"device": "NVIDIA T4"}, "generation 7; it takes 8 and later"),
    ("tokamax", {"device": "NVIDIA Zen"}, "'NVIDIA Zen' is of no generation known"),
    ("cudnn", {"dtype": "float32"}, "dtype float32; it takes bfloat16, float16"),
    ("tokamax", {"dtype": "float32"}, "dtype float32; it takes bfloat16, float16"),
    ("splash", {"dtype": "float16"}, "dtype float16; it takes bfloat16, float32"),
    ("cudnn", {"H": 60, "Hv": 60}, "head dim 60; it takes multiples of 8"),
    ("cudnn", {"H": 192, "Hv": 192}, "head dim 192; it takes up to 128"),
    ("cudnn", {"Hv": 32}, "value head dim 32; it takes the queries' own, 64"),
    ("tokamax", {"Hv": 512}, "value head dim 512; it takes multiples of 8 up to 256"),
    ("splash", {"H": 264}, "head dim 264; it takes multiples of 8 up to 256"),
    ("cudnn", {"required": {"bias"}}, "asked for bias; beyond masks it can lengths"),
    (
        "tokamax",
        {"required": {"lse", "bias"}},
        "asked for lse; beyond masks it can bias",
    ),
    (
        "splash",
        {"required": {"relative_bias"}},
        "asked for relative_bias; beyond masks",
    ),
    ("cudnn", {"mask": Chunk(64)}, "mask Chunk(64) is no band"),
    ("cudnn", {"mask": Window(9, 9)}, "is the band (9, 9); it takes (None, None)"),
    ("cudnn", {"mask": Causal(offset=2)}, "is the band (None, 2); it takes"),
    ("tokamax", {"mask": TWO_INTERVALS}, "more than one interval of keys"),
    ("splash", {"mask": Lookup()}, "mask Lookup() computes gather"),
    ("cudnn", {"mask": BAND, "S": 256}, "T = 512 and S = 256 under a window"),
    ("cudnn", {"mask": BAND, "required": {"lengths"}}, "lengths under the window"),
    ("splash", {"mask": PerHead((Causal(), FULL))}, "differs between heads"),
    ("cudnn", {"mask": Causal(offset=-1) & Window(3, 0)}, "it takes (None, None)"),
    ("splash", {"T": 500}, "T = 500; it takes multiples of 128"),
    ("splash", {"S": 64}, "S = 64; it takes multiples of 128"),
    ("pallas", {"device": HOPPER}, "device 'NVIDIA H200'; it takes TPU"),
    ("pallas", {"dtype": "float16"}, "dtype float16; it takes bfloat16, float32"),
    ("pallas", {"H": 20}, "head dim 20; it takes multiples of 8 up to 256"),
    ("pallas", {"required": {"bias"}}, "asked for bias; beyond masks it can key_pad"),
    ("pallas", {"mask": PerHead((Causal(), FULL))}, "differs between heads"),
    ("pallas", {"mask": FULL, "T": 2**18, "S": 2**18}, "it takes up to 65,536"),
    ("triton", {"device": V5E}, "device 'TPU v5 lite'; it takes NVIDIA devices"),
    ("triton", {"device": "NVIDIA T4"}, "is of generation 7; it takes 8 and later"),
    (
        "triton",
        {"dtype": "float64"},
        "dtype float64; it takes bfloat16, float16, float",
    ),
    ("triton", {"H": 257}, "head dim 257; it takes up to 256"),
    ("triton", {"required": {"bias"}}, "asked for bias; beyond masks it can key_pad"),
    ("triton", {"mask": PerHead((Causal(), FULL))}, "differs between heads"),
    (
        "triton",
        {"mask": BigBird(512), "required": {"positions"}},
        "of positions known at run time, which cannot run inside the kernel",
    ),
    (
        "pallas",
        {"mask": BigBird(512), "required": {"positions"}},
        "of positions known at run time, which cannot run inside the kernel",
    ),
]


@pytest.mark.parametrize(
    ("name", "changed", "reason"), REFUSALS, ids=[r[2] for r in REFUSALS]
)
def test_what_is_beyond_a_limit_is_refused(name, changed, reason):
    if "required" in changed:
        changed = changed | {"required": frozenset(changed["required"])}
    said = BACKENDS[name].why_unsupported(ask(name, **changed))
    assert said is not None
    assert reason in said
    assert "\n" not in said


SPLASH_REFUSES = [
    {"mask": BigBird(512)},
    {"mask": Causal() & Blocks(np.eye(8, dtype=bool), 64)},
    {"required": frozenset({"positions"})},
    {"required": frozenset({"lse"})},
    {"T": 500},
]


@pytest.mark.parametrize("changed", SPLASH_REFUSES, ids=str)
def test_our_own_kernel_serves_what_splash_refuses(changed):
    assert BACKENDS["splash"].why_unsupported(ask("splash", **changed)) is not None
    assert BACKENDS["pallas"].why_unsupported(ask("pallas", **changed)) is None


CUDNN_REFUSES = {
    "float32": {"dtype": "float32"},
    "narrow heads": {"H": 20},
    "two intervals": {"mask": TWO_INTERVALS},
    "a table": {"mask": BigBird(512)},
    "a window and lengths": {"mask": BAND, "required": frozenset({"lengths"})},
    "much at once": {"required": frozenset({"packing", "sinks", "softcap", "lse"})},
}


@pytest.mark.parametrize("changed", CUDNN_REFUSES.values(), ids=CUDNN_REFUSES)
def test_our_own_kernel_serves_what_cudnn_refuses(changed):
    assert BACKENDS["cudnn"].why_unsupported(ask("cudnn", **changed)) is not None
    assert BACKENDS["triton"].why_unsupported(ask("triton", **changed)) is None


def test_tokamax_is_for_the_jax_that_its_release_calls(monkeypatch):
    said = "tokamax 0.0.12 runs on jax 0.10; here is jax 0.11.2"
    monkeypatch.setattr(jax, "__version__", "0.11.2")
    for version, reason in (((0, 10, 2), None), ((0, 11, 2), said)):
        monkeypatch.setattr(jax, "__version_info__", version)
        assert BACKENDS["tokamax"].why_unsupported(ask("tokamax")) == reason


def test_the_device_is_told_before_the_dtype_and_the_dtype_before_the_mask():
    worst = ask("cudnn", device="cpu", dtype="float64", mask=TWO_INTERVALS)
    assert "device" in BACKENDS["cudnn"].why_unsupported(worst)
    assert "dtype" in BACKENDS["cudnn"].why_unsupported(replace(worst, device=HOPPER))


def test_a_package_that_is_not_there_is_told_with_the_way_to_it(monkeypatch):
    monkeypatch.undo()
    monkeypatch.setattr("attn.attention.backends.base.find_spec", lambda name: None)
    for name, kernel in BACKENDS.items():
        said = kernel.why_unsupported(ask(name))
        assert "is not installed; install" in said


def test_without_a_mesh_the_device_is_the_one_at_hand():
    assert device_kind() == "cpu"


@pytest.mark.parametrize(
    ("kind", "expected"),
    [
        ("NVIDIA H100 80GB HBM3", 9),
        ("NVIDIA GH200 480GB", 9),
        ("NVIDIA A100-SXM4-40GB", 8),
        ("NVIDIA L4", 8),
        ("NVIDIA L40S", 8),
        ("NVIDIA GeForce RTX 4090", 8),
        ("NVIDIA RTX 6000 Ada Generation", 8),
        ("NVIDIA RTX A6000", 8),
        ("NVIDIA B200", 10),
        ("NVIDIA GB300", 10),
        ("NVIDIA GeForce RTX 5090", 12),
        ("NVIDIA RTX PRO 6000 Blackwell Server Edition", 12),
        ("NVIDIA Tesla V100-SXM2-16GB", 7),
        ("TPU v6 lite", 6),
        ("TPU7x", 7),
        ("cpu", None),
    ],
)
def test_the_generation_is_read_off_the_name(kind, expected):
    assert generation(kind) == expected
