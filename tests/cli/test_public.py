"""What the package promises by name is there, and costs nothing before it is used."""

import attn


def test_every_public_name_leads_to_what_is_called_so():
    for name in attn.__all__:
        found = getattr(attn, name)
        assert found.__name__.rpartition(".")[2] == name
        assert name in dir(attn)
    assert attn.records.load
    assert attn.kernels.KERNELS["softmax"] is attn.kernels.Softmax
