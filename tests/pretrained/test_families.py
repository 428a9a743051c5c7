"""Every family against transformers, on small checkpoints with odd sizes."""

import numpy as np
import pytest
from parity import outputs
from tiny_checkpoints import CASES, case, reference

from attn.pretrained.config_keys import read_config
from attn.pretrained.families import FAMILIES

TOLERANCE = 1e-4


def test_every_family_has_a_reference():
    assert {case(name)["config"]["model_type"] for name in CASES} == set(FAMILIES)


@pytest.mark.parametrize("name", CASES)
def test_outputs_are_those_of_transformers_with_padding_on_either_side(name, tmp_path):
    mask = reference(name)["mask"]
    assert not mask[1, -1]
    assert not mask[2, 0]
    found, expected = outputs(name, tmp_path)
    assert np.abs(expected).max() > 1
    np.testing.assert_allclose(found, expected, rtol=0, atol=TOLERANCE)


@pytest.mark.parametrize("name, tied", [("t5", True), ("t5-1.1", False)])
def test_t5_is_tied_as_transformers_4_and_5_save_it(name, tied):
    older = case(name)["config"]
    newer = older | {"tie_word_embeddings": True, "scale_decoder_outputs": tied}
    for config in (older, newer):
        model = FAMILIES["t5"].model(read_config(FAMILIES["t5"], config))
        assert model.embedding.tied == tied
        assert model.embedding.logit_scale == (26**-0.5 if tied else 1)
