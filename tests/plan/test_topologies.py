"""Devices have names, published figures, and meshes that fit them."""

from dataclasses import replace

import pytest
from tiny import MODEL, TRAIN, experiment_of

from attn.errors import UserError
from attn.parallel.mesh import MeshShape
from attn.plan.chips import CHIPS, SLICES
from attn.plan.gpus import GPUS, target_config
from attn.plan.shapes import choose, shapes
from attn.plan.topologies import EXAMPLES, topology

EXPERIMENT = experiment_of(num_heads=4, train=replace(TRAIN, batch_size=8))


def test_every_name_that_an_error_offers_is_a_topology():
    counts = {name: topology(name).count for name in EXAMPLES}
    assert counts["v5p:8x8x8"] == 512
    assert counts["tpu7x:2x2x1"] == 8  # two devices a chip
    assert counts["h200:8"] == 8
    assert {name.partition(":")[0] for name in counts} == {*CHIPS}


def test_hosts_of_gpus_are_joined_by_a_slower_network_and_a_slice_is_one():
    gpus, tpus = topology("h100:16"), topology("v5p:8x8x8")
    assert (gpus.hosts, gpus.on_a_host) == (2, 8)
    assert tpus.hosts == 1
    assert gpus.chip.network < gpus.chip.link / 8
    assert tpus.chip.network is None


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("v5p:8x8x7", "there are: v5p:8x8x8, "),
        ("h10:8", "there are: h100:8, "),
        ("v5p", "there are: v5p:"),
        ("cpu:0", "there are: cpu:8, "),
        ("h200:12", "hosts have 8 GPUs; choose h200:8 or h200:16"),
    ],
)
def test_a_name_that_is_none_offers_the_nearest_first(name, said):
    with pytest.raises(UserError, match=said):
        topology(name)


def test_a_compiler_that_is_missing_is_one_line_with_its_install(monkeypatch):
    monkeypatch.setattr("attn.plan.topologies.find_spec", lambda name: None)
    with pytest.raises(UserError, match=r"needs libtpu.*pip install -e '\.\[plan\]'"):
        topology("v5e:2x2").devices()
    topology("cpu:8").require()


@pytest.mark.parametrize("name", [n for n in CHIPS if n != "cpu"])
def test_every_figure_has_a_source_and_the_order_that_its_makers_publish(name):
    chip = CHIPS[name]
    assert chip.source.startswith("https://")
    # Products outrun memory, and memory outruns links, on every accelerator.
    assert chip.bfloat16 >= chip.float32 > 40 * chip.bandwidth
    assert chip.bandwidth > 4 * chip.link
    assert name in SLICES or f'"{GPUS[name].description}"' in target_config(name)


@pytest.mark.parametrize("name", GPUS)
def test_a_gpu_has_the_memory_that_its_compiler_is_told_of(name):
    assert f"device_memory_size: {CHIPS[name].memory}\n" in target_config(name)


def test_the_meshes_of_a_topology_divide_the_batch_and_the_heads():
    found = {str(shape) for shape in shapes(EXPERIMENT, topology("cpu:8"))}
    assert found == {
        "data=8",
        "fsdp=8",
        "data=4,heads=2",
        "fsdp=4,heads=2",
        "data=2,heads=4",
        "fsdp=2,heads=4",
    }


def test_without_a_mesh_the_batch_takes_all_devices_that_it_can():
    few = replace(EXPERIMENT, train=replace(TRAIN, batch_size=2))
    assert choose(EXPERIMENT, topology("cpu:8"), "") == MeshShape(data=8)
    assert choose(few, topology("cpu:8"), "") == MeshShape(data=2, heads=4)


@pytest.mark.parametrize(
    ("mesh", "said"),
    [
        (
            "data=4",
            "has 4 devices and cpu:8 8; the nearest that do: data=8, data=4,heads=2",
        ),
        ("heads=8", "does not divide num_heads = 4.*nearest that do: data=2,heads=4"),
        ("data=4,head=2", "did you mean 'heads'"),
    ],
)
def test_a_mesh_that_does_not_fit_names_the_nearest_that_do(mesh, said):
    with pytest.raises(UserError, match=said):
        choose(EXPERIMENT, topology("cpu:8"), mesh)


def test_a_sequence_is_divided_where_batch_and_heads_are_too_few():
    one = replace(EXPERIMENT, train=replace(TRAIN, batch_size=1))
    assert {str(shape) for shape in shapes(one, topology("cpu:8"))} == {
        "heads=4,seq=2",
        "heads=2,seq=4",
        "seq=8",
    }
    assert choose(one, topology("cpu:8"), "") == MeshShape(seq=8)
    with pytest.raises(UserError, match="the nearest that do: heads=4,seq=2"):
        choose(one, topology("cpu:8"), "data=2,heads=4")
    with pytest.raises(UserError, match="8; the nearest that do: seq=8, heads=2,seq=4"):
        choose(one, topology("cpu:8"), "seq=6")
    assert shapes(one, topology("cpu:8"), seq=False) == []
    with pytest.raises(UserError, match="no mesh of 8 devices divides"):
        choose(one, topology("cpu:8"), "", seq=False)
    asked = choose(EXPERIMENT, topology("cpu:8"), "data=2,heads=2,seq=2")
    assert asked == MeshShape(data=2, heads=2, seq=2)


def test_an_experiment_that_no_mesh_divides_is_told_what_to_change():
    odd = experiment_of(num_heads=1, head_dim=16, train=replace(TRAIN, batch_size=3))
    assert odd.model.d_model == MODEL.d_model
    with pytest.raises(UserError, match=r"no mesh of 7 devices divides 'tiny': give"):
        choose(odd, topology("cpu:7"), "")
