"""The compiled programs of a run: one for each length of a call."""

from collections.abc import Mapping

import jax
import numpy as np

from attn.attention.choose import by_layer, recording
from attn.config import Experiment
from attn.parallel.processes import meet
from attn.records.result import Layer
from attn.train.signals import StopSignal
from attn.train.state import ModelDef, State
from attn.train.step import Batch, Metrics, make_slice
from attn.train.timing import Timing


class Programs:
    """The programs, and what their compilation tells: scratch memory, choices."""

    def __init__(
        self, experiment: Experiment, model: ModelDef, stop: StopSignal, timing: Timing
    ):
        self.temp_bytes: int | None = None
        """Bytes of scratch memory of the largest; None where it is not known."""
        self.layers: dict[str, Layer] = {}
        """The implementation that each layer got."""
        self._step = make_slice(experiment, model)
        self._stop, self._timing = stop, timing
        self._compiled: dict[int, jax.stages.Compiled] = {}

    def continue_from(
        self, temp_bytes: int | None, layers: Mapping[str, Layer]
    ) -> None:
        """Continues from what an earlier process was told."""
        self.temp_bytes, self.layers = temp_bytes, dict(layers)

    def has(self, length: int) -> bool:
        """Whether the program for calls of this length is compiled."""
        return length in self._compiled

    def get(self, state: State, batch: Batch, metrics: Metrics) -> jax.stages.Compiled:
        """The program for a call, compiled where it is not yet."""
        length = len(metrics["loss"])
        if length not in self._compiled:
            self._compiled[length] = self._compile(state, batch, metrics)
        return self._compiled[length]

    def _compile(
        self, state: State, batch: Batch, metrics: Metrics
    ) -> jax.stages.Compiled:
        ends = np.int32(0), np.int32(0)
        with self._stop.at_once(), self._timing.compiling(), recording() as choices:
            compiled = self._step.lower(state, batch, metrics, *ends).compile()
        meet()
        self.layers |= {
            name: Layer(choice.kernel, choice.implementation)
            for name, choice in by_layer(choices).items()
        }
        memory = compiled.memory_analysis()
        if memory is not None:
            self.temp_bytes = max(self.temp_bytes or 0, memory.temp_size_in_bytes)
        return compiled
