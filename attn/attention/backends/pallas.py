"""A TPU kernel of our own over the tile schedule of any mask, and its limits."""

from dataclasses import dataclass

from attn.attention.backends.own import Own


@dataclass(frozen=True)
class Pallas(Own):
    """A Pallas kernel for TPUs of our own: every mask, positions and the log-sum-exp.

    It exists for what splash refuses: masks that look a table up (BigBird's random
    blocks, any layout), positions known at run time, the log-sum-exp with its gradient,
    and lengths that are no multiple of 128. By name only: no device has timed it, so
    `auto` does not take it. TPU alone: its grid runs in order and its sums stay in
    memory from step to step, which a GPU's blocks do not.
    """

    name = "pallas"
    source = "attn.kernels.pallas"
    packages = ("jax",)
    install = "install jax"
    by_name_only = True
    vendor = "TPU"
    least_generation = 4.0
    dtypes = ("bfloat16", "float32")
    head_multiple = 8

    def attention(self):
        from attn.kernels.pallas import pallas_attention

        return pallas_attention

    def why_too_large(self, mask, shape, tabled):
        from attn.kernels.pallas import choose_blocks, why_too_large

        T, S = shape.T, shape.S
        return why_too_large(mask, T, S, choose_blocks(mask, T, S), tabled)
