"""Real weights: a model from a checkpoint as Hugging Face or GGUF lay it out."""

from dataclasses import replace
from pathlib import Path

from flax import nnx
from jax.sharding import Mesh

from attn.config import ModelConfig
from attn.config.model import Dtype
from attn.errors import UserError, unknown
from attn.kernels import Kernel
from attn.model import Transformer
from attn.objectives import StateHead, TokenHead
from attn.parallel.mesh import shape_of, using
from attn.pretrained.call import EncoderDecoder, Pretrained
from attn.pretrained.checkpoint import Checkpoint, open_checkpoint
from attn.pretrained.config_keys import read_config
from attn.pretrained.families import FAMILIES, Family
from attn.pretrained.table import sources
from attn.pretrained.weights import fill


def load(
    directory: str | Path,
    *,
    kernel: Kernel | None = None,
    num_kv_heads: int | None = None,
    dtype: Dtype = "float32",
    mesh: Mesh | None = None,
) -> Pretrained:
    """Loads a checkpoint: a folder with config.json and safetensors, or a GGUF file.

    A decoder is called as `model(tokens)` and gives logits [B, T, V], an encoder gives
    states [B, T, D], an encoder-decoder is called as `model(tokens, target_tokens)`.

    Args:
        kernel: the mechanism of every self-attention layer, in place of softmax; what
            it owns is new, and drawn from seed 0.
        num_kv_heads: fewer key and value heads than the checkpoint has, each the mean
            of a group of its heads (Ainslie et al. 2023, section 2.1).
        dtype: of matrices and activations.
        mesh: where the weights are laid out (`attn.parallel.mesh.make_mesh`).

    Raises:
        UserError: the checkpoint is not there, damaged, of an unknown family, or its
            config asks for what the model cannot compute; or the mesh does not divide
            the model.
    """
    checkpoint = open_checkpoint(Path(directory))
    family = family_of(checkpoint)
    there = family.model(read_config(family, checkpoint.config))
    found = sources(family, there, checkpoint)
    model = changed(there, kernel, num_kv_heads, dtype)
    # The length of what it will read is not known, so whether `seq` divides it is not.
    model.check_mesh(replace(shape_of(mesh), seq=1), 1, 1)
    head = StateHead() if family.kind == "encoder" else TokenHead()
    with using(mesh):
        transformer = fill(model, head, found, checkpoint, mesh)
    kind = EncoderDecoder if family.kind == "encoder-decoder" else Pretrained
    return kind(transformer, checkpoint, mesh)


def swapped(there: Pretrained, kernel: Kernel) -> Pretrained:
    """The same weights, not copied, with another mechanism in every self-attention layer.

    Raises:
        UserError: the mechanism has arrays of its own, which no checkpoint holds.
    """
    if kernel.owns != "nothing":
        raise UserError(
            f"kernel {kernel.name!r} has {kernel.owns} of its own, which {there.checkpoint.path} "
            "has not; take one that has none, or train it: load(..., kernel=...)"
        )
    old = there.transformer
    model = changed(old.model, kernel, None, old.model.dtype)
    made = nnx.eval_shape(lambda: Transformer(model, old.head, rngs=nnx.Rngs(0)))
    new = nnx.merge(nnx.split(made)[0], nnx.state(old))
    return type(there)(new, there.checkpoint, there.mesh)


def family_of(checkpoint: Checkpoint) -> Family:
    """The family of a checkpoint; raises `UserError` for one that is not known."""
    name = checkpoint.config.get("model_type")
    if name is None:
        raise UserError(
            f"{checkpoint.path}: config.json has no model_type; it is one of "
            f"{', '.join(sorted(FAMILIES))}"
        )
    if name not in FAMILIES:
        raise unknown("model_type in config.json", str(name), FAMILIES)
    return FAMILIES[name]


def changed(
    model: ModelConfig, kernel: Kernel | None, num_kv_heads: int | None, dtype: Dtype
) -> ModelConfig:
    """The config of a checkpoint with what was asked for instead."""
    K = model.attention_layers[0].sizes[1]
    if num_kv_heads is not None and (num_kv_heads < 1 or K % num_kv_heads):
        fits = [n for n in range(1, K + 1) if K % n == 0]
        raise UserError(
            f"num_kv_heads = {num_kv_heads} does not divide the checkpoint's {K}; it can "
            f"be {', '.join(map(str, fits))}"
        )
    model = replace(
        model,
        kernel=model.kernel if kernel is None else _capped(kernel, model.kernel),
        num_kv_heads=num_kv_heads or model.num_kv_heads,
        dtype=dtype,
    )
    L = model.max_len or 0
    for layer in model.one_block:
        layer.check(model.mask, L, S=L)
    return model


def _capped(kernel: Kernel, there: Kernel) -> Kernel:
    """A mechanism with the soft-cap of the checkpoint's scores, if it has one.

    Raises:
        UserError: it has, and the mechanism has no place for it.
    """
    cap = getattr(there, "softcap", None)
    if cap is None:
        return kernel
    if not hasattr(kernel, "softcap"):
        raise UserError(
            f"the checkpoint caps its scores at {cap:g}, which kernel {kernel.name!r} cannot; "
            "take one that is softmax under a mask"
        )
    return replace(kernel, softcap=cap) if kernel.softcap is None else kernel  # pyright: ignore
