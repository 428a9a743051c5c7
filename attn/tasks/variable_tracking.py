"""Variable tracking: chains of assignments among noise, and the variables of one value.

The rules are those of RULER's VT (Hsieh et al. 2024, arXiv 2404.06654), read in
`scripts/data/synthetic/variable_tracking.py` of NVIDIA/RULER:

    tokens   A 7 . C 9 . . B A . D C . ? 7 A     A = 7, C = 9, B = A, D = C; which have 7?
    targets                            A B       scored where the token before each is read

Each chain has a value and `num_hops` + 1 variables: the first is assigned the value, each
other the one before it, in this order, with noise and other chains between. All variables
of one chain are said, in the order of the chain.

RULER has one chain of four hops (`num_chains` = 1, in its `synthetic.yaml`): all variables
of the text are the answer, and to list them is enough. Four chains, all alike, are the
default here.

Departures: names, values and the sentences between are one token each (theirs are words
of several, and five sentences that are repeated), without instructions or a solved
example. RULER asks for a set and counts what is in it; here the order is part of the
rule and the answers before are read, so that each answer but the first is one hop away.
"""

from dataclasses import dataclass

import numpy as np
from jaxtyping import Int

from attn.tasks.base import Dataset
from attn.tasks.mqar import distinct
from attn.tasks.synthetic import Synthetic, ask, require
from attn.tasks.trivial import accuracy, fixed_place, majority, new_tokens


@dataclass(frozen=True)
class VariableTracking(Synthetic):
    """Say all variables that have one value."""

    name = "variable_tracking"

    seq_len: int = 64
    num_chains: int = 4
    """Chains of assignments; 1 is the published rule."""
    num_hops: int = 4
    """Variables of a chain that are assigned another variable."""
    num_names: int = 64
    """Names that variables may have."""
    num_values: int = 32
    """Values that chains may have."""

    def __post_init__(self):
        super().__post_init__()
        require(self, "num_chains", self.num_chains >= 1, "it must be at least 1")
        require(self, "num_hops", self.num_hops >= 0, "it must be 0 or more")
        words = (
            f"it must be at least {self.num_variables}, for the variables of all chains"
        )
        require(self, "num_names", self.num_names >= self.num_variables, words)
        words = f"it must be at least num_chains = {self.num_chains}"
        require(self, "num_values", self.num_values >= self.num_chains, words)
        least = 2 * self.num_variables + 1 + self.num_scored
        words = f"it must be at least {least}, for assignments, question and answers"
        require(self, "seq_len", self.seq_len >= least, words)

    @property
    def vocab_size(self) -> int:
        """The number of names, values, noise and the question mark, in this order."""
        return self.num_names + self.num_values + 2

    @property
    def num_variables(self) -> int:
        """The variables of all chains, as many as assignments."""
        return self.num_chains * (self.num_hops + 1)

    @property
    def num_scored(self) -> int:
        """The number of variables of a chain, P."""
        return self.num_hops + 1

    @property
    def context_len(self) -> int:
        """Tokens before the question, S."""
        return self.seq_len - self.num_scored - 1

    def label(self, token: int) -> str:
        """`x` and a number for a name, a number for a value, `.` for noise, or `?`."""
        if token < self.num_names:
            return f"x{token}"
        value = token - self.num_names
        return str(value) if value < self.num_values else ".?"[value - self.num_values]

    def draw(self, rng, count, split):
        """Draws tokens [n, T]; targets and positions [n, P]."""
        C, P, noise = self.num_chains, self.num_scored, self.vocab_size - 2
        names = distinct(rng, count, C * P, self.num_names).reshape(count, C, P)
        values = self.num_names + distinct(rng, count, C, self.num_values)
        assigned = np.concatenate([values[..., None], names[..., :-1]], axis=-1)

        context = np.full((count, self.context_len), noise)
        places = self._places(rng, count)
        flat = (count, C * P)
        np.put_along_axis(context, places, names.reshape(flat), axis=1)
        np.put_along_axis(context, places + 1, assigned.reshape(flat), axis=1)

        mark = np.full((count, 1), noise + 1)
        text = np.hstack([context, mark, values[:, :1], names[:, 0]])
        return ask(text, self.context_len + 2 + np.arange(P)[None])

    def _places(self, rng: np.random.Generator, count: int) -> Int[np.ndarray, "n M"]:
        """Draws where each assignment begins, those of a chain in their order."""
        M = self.num_variables
        free = distinct(rng, count, M, self.context_len - M)
        begins = np.sort(free, axis=1) + np.arange(M)
        chains = np.repeat(np.arange(self.num_chains), self.num_scored)
        chains = rng.permuted(np.tile(chains, (count, 1)), axis=1)
        return np.take_along_axis(begins, np.argsort(chains, axis=1, kind="stable"), 1)

    def baselines(self, data: Dataset) -> dict[str, float]:
        """Computes test accuracies; `chance` is exact, of any variable.

        `all_variables` lists those of the whole text as they appear.
        """
        test = data.splits["test"]
        context = test["tokens"][:, : self.context_len]
        names, _ = new_tokens(np.where(context < self.num_names, context, -1))
        is_name = names >= 0
        order = np.argsort(~is_name, axis=1, kind="stable")[:, : self.num_scored]
        return {
            "chance": 1 / self.num_variables,
            "majority": majority(data),
            "fixed_place": fixed_place(data),
            "all_variables": accuracy(np.take_along_axis(names, order, axis=1), test),
        }
