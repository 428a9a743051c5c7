"""Compiled steps as plain data: what a number of bytes that a compiler plans is of."""

from dataclasses import dataclass

from attn.config.codec import fingerprint
from attn.config.experiment import Experiment


@dataclass(frozen=True)
class CompiledStep:
    """One step of one seed whose memory is asked for; it is compiled and never runs."""

    experiment: Experiment
    backward: bool = True
    """Whether it trains; else it evaluates."""

    @property
    def key(self) -> str:
        """The name under which its bytes are kept, which another step does not have."""
        return fingerprint(self.experiment) + ("" if self.backward else "-forward")
