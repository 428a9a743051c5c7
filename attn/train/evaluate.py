"""Evaluation of a state on a split: every row once, all replicas at once."""

import math
from typing import Any

import jax
import numpy as np
from jax.sharding import Mesh, NamedSharding
from jax.sharding import PartitionSpec as P

from attn.config import Experiment
from attn.data.pipeline import eval_batches
from attn.tasks.base import Dataset
from attn.train.state import ModelDef, State
from attn.train.step import make_eval_step

EVAL_BATCH = 256


class Evaluator:
    """Computes each metric of a state on a split, as a list over replicas."""

    def __init__(
        self, experiment: Experiment, model: ModelDef, data: Dataset, mesh: Mesh
    ):
        self.objective = experiment.task.objective
        self.splits = data.splits
        self.step = make_eval_step(self.objective, model)
        self.batch_size = math.lcm(EVAL_BATCH, mesh.shape["data"])
        self.sharding = NamedSharding(mesh, P("data"))

    def __call__(self, state: State, split: str) -> dict[str, Any]:
        totals = {"loss": 0.0, "accuracy": 0.0, "count": 0.0}
        for batch in eval_batches(self.splits[split], self.batch_size):
            sums = self.step(state, jax.device_put(batch, self.sharding))
            totals = {k: totals[k] + np.asarray(sums[k], np.float64) for k in totals}
        scores = self.objective.metrics(totals)
        return {name: values.tolist() for name, values in scores.items()}
