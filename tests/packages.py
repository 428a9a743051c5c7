"""Libraries that most machines lack, and need only to check what is not theirs."""

import os
from importlib.util import find_spec

import pytest


def need(package):
    """Skips without the package; fails where `ATTN_TARGETS=required`, as in CI."""
    parent = package.partition(".")[0]
    if find_spec(parent) is not None and find_spec(package) is not None:
        return
    missing = f"{package} is not installed: CONTRIBUTING.md, 'Other machines'"
    if os.environ.get("ATTN_TARGETS") == "required":
        pytest.fail(missing)
    pytest.skip(missing)
