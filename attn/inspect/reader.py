"""Attention maps of a text: of a trained run's model, or of pretrained weights."""

from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, NamedTuple

import jax.numpy as jnp
import numpy as np
from jaxtyping import Array, Int

from attn.config import Attention
from attn.errors import UserError
from attn.inspect.sentence import (
    Sentence,
    of_task,
    of_task_tokens,
    of_tokenizer,
    require_readable,
    special,
)
from attn.inspect.writer import end_tokens, pretrained_folder
from attn.model import Transformer
from attn.model.generate import NO_TOKEN, Prompt, generate, off_mesh
from attn.model.maps import compute_maps
from attn.plots.text_maps import Kind, LayerMap
from attn.records import load, restore
from attn.tasks import Task

MOST = 64
"""The most tokens of a text whose map can be read."""


@dataclass(frozen=True)
class Reader:
    """A model, and how a text becomes its tokens."""

    model: Transformer
    read: Callable[[str], Sentence]
    spell: Callable[[Sequence[int]], Sentence]
    """The sentence of tokens that the model wrote."""
    start: int | None = None
    """The token before what is written, where a source is read before."""
    end: int | None = None
    """The token that ends what is written."""
    task: Task | None = None
    """What a run was trained on."""
    read_target: Callable[[str], Sentence] | None = None
    """The sentence of a target, where it is read otherwise than a source."""

    def target(self, text: str) -> Sentence:
        """The sentence of a target, to which the model adds start and end itself."""
        return (self.read_target or self.read)(text)


@dataclass(frozen=True)
class Look:
    """The maps of one text, and the sentence that the queries of each kind are."""

    title: str
    layers: Sequence[LayerMap]
    queries: Mapping[Kind, Sentence]

    def of(self, kind: Kind) -> list[LayerMap]:
        """The maps of the layers of a kind."""
        return [layer for layer in self.layers if layer.kind == kind]


def reader_of(folder: Path, *, seed: int = 0) -> Reader:
    """The reader of a run's folder, or of pretrained weights by folder or name.

    Raises:
        UserError: there is no such folder, or nothing to be read in it.
    """
    if not (folder / "result.json").exists():
        return _pretrained(pretrained_folder(folder))
    task = load(folder).experiment.task
    model = off_mesh(restore(folder, seed=seed))
    source = task.objective.reads_source
    return Reader(
        model,
        partial(of_task, task),
        partial(of_task_tokens, task),
        getattr(task, "start", None) if source else None,
        getattr(task, "end", None) if source else None,
        task,
    )


def _pretrained(folder: Path) -> Reader:
    from attn import pretrained

    model = pretrained.load(folder)
    tokenizer, said = model.tokenizer, model.checkpoint.config
    pair = model.transformer.encoder is not None
    target = partial(of_tokenizer, tokenizer, special=False)
    return Reader(
        model.transformer,
        partial(of_tokenizer, tokenizer),
        lambda tokens: target(tokenizer.decode(list(tokens))),
        said.get("decoder_start_token_id", 0) if pair else None,
        next(iter(end_tokens(said)), None) if pair else None,
        read_target=target,
    )


def looks(reader: Reader, text: str, pair: str | None) -> list[Look]:
    """The maps of a text, and of the text beside it.

    Where a source is read, the text is the source, and `pair` the target, which the
    model writes greedily unless it is given; source and target are then one look.

    Raises:
        UserError: a text cannot be read, or no layer has a map.
    """
    require_maps(reader.model)
    first = require_readable(reader.read(text), "--text", MOST)
    if reader.start is None:
        second = pair and require_readable(reader.read(pair), "--pair", MOST)
        return [_alone(reader, one) for one in (first, second) if one]
    target = (
        reader.spell(_written(reader, first)) if pair is None else reader.target(pair)
    )
    require_readable(target, "the target" if pair is None else "--pair", MOST - 1)
    return [_both(reader, first, target)]


def _alone(reader: Reader, sentence: Sentence) -> Look:
    return _look(reader, sentence.text, {"layer": sentence})


def _both(reader: Reader, source: Sentence, target: Sentence) -> Look:
    """The look at a source and its target."""
    read = target.follow(special(reader.start or 0, "<start>"))
    title = f"{source.text} -> {target.text}"
    if reader.model.encoder is None:
        whole = require_readable(read.follow(source), "--text with its target", MOST)
        return _look(reader, title, {"layer": whole})
    written = special(reader.end or 0, "<end>").follow(target)
    return _look(reader, title, {"encoder": source, "layer": read, "cross": written})


def _look(reader: Reader, title: str, queries: Mapping[Kind, Sentence]) -> Look:
    """The look at what the model reads; cross-attention's queries are what it writes."""
    read, source = queries["layer"], queries.get("encoder")
    batch = None if source is None else row(source.tokens)
    found = compute_maps(reader.model, row(read.tokens), source=batch)
    layers = []
    for name, own in counted(reader.model).items():
        if name in found:
            keys = source if own.kind == "cross" and source else queries[own.kind]
            labels = queries[own.kind].labels, keys.labels
            family = own.layer.mechanism.family
            layers.append(
                LayerMap(own.kind, own.number, family, found[name][0], *labels)
            )
    return Look(title, layers, queries)


class Counted(NamedTuple):
    """An attention layer: its kind, and its number among the layers of this kind."""

    kind: Kind
    number: int
    layer: Attention


def counted(model: Transformer) -> dict[str, Counted]:
    """Every attention layer by its name in `Transformer.maps`, where all layers count."""
    found: dict[str, Counted] = {}
    seen: Counter[Kind] = Counter()
    stacks: tuple[tuple[Kind, Any], ...] = (
        ("encoder", model.model.encoder),
        ("layer", model.model),
    )
    for stack, spec in stacks:
        for i, layer in enumerate(() if spec is None else spec.layers):
            if isinstance(layer, Attention):
                kind: Kind = "cross" if layer.crosses else stack
                found[f"{stack}_{i}"] = Counted(kind, seen[kind], layer)
                seen[kind] += 1
    return found


def row(tokens: Sequence[int]) -> Int[Array, "1 T"]:
    """A batch of one sequence."""
    return jnp.asarray([tokens], jnp.int32)


def _written(reader: Reader, source: Sentence) -> list[int]:
    """The tokens that the model writes after a source, without their end."""
    read, begin = row(source.tokens), row([reader.start or 0])
    if reader.model.encoder is None:
        prompt = Prompt(jnp.concatenate([read, begin], axis=1))
    else:
        prompt = Prompt(begin, source=read)
    written = generate(reader.model, prompt, MOST - 1, end=reader.end)
    return [int(t) for t in np.asarray(written)[0] if t not in (reader.end, NO_TOKEN)]


def without_map(model: Transformer) -> dict[str, str]:
    """The attention layers without a map, and the mechanism of each."""
    return {
        f"{kind} {number}": layer.mechanism.name
        for kind, number, layer in counted(model).values()
        if "map" not in layer.mechanism.can
    }


def require_maps(model: Transformer) -> None:
    """Raises `UserError` unless a layer of the model has a map."""
    left_out = without_map(model)
    if len(left_out) < len(counted(model)):
        return
    names = ", ".join(dict.fromkeys(left_out.values()))
    why = f"{names} has another map for each channel" if names else "no attention"
    raise UserError(f"the model has no attention map ({why}); choose another run")
