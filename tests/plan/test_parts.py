"""Parts that are planned alone: one decoding step, and one layer's attention."""

from dataclasses import replace

import jax
import pytest
from tiny import TRAIN, TREES, experiment_of

from attn.config import cost
from attn.errors import UserError
from attn.parallel.mesh import MeshShape
from attn.plan.advice import changes
from attn.plan.estimate import plan
from attn.plan.parts import attention_flops, check_decoding, lower_attention
from attn.plan.programs import mesh_on
from attn.plan.tables import as_json, heading, notes, tables
from attn.plan.topologies import topology

EXPERIMENT = experiment_of(repeats=2, train=replace(TRAIN, batch_size=4))
DEVICES = topology("cpu:4")
T = EXPERIMENT.task.seq_len
N, K, H = EXPERIMENT.resolved_model.one_block[0].sizes


def planned(what, **mesh):
    return plan(EXPERIMENT, DEVICES, MeshShape(**mesh), memory=1, what=what)


@pytest.fixture(scope="module")
def decoding():
    return planned("decode", data=4)


@pytest.fixture(scope="module")
def attention():
    return planned("attend", data=2, heads=2)


def test_a_decoding_step_holds_all_parameters_and_the_cache_of_its_rows(decoding):
    held = decoding.numbers.held
    assert held["parameters"] == 4 * cost.count_params(EXPERIMENT)
    positions = 4 * T * EXPERIMENT.model.repeats
    assert held["cache"] == cost.decode_state(EXPERIMENT) + positions
    assert held["batch"] == 2 * 4
    # The cache is written in place: what comes out beside it are the logits.
    assert 0 < held["outputs"] < 2 * 4 * EXPERIMENT.resolved_model.vocab_size + 256
    assert decoding.numbers.collectives == ()


def test_a_decoding_step_multiplies_its_rows_by_every_matrix(decoding):
    D, F = EXPERIMENT.model.d_model, EXPERIMENT.model.d_ff
    matrices = EXPERIMENT.model.repeats * (2 * D * (N + K) * H + 2 * D * F)
    assert decoding.model_flops is None
    assert decoding.flops == decoding.numbers.flops
    assert 2 * matrices < decoding.flops < 8 * matrices


def test_attention_holds_a_devices_part_of_its_arguments(attention):
    B = EXPERIMENT.train.batch_size
    each = 4 * B * T * H // 4
    assert attention.numbers.held["queries, keys and values"] == each * (N + 2 * K)
    assert attention.numbers.held["gradient of the output"] == each * N
    assert attention.numbers.held["parameters"] == 0
    # The output, and a gradient of each of its arguments.
    assert each * (2 * N + 2 * K) <= attention.numbers.held["outputs"]
    assert attention.numbers.collectives == ()


def test_attention_costs_three_passes_of_its_mechanism(attention):
    # Scores and values, 2 FLOPs a multiplication, of the pairs that a causal mask shows.
    pairs = T * (T + 1) / 2
    least = 3 * EXPERIMENT.train.batch_size * N * 2 * 2 * pairs * H
    assert least <= attention_flops(EXPERIMENT) <= 2 * least
    assert attention.flops >= attention_flops(EXPERIMENT) / 4


def test_attention_of_a_batch_in_parts_is_that_of_one_part():
    parts = replace(EXPERIMENT, train=replace(EXPERIMENT.train, accumulate=2))
    assert attention_flops(parts) == attention_flops(EXPERIMENT) / 2
    with jax.set_mesh(mesh_on(DEVICES, MeshShape())):
        kinds = lower_attention(parts).kinds
    assert kinds["gradient of the output"].shape == (2, T, N, H)
    assert {x.shape[:2] for x in kinds["queries, keys and values"] if x} == {(2, T)}


def test_a_part_says_what_it_is_and_offers_no_change_of_training(attention, decoding):
    assert heading(decoding) == "tiny on cpu:4, mesh data=4, decode"
    assert tables(attention)[-1].title == "the least time of one layer's attention"
    assert notes(attention)[-1].startswith("Compiled the first attention layer alone")
    assert as_json(decoding)["what"] == "decode"
    assert decoding.fits is False
    assert changes(decoding) == ()


def test_a_decoding_step_of_divided_heads_sends_no_more_than_sums_and_logits():
    found = planned("decode", data=2, heads=2).numbers
    assert found.held["parameters"] < 4 * cost.count_params(EXPERIMENT)
    rows = EXPERIMENT.train.batch_size // 2
    positions = 4 * rows * T * EXPERIMENT.model.repeats
    assert found.held["cache"] == cost.decode_state(EXPERIMENT) + positions
    kinds = {one.kind for one in found.collectives}
    assert kinds == {"all-reduce", "all-gather"}
    assert {one.axis for one in found.collectives} == {"heads"}


@pytest.mark.parametrize("said", ["cuDNN not found.", "cuDNN is not detected."])
def test_a_missing_cudnn_is_one_line_with_its_install(monkeypatch, said):
    """jax looks for it as it traces, and says so in either way."""

    def lower(experiment):
        raise RuntimeError(said)

    monkeypatch.setattr("attn.plan.programs.lower_attention", lower)
    with pytest.raises(UserError, match=r"chooses cuDNN.*pip install .*nvidia-cudnn"):
        planned("attend", data=4)


def test_a_mesh_that_divides_the_sequence_does_not_decode():
    with pytest.raises(UserError, match=r"data=2,seq=2 the sequence; take data, fsdp"):
        check_decoding(EXPERIMENT, MeshShape(data=2, seq=2))


def test_what_has_no_text_or_no_attention_is_refused_by_name():
    with pytest.raises(UserError, match=f"{TREES.name!r} writes no text"):
        check_decoding(experiment_of(TREES), MeshShape())
    with pytest.raises(UserError, match="'tiny' has no layer of self-attention"):
        attention_flops(experiment_of(pattern=("short_conv", "mlp")))
