"""The command `launch.py inspect`: plots and tables from a finished run."""

import json
from dataclasses import asdict
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np

from attn.config import Experiment
from attn.data.build import prepare
from attn.errors import UserError
from attn.inspect.approximation import Heads, Point, measure
from attn.inspect.draw import draw, make_table
from attn.kernels import Softmax
from attn.parallel.mesh import make_mesh
from attn.parallel.rules import spec
from attn.plots.style import LIGHT
from attn.plots.tables import to_markdown
from attn.records.environment import environment, provenance
from attn.records.folder import RunFolder
from attn.train.checkpoint.restore import checkpoints_of, restore_state
from attn.train.state import model_def

SEQUENCES = 8
"""Rows of the test split that are inspected."""


def inspect(experiment: Experiment, folder: Path, out: Path, say) -> list[Path]:
    """Writes `approximation.json`, `.md` and `.png` for a finished run of softmax.

    Raises:
        UserError: the run is of another mechanism or experiment, or has not finished.
    """
    run = RunFolder(folder)
    _check(experiment)
    run.check(experiment)
    if run.finished(experiment) is None:
        raise UserError(
            f"{folder} holds no finished run of {experiment.name!r}; "
            f"`launch.py run {experiment.name}` with the same options makes it"
        )
    points = measure(trained_heads(experiment, folder), experiment.mask, say=say)
    return _write(points, experiment, out)


def _check(experiment: Experiment) -> None:
    """Raises `UserError` unless the run is plain softmax over whole sequences."""
    model, task = experiment.model, experiment.task
    kernels = [layer.mechanism for layer in model.attention_layers]
    if not kernels:
        raise UserError(f"{experiment.name!r} has no attention: {model.pattern}")
    for kernel in kernels:
        if kernel != Softmax():
            raise UserError(
                f"{experiment.name!r} runs {kernel.name!r}, as {kernel}; inspect compares "
                "with plain softmax: choose an experiment of it"
            )
    for layer in model.attention_layers:
        if layer.positions in ("alibi", "t5") or layer.window or layer.scale:
            raise UserError(
                f"{experiment.name!r} adds a bias, a window or a scale to its scores "
                f"(positions {layer.positions!r}, window {layer.window}, scale "
                f"{layer.scale}); inspect compares with plain softmax: choose another"
            )
    if task.padded:
        raise UserError(
            f"{experiment.name!r} reads {task.name!r}, whose sequences are padded; inspect "
            "compares whole ones: choose another task"
        )


def trained_heads(experiment: Experiment, folder: Path) -> Heads:
    """Queries, keys and values of the first seed on test sequences."""
    rows = prepare(experiment.task).splits["test"]["tokens"][:SEQUENCES]
    documents = rows.reshape(-1, experiment.lengths[0])[:SEQUENCES]
    mesh = make_mesh()
    with jax.set_mesh(mesh):
        restored = restore_state(experiment, checkpoints_of(experiment, folder), mesh)
        if restored is None:
            raise UserError(f"{folder} holds no checkpoint; run it again")
        model = model_def(experiment)
        tokens = jax.device_put(np.asarray(documents, np.int32), spec("B"))
        params, features = (
            jax.tree.map(lambda x: x[0], restored.state[name])
            for name in ("params", "features")
        )
        heads = jax.jit(lambda p, f, t: model.merge(p, f).heads(t))
        # Off the mesh from here on: each mechanism makes its own features.
        found = jax.device_get(heads(params, features, tokens))
    return jax.tree.map(jnp.asarray, found)


def _write(points: list[Point], experiment: Experiment, out: Path) -> list[Path]:
    task, env = experiment.task, environment({})
    title = f"Distance to softmax: {task.name}, {experiment.lengths[0]} tokens, trained model"
    made_by = provenance(
        [env],
        before=[
            f"`{experiment.name}`, seed 0, {SEQUENCES} sequences of the test split, percent of the "
            "size of softmax's output"
        ],
    )
    record = {
        "experiment": experiment.name,
        "task": task.name,
        "tokens": experiment.lengths[0],
        "sequences": SEQUENCES,
        "environment": env,
        "points": [asdict(point) for point in points],
    }
    out.mkdir(parents=True, exist_ok=True)
    names = [out / f"approximation.{kind}" for kind in ("json", "md", "png")]
    names[0].write_text(json.dumps(record, indent=2) + "\n")
    page = to_markdown([make_table(points)], before=[f"# {title}", made_by])
    names[1].write_text(page, encoding="utf-8")
    draw(points, title, LIGHT).savefig(names[2])
    return names
