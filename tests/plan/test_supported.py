"""The table of what serves each mechanism over a divided sequence is read off the rules."""

from attn.parallel.support import Support
from attn.plan.supported import supported


def test_a_row_says_which_masks_each_strategy_serves():
    rows = [
        Support("softmax", "full", ("ring", "all_gather")),
        Support("softmax", "per_head", ("all_gather",)),
        Support("linear", "full", ("scan",)),
    ]
    table = supported(rows)
    assert [column.name for column in table.columns[1:]] == [
        *("scan", "ring", "all_to_all", "all_gather")
    ]
    cells = {row.cells[0].text: [c.text for c in row.cells[1:]] for row in table.rows}
    assert cells == {
        "softmax": ["-", "full", "-", "all"],
        "linear": ["all", "-", "-", "-"],
    }
