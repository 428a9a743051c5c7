"""Registries that a test may add to."""

import pytest


@pytest.fixture
def own_registry():
    """Registries that are afterwards as they were before."""
    import experiments  # noqa: F401  # whose names are taken
    from attn import registry
    from attn.kernels import KERNELS
    from attn.tasks import TASKS

    known = registry._REGISTRY, KERNELS, TASKS
    before = [dict(one) for one in known]
    yield
    for one, was in zip(known, before, strict=True):
        one.clear()
        one.update(was)
    registry._FILES.clear()
