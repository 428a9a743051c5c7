"""What Ray is asked for: one node must have it, and what cannot be is one line."""

import sys
from types import SimpleNamespace

import pytest

from attn.cli.executors import on_ray
from attn.cli.executors.on_ray import RayTasks, require_room
from attn.cli.executors.options import Ray
from attn.errors import UserError


def node(cpus, gpus=0.0, alive=True):
    resources = {"CPU": float(cpus), "memory": 1e9} | ({"GPU": gpus} if gpus else {})
    return {"Alive": alive, "Resources": resources}


NODES = [node(8), node(8), node(2, 4.0), node(64, 8.0, alive=False)]


@pytest.mark.parametrize(
    "asked", [Ray(cpus=8), Ray(cpus=2, gpus=4.0), Ray(gpus=0.5), Ray()]
)
def test_what_one_node_has_is_given(asked):
    require_room(NODES, asked)


@pytest.mark.parametrize(
    ("asked", "nodes", "said"),
    [
        (Ray(cpus=16), NODES, r"--ray.cpus 16 .* \(8 CPUs and 0 GPUs, 2 CPUs and 4 GPUs\)"),
        (Ray(cpus=4, gpus=1.0), NODES, "--ray.cpus 4 --ray.gpus 1: no node of this Ray"),
        (Ray(gpus=5.0), NODES, "--ray.gpus 5: no node"),
        (Ray(), [node(8, alive=False)], "none is alive"),
        (Ray(), [{"Alive": False, "Resources": {}}], "none is alive"),
    ],
)  # fmt: skip
def test_what_only_several_nodes_have_together_is_refused(asked, nodes, said):
    with pytest.raises(UserError, match=said):
        require_room(nodes, asked)


@pytest.fixture
def ray(monkeypatch):
    """A stand-in for the package, which may not be here."""
    made = SimpleNamespace(closed=False, nodes=lambda: NODES)
    made.shutdown = lambda: setattr(made, "closed", True)
    made.init = lambda address, logging_level, log_to_driver, include_dashboard: None
    monkeypatch.setitem(sys.modules, "ray", made)
    monkeypatch.setattr(on_ray, "ENVIRONMENT", {})
    return made


def test_a_ray_that_has_no_room_is_left(ray):
    RayTasks(Ray(cpus=8))
    assert not ray.closed
    with pytest.raises(UserError, match="ask for fewer"):
        RayTasks(Ray(cpus=9))
    assert ray.closed


@pytest.mark.parametrize(
    ("address", "said"),
    [
        (None, "--executor ray: no port; name"),
        ("a:1", "--ray.address a:1: no port; na"),
    ],
)
def test_a_ray_that_does_not_start_names_what_was_asked(ray, address, said):
    def fail(address, logging_level, log_to_driver, include_dashboard):
        raise RuntimeError("no port\nand more")

    ray.init = fail
    with pytest.raises(UserError, match=said):
        RayTasks(Ray(address))
