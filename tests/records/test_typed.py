"""A wrong type in a file is named by its field; what is right comes back as it was."""

import re

import pytest

from attn.errors import UserError
from attn.records.result import Clocks, Layer, Line, Measured, Mechanism, Result
from attn.records.typed import decode, encode

RESULT = Result(
    status="done",
    test={"accuracy": (0.5, 1.0)},
    baselines={"chance": 0.25},
    kernel=Mechanism("window", "sparse", 0.5, True),
    layers={"layers/0": Layer("window", "splash")},
    steps=12,
    step_ms=1.5,
)


@pytest.mark.parametrize(
    "record",
    [
        RESULT,
        Measured((Line(3, (1.0,), valid={"loss": (2.0,)}),), Clocks((1.0,)), 7),
    ],
)
def test_a_record_comes_back_from_its_json(record):
    assert decode(type(record), encode(record), where="file") == record


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("status", "dnoe", 'status = "dnoe", not'),
        ("steps", "12", 'steps = "12", not int'),
        ("steps", True, "steps = true, not int"),
        ("test", {"accuracy": [0.5, "1"]}, 'test.accuracy.1 = "1", not float'),
        ("test", [0.5], "test = [0.5], not"),
        ("layers", {"a": {"kernel": "linear"}}, "has no layers.a.implementation"),
        ("kernel", {"is": 3}, "kernel.is = 3, not str"),
    ],
)
def test_a_wrong_type_is_named_by_its_field_and_file(field, value, message):
    values = encode(RESULT) | {field: value}
    with pytest.raises(UserError, match=re.escape(message)) as error:
        decode(Result, values, where="runs/a/result.json")
    assert str(error.value).startswith("runs/a/result.json ")


def test_a_missing_field_is_named_and_an_unknown_one_left_out():
    with pytest.raises(UserError, match="has no status"):
        decode(Result, {}, where="file")
    assert decode(Result, {"status": "done", "later": 1}, where="file").steps is None
