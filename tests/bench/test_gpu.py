"""Benchmarks on an accelerator, by plain arguments: nothing here needs one."""

from dataclasses import replace

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from attn.attention import explain
from attn.attention.backends import BACKENDS
from attn.bench import check, device, machine, model_race, race, rival
from attn.bench import measure as measuring
from attn.bench.cases import MASKS, Case, Race
from attn.bench.check import Inputs, definition, largest_error
from attn.bench.libraries import JaxNN, all_rivals
from attn.bench.measure import Queued, Warm, calls_a_sample, measure, seconds
from attn.bench.race import prepare, racing, run_race
from attn.bench.record import Record
from attn.bench.rival import Built, Runner
from attn.bench.table import to_markdown
from attn.errors import UserError
from attn.kernels import Softmax
from attn.masks import FULL, BigBird, Causal, Global, Window
from experiments.benchmarks import SUITES

GPU = SUITES["gpu"]
SMALL = Case(32, backward=True, B=2, N=4, K=4, H=8)


class Silent:
    def begin(self, name, steps, work=None):
        pass

    def note(self, text):
        pass

    def advance(self, step, steps, values):
        pass


def test_calls_of_a_sample_are_queued_and_awaited_once():
    heard = []
    begun = iter(range(100))
    call = Queued(lambda: next(begun), heard.append)
    assert seconds(call, 7) > 0
    assert heard == [6]
    assert (call(), heard) == (7, [6, 7])
    measure({"a": Warm(call, 0.01)}, rounds=3)
    # Each of the rounds is of one call beforehand, and of two calls.
    assert heard[2:] == [8, 10, 11, 13, 14, 16]


def test_queued_calls_fill_a_sample_and_others_are_counted_as_before():
    assert [calls_a_sample(s, queued=True) for s in (0.02, 0.01, 0.005)] == [1, 2, 4]
    assert [calls_a_sample(s) for s in (0.02, 0.01, 0.005, 0.004)] == [1, 1, 1, 5]


def test_a_launch_is_no_part_of_what_a_queued_call_takes(monkeypatch):
    clock = [0.0]
    monkeypatch.setattr(measuring, "settle", lambda: None)
    monkeypatch.setattr(measuring.time, "perf_counter", lambda: clock[0])

    def takes(milliseconds):
        clock[0] += 1e-3 * milliseconds

    # 1 ms a call, and 8 ms to wait, which the three calls of a sample share.
    call = Queued(lambda: takes(1), lambda _: takes(8))
    assert Warm.up(call).once == pytest.approx(1e-3 + 8e-3 / 3)
    assert Warm.up(lambda: takes(9)).once == pytest.approx(9e-3)


PRODUCTS = [
    (("float32", "cpu", None), "float32"),
    (("float32", "gpu", None), "tf32"),
    (("float32", "gpu", "tensorfloat32"), "tf32"),
    (("float32", "gpu", "highest"), "float32"),
    (("float32", "tpu", None), "bfloat16"),
    (("bfloat16", "gpu", None), "bfloat16"),
]


@pytest.mark.parametrize("asked, made", PRODUCTS)
def test_float32_is_multiplied_in_fewer_bits_on_accelerators(asked, made):
    assert device.products(*asked) == made
    assert made in check.TOLERANCE


class Off(JaxNN):
    """A rival as far off as products in TF32 leave it."""

    def function(self, case):
        right = super().function(case)
        return lambda q, k, v, mask=None: 1.004 * right(q, k, v, mask)


def test_what_tf32_leaves_is_right_on_a_gpu_alone(monkeypatch):
    case = replace(SMALL, backward=False)
    inputs = Inputs.make(case)
    given = Off(), case, inputs, definition(case, inputs)
    assert prepare(*given)[0].status == "wrong"
    monkeypatch.setattr(check, "products", lambda dtype: device.products(dtype, "gpu"))
    assert prepare(*given)[0].status == "ok"


