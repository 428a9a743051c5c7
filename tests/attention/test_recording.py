"""The record of what was chosen: every traced call, by the layer that made it."""

from functools import partial

import jax
import jax.numpy as jnp
import pytest

from attn.attention import Choice, attend, attend_with_lse, recording, scope
from attn.attention.choose import by_layer
from attn.kernels import Linear, Softmax
from attn.masks import FULL, Causal, PerHead

X = jax.ShapeDtypeStruct((1, 4, 2, 4), jnp.float32)


def trace(layers):
    """Traces anew: jax keeps the traces of a function that it has met."""
    return jax.eval_shape(lambda *arrays: layers(*arrays), X, X, X)


def two_layers(q, k, v):
    with scope("block_0"), scope("attention"):
        out = attend(Softmax(), q, k, v)
    with scope("block_1"):
        return attend(Linear(), q, k, out, impl="chunked")


def test_every_call_is_recorded_while_tracing_with_its_layer_and_its_reason():
    with recording() as found:
        trace(two_layers)
    assert found == [
        Choice(
            "block_0/attention", "softmax", "dense", "32 scores are within 1,048,576"
        ),
        Choice("block_1", "linear", "chunked", "asked for by name"),
    ]


def test_a_call_outside_a_scope_or_a_record_leaves_no_trace_of_either():
    trace(two_layers)
    with recording() as found:
        pass
    trace(two_layers)
    assert found == []
    with recording() as found:
        trace(partial(attend_with_lse, Softmax()))
    assert [choice.scope for choice in found] == [""]


def test_an_inner_record_takes_its_calls_and_a_failure_ends_both_record_and_scope():
    with recording() as outer:
        with recording() as inner:
            trace(two_layers)
        with pytest.raises(RuntimeError), scope("lost"):
            raise RuntimeError
        trace(partial(attend, Softmax()))
    assert [len(inner), len(outer)] == [2, 1]
    assert outer[0].scope == ""


def test_heads_of_two_masks_are_two_choices_of_one_layer():
    def layer(*arrays):
        with scope("layer"):
            return attend(Softmax(), *arrays, mask=PerHead((FULL, Causal())))

    with recording() as found:
        trace(layer)
    assert [choice.scope for choice in found] == ["layer", "layer"]


def test_a_layer_is_what_it_chose_last_and_calls_of_none_count_where_there_is_no_other():
    def choice(scope, implementation):
        return Choice(scope, "softmax", implementation, "")

    alone, first, last = choice("", "dense"), choice("a", "dense"), choice("a", "tiles")
    assert by_layer([first, alone, last]) == {"a": last}
    assert by_layer([alone]) == {"": alone}
