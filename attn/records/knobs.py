"""The knobs in which runs may differ, as columns of tables and words of labels."""

from collections.abc import Callable, Mapping
from dataclasses import fields
from typing import Any

from attn.config import Embedding, ModelConfig, Norm, to_json
from attn.config.optimizers import OPTIMIZERS
from attn.config.schedules import SCHEDULES
from attn.records.run import Run


def _size(
    name: str, derive: Callable[[Mapping[str, Any]], Any]
) -> Callable[[Run], Any]:
    """The width that the run resolved; from its config when it failed before that."""

    def read(run: Run) -> Any:
        model = run.config["model"]
        for value in (getattr(run.result, name, None), model.get(name)):
            if value is not None:
                return value
        return derive(model)

    return read


def _head_width(model: Mapping[str, Any]) -> int | None:
    width, heads = model.get("d_model"), model.get("num_heads")
    return width // heads if width and heads else None


def _layers(run: Run) -> str:
    model = run.config["model"]
    repeats = model.get("repeats", 1)
    decoder = _stack(model.get("block"), model.get("pattern"), repeats)
    blocks = model.get("encoder_block"), model.get("encoder_pattern")
    encoder = _stack(*blocks, model.get("encoder_repeats") or repeats)
    return f"{encoder} > {decoder}" if any(blocks) else decoder


def _stack(block: Any, pattern: Any, repeats: int) -> str:
    """The layers of a stack, as specs or by name, and how often they are repeated."""
    own = [f"{layer.get('is')}{_knobs(layer)}" for layer in block or ()]
    layers = " ".join(own or pattern or ())
    return layers if repeats == 1 else f"{layers} x {repeats}"


def _knobs(layer: Mapping[str, Any]) -> str:
    """The fields that a layer sets, as in `(kernel window, num_heads 2)`."""
    said = []
    for name, value in layer.items():
        if name != "is" and value is not None:
            kind = value.get("is") if isinstance(value, Mapping) else value
            said.append(f"{name} {kind}")
    return f"({', '.join(said)})" if said else ""


def _modelled(name: str, default: Any = None) -> Callable[[Run], Any]:
    return lambda run: run.config["model"].get(name, default)


def _part(name: str, usual: Any) -> Callable[[Run], Any]:
    """The fields of a part of the model that are not usual, as in `at=post`."""
    known = {} if usual is None else to_json(usual)

    def read(run: Run) -> str:
        values = run.config["model"].get(name) or {}
        own = [f"{k}={v}" for k, v in values.items() if known.get(k, None) != v]
        return " ".join(own) or "usual"

    return read


def _trained(name: str, default: Any = None) -> Callable[[Run], Any]:
    return lambda run: run.config.get("train", {}).get(name, default)


def _spec(name: str, default: str) -> Callable[[Run], Any]:
    """The name of an optimizer or schedule, with its knobs that are not usual."""

    def read(run: Run) -> str:
        values = dict(run.config.get("train", {}).get(name) or {"is": default})
        known = TRAINING.get(values["is"])  # a newer version may have more
        usual = fields(known) if known else ()
        knobs = {f.name: values.get(f.name, f.default) for f in usual}
        words = [
            f"{f.name}={knobs[f.name]}" for f in usual if knobs[f.name] != f.default
        ]
        return " ".join([values["is"], *words])

    return read


heads_of = _size("num_heads", lambda model: None)
_kv_heads = _size("num_kv_heads", lambda model: model.get("num_heads"))

RATE = "peak lr"

TRAINING = OPTIMIZERS | SCHEDULES

KNOBS: Mapping[str, Callable[[Run], Any]] = {
    "heads": heads_of,
    "kv heads": lambda run: (
        _kv_heads(run) if _kv_heads(run) != heads_of(run) else "same"
    ),
    "head dim": _size("head_dim", _head_width),
    "kv rank": _modelled("kv_rank"),
    "rope dim": _modelled("rope_dim"),
    "rope base": _modelled("rope_base", ModelConfig.rope_base),
    "d_model": _size("d_model", lambda model: None),
    "d_ff": _size("d_ff", lambda model: 4 * model.get("d_model", 0) or None),
    "layers": _layers,
    "conv width": _modelled("conv_width", 3),
    "norm": _part("norm", Norm()),
    "embedding": _part("embedding", Embedding()),
    "bias": _modelled("bias", "none"),
    "activation": _modelled("act", "gelu_tanh"),
    "gated": _modelled("gated", False),
    "qk norm": _modelled("qk_norm", False),
    "gate": _modelled("gate", False),
    "rope scaling": _part("rope_scaling", None),
    "positions": _modelled("positions"),
    "causal": _modelled("causal", False),
    "attends padding": _modelled("attend_padding", False),
    "dtype": _modelled("dtype"),
    "attention impl": _modelled("attention_impl", "auto"),
    "remat": _modelled("remat", False),
    "dropout": _modelled("dropout", 0.0),
    "attention dropout": _modelled("attention_dropout", 0.0),
    "steps": _trained("steps"),
    "batch": _trained("batch_size"),
    RATE: _trained("peak_lr"),
    "warm-up": _trained("warmup_steps"),
    "weight decay": _trained("weight_decay"),
    "clip norm": _trained("clip_norm"),
    "optimizer": _spec("optimizer", "adamw"),
    "schedule": _spec("schedule", "cosine"),
    "parts": _trained("accumulate", 1),
}