def test_memory_is_the_device_s_own(tmp_path, monkeypatch):
    assert device.free_on_device({"bytes_limit": 100, "bytes_in_use": 30}) == 70.0
    assert device.free_on_device(None) == device.free_on_device({}) == float("inf")
    (tmp_path / "info").write_text("MemTotal: 9 kB\nMemAvailable:   3 kB\n")
    assert device.free_on_host(tmp_path / "info") == 3072.0
    assert device.free_on_host(tmp_path / "absent") == float("inf")
    monkeypatch.setattr(device, "free_on_host", lambda: 1.0)
    monkeypatch.setattr(device, "free_on_device", lambda stats: 2.0)
    assert device.free_memory() == 1.0
    monkeypatch.setattr(device, "queues", lambda: True)
    assert device.free_memory() == 2.0


def test_a_gpu_is_named_without_the_cores_beside_it():
    facts = {"platform": "gpu", "device_kind": "NVIDIA H200", "cpu": "x", "cores": 16}
    assert machine.slug(facts) == "nvidia-h200"
    assert machine.slug(facts | {"platform": "cpu", "cpu": "AMD(R) X"}) == (
        "amd-x-16-cores"
    )


def test_an_accelerator_is_filled_by_large_products(monkeypatch):
    asked = []

    def rate(dtype, size):
        asked.append(size)
        return float(size)

    monkeypatch.setattr(machine, "_jax_gflops", rate)
    monkeypatch.setattr(machine, "_torch_gflops", lambda *_: 0.0)
    assert machine.matmul_gflops("float32") == 2048.0
    monkeypatch.setattr(machine, "queues", lambda: True)
    assert machine.matmul_gflops("float32") == 8192.0
    assert asked == [1024, 2048, 1024, 2048, 4096, 8192]


def test_a_rate_is_of_queued_products(monkeypatch):
    monkeypatch.setattr(machine, "queues", lambda: True)
    assert machine._jax_gflops("float32", 64) > 0
    heard = []
    machine._best(Queued(lambda: None, heard.append), 64)
    # Once for itself, once for how long it takes, and the samples.
    assert len(heard) == 2 + machine.REPEATS


def test_a_record_says_how_products_were_made(monkeypatch):
    monkeypatch.setattr(machine, "matmul_gflops", lambda dtype: 1.0)
    found = machine.describe(["bfloat16", "float32"])
    assert found["products"] == {"bfloat16": "bfloat16", "float32": "float32"}
    assert "products of" not in to_markdown(Record("x", 5, found, (), (), (), ()))
    found["products"]["float32"] = "tf32"
    page = to_markdown(Record("x", 5, found, (), (), (), ()))
    assert "products of float32 in tf32" in page


def test_a_race_on_a_device_that_queues_gives_the_same_rows(monkeypatch):
    monkeypatch.setattr(rival, "queues", lambda: True)
    built = JaxNN().build(SMALL, Inputs.make(SMALL))
    assert isinstance(built.call, Queued)
    one = Race(SMALL, ("attn", "jax.nn"))
    found = run_race(one, all_rivals(), 5, 1.0, Silent())
    assert [row.status for row in found.rows] == ["ok", "ok"]
    assert all(len(row.samples_ms) == 5 and row.gflops for row in found.rows)


def test_time_that_is_left_is_of_the_device(monkeypatch):
    case = Case(16384, B=4, N=16, K=16)
    slow = race.work(case, 5)
    monkeypatch.setattr(race, "queues", lambda: True)
    assert race.work(case, 5) < 0.1 * slow


@pytest.mark.parametrize("name", BACKENDS)
def test_every_kernel_of_ours_is_raced_or_says_why_not(name):
    case = Case(64, dtype="bfloat16")
    x = jax.ShapeDtypeStruct((case.B, case.T, case.N, case.H), jnp.bfloat16)
    why = explain(Softmax(), x, x, x, mask=case.mask).not_chosen[name]
    assert all_rivals()[f"attn {name}"].why_unsupported(case) == why


def test_whole_models_of_torch_stay_on_the_cpu(monkeypatch):
    def build() -> Built:
        raise NotImplementedError

    monkeypatch.setattr(model_race, "queues", lambda: True)
    assert model_race.why_absent(Runner("torch", build, ("torch",))) == (
        "runs on the CPU; JAX runs elsewhere here"
    )
    assert model_race.why_absent(Runner("attn", build)) is None


RECURRENT = [replace(SMALL, mechanism=name) for name in ("retention", "gated_delta")]


