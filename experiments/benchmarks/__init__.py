"""What `launch.py bench` measures, as data: suites by name, and where results go."""

from collections.abc import Mapping
from pathlib import Path

from attn.bench.suite import Suite
from experiments.benchmarks import mechanisms, rivals

RESULTS = Path("experiments/results/bench")

SUITES: Mapping[str, Suite] = {
    "targets": rivals.TARGETS,
    "grid": rivals.GRID,
    "quick": rivals.QUICK,
    "mechanisms": mechanisms.SCALING,
}
