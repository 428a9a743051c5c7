"""The keys of a config.json, read by a family's table; what is not known is refused."""

from typing import Any

from attn.errors import UserError
from attn.pretrained.families.base import REQUIRED, Family, Nullable, Values
from attn.pretrained.families.values import require

UNREAD = frozenset(
    """
    _name_or_path architectures model_type torch_dtype dtype transformers_version
    use_cache initializer_range initializer_factor gradient_checkpointing bos_token_id
    eos_token_id pad_token_id sep_token_id cls_token_id decoder_start_token_id
    classifier_dropout attention_dropout attention_probs_dropout_prob
    hidden_dropout_prob output_attentions output_hidden_states output_past return_dict
    return_dict_in_generate use_return_dict id2label label2id problem_type
    task_specific_params finetuning_task tokenizer_class prefix
    _attn_implementation_autoset _attn_implementation attn_implementation
    cache_implementation auto_map transformers.js_config pretraining_tp
    """.split()
)
"""Keys that change nothing that is computed, in any family."""
ONLY: dict[str, tuple] = {
    "is_decoder": (False,),
    "add_cross_attention": (False,),
    "chunk_size_feed_forward": (0,),
    "pruned_heads": ({},),
}
"""Keys of every family, with the values that change nothing."""


def read_config(family: Family, config: dict[str, Any]) -> Values:
    """The values that a family's model is made from.

    Raises:
        UserError: a key is missing, unknown, or has a value that the model has no way
            to follow.
    """
    keys = family.keys
    only = ONLY | keys.only
    for key, value in config.items():
        if key in keys.read:
            continue
        if key not in only and (key in UNREAD or key in keys.unread.split()):
            continue
        if key not in only:
            raise UserError(
                f"config.json: {key} = {value!r} is not known in the family "
                f"{config['model_type']!r}, and may change what is computed; leave it "
                "out if it does not"
            )
        require(key, value, only[key])
    values = {
        key: config.get(
            key, default.default if isinstance(default, Nullable) else default
        )
        for key, default in keys.read.items()
    }
    for key, value in values.items():
        if value is REQUIRED:
            raise UserError(f"config.json has no {key}; the model needs it")
        if not _fits(value, keys.read[key]):
            raise UserError(f"config.json: {key} = {value!r} is no value of this key")
    return values


def _fits(value: Any, default: Any) -> bool:
    """Whether a value is of the type that a key's default tells, and a number above 0."""
    if isinstance(default, Nullable):
        return value is None or _is_a(default.kind, value)
    return _is_a(int if default is REQUIRED else type(default), value)


def _is_a(kind: type, value: Any) -> bool:
    if kind in (int, float):
        return type(value) in {int, kind} and value > 0
    return type(value) is kind
