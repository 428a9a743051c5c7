"""Experiments small enough to compile in a second, and batches for them."""

from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace

import jax
import jax.numpy as jnp
import naive
import numpy as np
import pytest
from jax.sharding import NamedSharding
from jax.sharding import PartitionSpec as P

from attn.config import Experiment, ModelConfig, TrainConfig
from attn.kernels import KERNELS
from attn.parallel.rules import spec
from attn.tasks import MQAR, ListOps

RECALL = MQAR(
    seq_len=16, num_pairs=2, vocab_size=16, num_train=96, num_valid=16, num_test=20
)
TREES = ListOps(seq_len=32, min_len=4, num_train=64, num_valid=16, num_test=16)
MODEL = ModelConfig(d_model=16, num_heads=2, repeats=1, d_ff=32)
TRAIN = TrainConfig(
    steps=12, batch_size=8, warmup_steps=2, eval_every=6, save_every=4, peak_lr=1e-2
)
DECODERS = [name for name in naive.PATHS if "causal" in KERNELS[name].can]
ENCODERS = [name for name in naive.PATHS if "bidirectional" in KERNELS[name].can]


def exhaustive(*values, id=None):
    """One case of a product, of which others are always run."""
    return pytest.param(*values, id=id, marks=pytest.mark.exhaustive)


def paths(names):
    """One case of each way through the library, of which other masks are `exhaustive`."""
    return [name if name in naive.PATHS else exhaustive(name) for name in names]


SOME = ("softmax", "longformer", "moba", "performer", "nystrom", "gated_delta")
"""Mechanisms that cover the families, weights of their own, and data-dependent choice."""


def some(names):
    """Cases of `SOME` of these mechanisms, of which all others are `exhaustive`."""
    return [name if name in SOME else exhaustive(name) for name in names]


@contextmanager
def full_compiles() -> Iterator[None]:
    """Compiles as users do, where HLO, costs or memory are tested."""
    before = jax.config.read("jax_disable_most_optimizations")
    jax.config.update("jax_disable_most_optimizations", False)
    try:
        yield
    finally:
        jax.config.update("jax_disable_most_optimizations", before)


def experiment_of(task=RECALL, seeds=1, train=TRAIN, **model):
    return Experiment(
        "tiny", "It is small.", task, replace(MODEL, **model), train, seeds
    )


def experiment_for(name, **model):
    """A decoder where the kernel can be one, else an encoder of padded rows."""
    task = RECALL if "causal" in KERNELS[name].can else TREES
    return experiment_of(task, kernel=naive.SPECS[name], **model)


def logits(experiment, model, batch, key=None):
    """What a merged model says of a batch, at the positions that are scored."""
    return experiment.task.objective.logits(model, batch, key)


def random_batch(task, shape, seed=0):
    """int32 arrays [*shape, ...] of a task's keys, on no mesh."""
    rng = np.random.default_rng(seed)
    T, n = task.seq_len, task.num_scored
    batch = {
        "tokens": rng.integers(0, task.vocab_size, (*shape, T)),
        "targets": rng.integers(0, task.num_classes, (*shape, n)),
    }
    if getattr(task.objective, "scored", "all") == "positions":
        batch["positions"] = rng.integers(0, T, (*shape, n))
    if task.padded:
        S, documents = task.document_len, task.objective.num_documents
        each = (*shape, documents) if documents > 1 else shape
        batch["lengths"] = rng.integers(S // 2, S + 1, each)
    return {key: array.astype(np.int32) for key, array in batch.items()}


def place(batch, mesh, spec):
    """The same arrays, divided by those axes of the mesh that divide anything."""
    sizes = {**mesh.shape, None: 1}
    spec = P(*(x if isinstance(x, tuple) or sizes[x] > 1 else None for x in spec))
    return jax.device_put(batch, NamedSharding(mesh, spec))


def calls(batch, mesh):
    """Batches [C, R, B, ...] on a mesh."""
    with jax.set_mesh(mesh):
        return place(batch, mesh, spec("C R B"))


def copy(tree):
    """A tree that survives the donation of this one."""
    return jax.tree.map(jnp.copy, tree)


def largest_gap(a, b):
    """Between two trees of numbers, whatever devices they are on."""
    gaps = jax.tree.map(lambda x, y: np.abs(np.asarray(x) - np.asarray(y)).max(), a, b)
    return max(jax.tree.leaves(gaps))
