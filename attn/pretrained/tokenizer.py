"""Tokenizers of checkpoints, through the library `tokenizers`."""

from pathlib import Path
from typing import Any

from attn.errors import UserError
from attn.pretrained.families.values import require

CONTROL = 3
"""GGUF's type of a token that no text is split into."""


def library() -> Any:
    """The library `tokenizers`; raises `UserError` where it is not installed."""
    try:
        import tokenizers
    except ImportError as error:
        raise UserError(
            "text needs the package tokenizers, which is not here; pip install "
            "'attn[hub]', or call the model with tokens"
        ) from error
    return tokenizers


def read_tokenizer(folder: Path) -> Any:
    """Reads the tokenizer.json of a folder; the tokenizer neither pads nor truncates.

    Raises:
        UserError: there is none, or the library is not here.
    """
    file = folder / "tokenizer.json"
    if not file.exists():
        raise UserError(
            f"{folder} has no tokenizer.json; put it there, or call the model with tokens"
        )
    try:
        tokenizer = library().Tokenizer.from_file(str(file))
    except UserError:
        raise
    except Exception as error:  # the library raises nothing narrower
        raise UserError(f"{file} is damaged ({error}); get it again") from error
    tokenizer.no_padding()
    tokenizer.no_truncation()
    return tokenizer


def bpe_tokenizer(said: dict[str, Any]) -> Any:
    """Makes the byte-level BPE of a GGUF file, which splits digits off (SmolLM).

    Args:
        said: the fields of the file below `tokenizer.ggml`.

    Raises:
        UserError: they are of another tokenizer.
    """
    from tokenizers import Tokenizer, decoders, models, pre_tokenizers

    require("tokenizer.ggml.model", said.get("model"), ("gpt2",))
    require("tokenizer.ggml.pre", said.get("pre"), ("smollm",))
    require("tokenizer.ggml.add_bos_token", said.get("add_bos_token", False), (False,))
    vocabulary = {token: i for i, token in enumerate(said["tokens"])}
    merges = [tuple(merge.split(" ")) for merge in said["merges"]]
    tokenizer = Tokenizer(models.BPE(vocab=vocabulary, merges=merges))
    digits = pre_tokenizers.Digits(individual_digits=True)
    words = pre_tokenizers.ByteLevel(add_prefix_space=False)
    tokenizer.pre_tokenizer = pre_tokenizers.Sequence([digits, words])
    tokenizer.decoder = decoders.ByteLevel()
    kinds = zip(said["tokens"], said["token_type"], strict=True)
    tokenizer.add_special_tokens([token for token, kind in kinds if kind == CONTROL])
    return tokenizer
