"""Suites of `launch.py bench` by name, as data, and where their results go."""

from collections.abc import Mapping
from pathlib import Path

from attn.bench.suite import Suite
from experiments.benchmarks import decoding, gpu, mechanisms, models, rivals

RESULTS = Path("experiments/results/bench")

SUITES: Mapping[str, Suite] = {
    "targets": rivals.TARGETS,
    "grid": rivals.GRID,
    "quick": rivals.QUICK,
    "mechanisms": mechanisms.SCALING,
    "models": models.MODELS,
    "decoding": decoding.STEPS,
    "gpu": gpu.GPU,
}
