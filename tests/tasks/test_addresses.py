"""The text of addresses: each in one split, each held-out byte said once."""

import numpy as np
import pytest

from attn.errors import UserError
from attn.tasks import SPLITS, Addresses
from attn.tasks.addresses import BETWEEN, HELD_OUT
from attn.tasks.base import split_by_hash
from attn.tasks.speeches import addresses
from attn.tasks.windows import rejoined

TASK = Addresses(seq_len=128)


def split_of(text: bytes) -> str:
    return split_by_hash(text, 0, HELD_OUT)


def test_every_address_is_whole_in_the_split_of_its_hash(made_speeches):
    every = [text for own in addresses(made_speeches) for text in own]
    for split in SPLITS:
        rows = TASK.rows(split)
        whole = rejoined(rows, every=2 if split == "train" else 1)
        said = whole.astype(np.uint8).tobytes()
        own = BETWEEN.join(text for text in every if split_of(text) == split)
        assert own.startswith(said[:1])
        assert own[: len(said)] == said
        assert len(own) - len(said) < 2 * TASK.seq_len
    sizes = [sum(split_of(text) == split for text in every) for split in SPLITS]
    assert sizes[0] > 0.6 * len(every)
    assert min(sizes) > 0


def test_windows_longer_than_a_split_are_refused(made_speeches):
    with pytest.raises(UserError, match=r"has \d+ tokens in the train split"):
        Addresses(seq_len=1_000_000).rows("test")
    with pytest.raises(UserError, match=r"Addresses\.seq_len = 127; it must be even"):
        Addresses(seq_len=127)
