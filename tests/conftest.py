"""Eight devices on any machine, and no broadcast that the code did not ask for.

What was compiled is kept in `.pytest_cache/jax`, so that the next run takes half the time.
"""

import gc
import os
from importlib.util import find_spec
from pathlib import Path

from attn import compiler

os.environ["JAX_PLATFORMS"] = "cpu"
os.environ["XLA_FLAGS"] = compiler.flags()

import jax

jax.config.update("jax_num_cpu_devices", 8)
# Several programs in flight over more devices than cores can wait for each other.
jax.config.update("jax_cpu_enable_async_dispatch", False)
jax.config.update("jax_numpy_rank_promotion", "raise")

pytest_plugins = [
    "local_server",
    "made_speeches",
    "own_data",
    "random_runs",
    "registries",
    "run_folders",
    "tiny_packages",
    "tiny_pairs",
]

CACHE = {
    "jax_compilation_cache_dir": str(
        Path(__file__).parents[1] / ".pytest_cache" / "jax"
    ),
    "jax_persistent_cache_min_compile_time_secs": 0.0,
    "jax_persistent_cache_min_entry_size_bytes": -1,
}
QUICK = "--xla_cpu_use_fusion_emitters=false --xla_cpu_parallel_codegen_split_count=1"

# Tracing makes objects by the million; to look at them every 700 takes long.
gc.set_threshold(50_000, 10, 10)


def configure(settings):
    """Changes jax's settings, here and in processes that tests start."""
    for name, value in settings.items():
        jax.config.update(name, value)
        os.environ[name.upper()] = str(value)


# Programs compile in a third of the time and mean the same; `tiny.full_compiles()` is for
# tests of HLO, costs and memory.
configure({**CACHE, "jax_disable_most_optimizations": True})
# Later ones end at a flag that they do not know, and so does libtpu.
if jax.__version_info__ < (0, 11) and find_spec("libtpu") is None:
    os.environ["XLA_FLAGS"] += f" {QUICK}"


def pytest_addoption(parser):
    parser.addoption(
        "--exhaustive",
        action="store_true",
        help="also run whole products of cases, of which a covering set is always run",
    )


def pytest_collection_modifyitems(config, items):
    if config.getoption("--exhaustive"):
        return
    left_out = [item for item in items if item.get_closest_marker("exhaustive")]
    config.hook.pytest_deselected(items=left_out)
    items[:] = [item for item in items if item not in left_out]
