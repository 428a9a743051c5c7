"""The table of what serves each mechanism over a divided sequence is read off the rules."""

from attn.parallel.strategies import STRATEGIES
from attn.parallel.support import SENT, Support, table
from attn.plan.supported import supported


def cells(rows):
    """The texts of a table of these rows, by mechanism."""
    table = supported(rows)
    return {row.cells[0].text: [c.text for c in row.cells[1:]] for row in table.rows}


def test_a_row_says_which_masks_each_strategy_serves():
    rows = [
        Support("softmax", "full", ("ring", "all_gather")),
        Support("softmax", "per_head", ("all_gather",)),
        Support("linear", "full", ("scan",)),
    ]
    assert supported(rows).names == ("mechanism", *STRATEGIES, "sinks")
    assert cells(rows) == {
        "softmax": ["-", "full", "-", "all", "-"],
        "linear": ["all", "-", "-", "-", "-"],
    }


def test_a_row_names_the_one_mask_that_a_strategy_does_not_serve():
    masks = ("full", "causal", "per_head")
    rows = [Support("softmax", m, ("ring",)[m == "per_head" :]) for m in masks]
    assert cells(rows)["softmax"][STRATEGIES.index("ring")] == "not per_head"


def test_a_row_says_which_strategies_serve_sinks():
    rows = [
        Support("softmax", "full", ("ring", "all_gather"), ("ring", "all_gather")),
        Support("window", "full", ("ring", "all_gather"), ("all_gather",)),
    ]
    assert [each[-1] for each in cells(rows).values()] == ["all", "all_gather"]


def test_the_note_says_what_each_strategy_sends():
    assert set(SENT) == set(STRATEGIES)
    note = supported(table()).note
    assert (
        "ring collective-permute; all_to_all all-to-all; all_gather all-gather" in note
    )
