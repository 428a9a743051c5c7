"""A Triton kernel of our own over the tiles of any mask, and its limits."""

from dataclasses import dataclass

from attn.attention.backends.own import Own


@dataclass(frozen=True)
class Triton(Own):
    """A Pallas kernel for NVIDIA GPUs of our own: every mask, packing, sinks, float32.

    It exists for what cuDNN and tokamax refuse: masks of more than one interval of keys a
    query, segments, padding, positions known at run time, the soft-cap, sinks, the
    log-sum-exp with its gradient, and float32.
    """

    name = "triton"
    source = "attn.kernels.triton"
    packages = ("jax_cuda13_plugin", "jax_cuda12_plugin")
    install = "install the extra attn[cuda]"
    vendor = "NVIDIA"
    least_generation = 8.0
    dtypes = ("bfloat16", "float16", "float32")
    head_multiple = 1

    def attention(self):
        from attn.kernels.triton import triton_attention

        return triton_attention

    def why_too_large(self, mask, shape, tabled):
        from attn.kernels.triton import choose_blocks, why_too_large

        T, S, widest = shape.T, shape.S, max(shape.H, shape.Hv)
        itemsize = 4 if shape.dtype == "float32" else 2
        *of_rows, keys = choose_blocks(T, S, widest, itemsize, shape.device)
        sizes = {(one.line, one.other) for one in of_rows} | {(keys.other, keys.line)}
        reasons = (why_too_large(mask, T, S, pair, tabled) for pair in sizes)
        return next((reason for reason in reasons if reason), None)