@pytest.mark.parametrize("case", RECURRENT, ids=lambda case: case.mechanism)
def test_a_mechanism_is_checked_against_its_recurrent_form(case):
    inputs = Inputs.make(case)
    expected = definition(case, inputs)
    assert [x.shape for x in expected] == [(2, 32, 2, 8)] * 4
    built = all_rivals()["attn"].build(case, inputs)
    assert largest_error(case, built.outputs, expected) < 1e-5
    other = replace(case, mechanism="softmax")
    softmax = all_rivals()["attn"].build(other, inputs)
    assert largest_error(case, softmax.outputs, expected) > 0.1


def test_who_races_is_who_computes_the_mechanism():
    every = all_rivals()
    assert racing(Race(RECURRENT[0]), every) == ("attn", "fla")
    assert racing(Race(SMALL), every) == tuple(name for name in every if name != "fla")
    assert racing(Race(RECURRENT[0], ("attn",)), every) == ("attn",)
    assert every["fla"].why_unsupported(RECURRENT[0]) == "takes NVIDIA GPUs"
    with pytest.raises(UserError, match="did you mean 'retention'"):
        Case(8, mechanism="retentoin")


def test_a_mechanism_has_a_name_and_no_rate_of_visible_pairs():
    case = RECURRENT[0]
    assert case.name.startswith("retention, causal, float32, 2 x 32")
    found = run_race(Race(case), all_rivals(), 5, 1.0, Silent())
    ours, fla = found.rows
    assert (ours.status, ours.gflops, fla.status) == ("ok", None, "unsupported")
    assert found.mask == "retention, causal"
    assert found.useful_flops > 0


TABLES = [BigBird(512, 32), BigBird(200, 32), FULL & Global(3), Causal() | Window(3, 9)]


@pytest.mark.parametrize("mask", TABLES, ids=repr)
def test_flex_is_given_the_same_mask(mask):
    torch = pytest.importorskip("torch")
    from attn.bench.torch_rivals import mask_mod

    T = getattr(mask, "length", 64)
    shown = mask_mod(mask, T, T, "cpu")
    seen = torch.vmap(
        torch.vmap(shown, in_dims=(None, None, None, 0)), in_dims=(None, None, 0, None)
    )
    at = torch.arange(T)
    found = np.broadcast_to(seen(at[0], at[0], at, at).numpy(), (T, T))
    np.testing.assert_array_equal(found, mask.dense(T))


def test_a_mask_that_looks_up_is_no_arithmetic_of_tensors():
    pytest.importorskip("torch")
    from attn.bench.torch_rivals import is_arithmetic

    found = {name for name, mask in MASKS.items() if is_arithmetic(mask)}
    assert set(MASKS) - found <= {"full", "bigbird, blocks of 64"}
    assert "bigbird, blocks of 64" not in found


def test_fla_is_given_the_gates_of_ours():
    torch = pytest.importorskip("torch")
    from attn.bench.fla_rival import GATES, gates

    case = RECURRENT[1]
    weights = {n: np.array(x) for n, x in check.weights_of(case).items()}
    k = Inputs.make(case).k
    log_keep, beta = gates(
        torch.from_numpy(k), *(torch.from_numpy(weights[n]) for n in GATES)
    )
    raw = np.einsum("btnh,nh->btn", k, weights["w_alpha"]) + weights["b_alpha"]
    np.testing.assert_allclose(log_keep, -np.logaddexp(0, raw), rtol=1e-4, atol=1e-6)
    raw = np.einsum("btnh,nh->btn", k, weights["w_beta"]) + weights["b_beta"]
    np.testing.assert_allclose(beta, 1 / (1 + np.exp(-raw)), rtol=1e-4)


def test_the_suite_races_whom_its_targets_name():
    every = all_rivals()
    by_case = {one.case: racing(one, every) for one in GPU.races}
    assert all({"attn", *names} <= {*every} for names in by_case.values())
    for target in GPU.targets:
        assert all(target.against in by_case[case] for case in target.cases)
    fused = {f"attn {n}" for n, one in BACKENDS.items() if one.vendor == "NVIDIA"}
    softmax = [names for case, names in by_case.items() if case.is_softmax]
    assert fused
    assert all(fused < {*names} for names in softmax)
    assert {case.dtype for case in by_case if case.T > 4096} == {"bfloat16"}
