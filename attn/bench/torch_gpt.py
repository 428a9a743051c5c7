"""A plain PyTorch GPT and its training step, as nanoGPT writes them.

After github.com/karpathy/nanoGPT, model.py and train.py: one product for queries, keys
and values, fused causal attention, tied embeddings, AdamW without decay of vectors, and a
clipped gradient. As in our config, norms have a bias, GELU is the tanh form, there is no
dropout, and the learning rate stays at its peak. Nothing is compiled.
"""

from collections.abc import Mapping
from typing import Any

import numpy as np
from jaxtyping import Float, Int

from attn.config import Experiment
from attn.records.environment import cores


class GPT:
    """A decoder with weights of ours, and its optimizer."""

    def __init__(
        self, experiment: Experiment, arrays: Mapping[str, Float[np.ndarray, "..."]]
    ):
        import torch  # pyright: ignore[reportMissingImports]

        torch.set_num_threads(cores() or 1)
        self.model, self.train = experiment.resolved_model, experiment.train
        self.weights = {
            name: torch.tensor(x, requires_grad=True)
            for name, x in converted(arrays, self.model.repeats).items()
        }
        every, rule = list(self.weights.values()), self.train.optimizer
        groups = [
            {"params": [x for x in every if x.ndim > 1]},
            {"params": [x for x in every if x.ndim == 1], "weight_decay": 0.0},
        ]
        self.optimizer = torch.optim.AdamW(
            groups,
            lr=self.train.peak_lr,
            betas=(rule.b1, rule.b2),  # pyright: ignore[reportAttributeAccessIssue]
            eps=rule.eps,  # pyright: ignore[reportAttributeAccessIssue]
            weight_decay=self.train.weight_decay,
            fused=True,
        )

    def batches(self, arrays: Mapping[str, Int[np.ndarray, "C B T"]]) -> list[Any]:
        """The tokens and the targets [B, T] of each step."""
        import torch  # pyright: ignore[reportMissingImports]

        pairs = zip(arrays["tokens"], arrays["targets"])
        return [tuple(torch.from_numpy(x).long() for x in pair) for pair in pairs]

    def step(self, tokens: Any, targets: Any) -> float:
        """Takes one step; returns its loss in nats."""
        import torch  # pyright: ignore[reportMissingImports]

        logits = self.logits(tokens)
        loss = torch.nn.functional.cross_entropy(
            logits.view(-1, logits.shape[-1]), targets.view(-1)
        )
        self.optimizer.zero_grad(set_to_none=True)
        loss.backward()
        torch.nn.utils.clip_grad_norm_(self.weights.values(), self.train.clip_norm)
        self.optimizer.step()
        return loss.item()

    def logits(self, tokens: Any) -> Any:
        """Computes the logits [B, T, V] of tokens [B, T]."""
        from torch.nn import (  # pyright: ignore[reportMissingImports]
            functional as F,
        )

        w = self.weights
        x = F.embedding(tokens, w["embedding"]) + w["positions"][: tokens.shape[1]]
        for i in range(self.model.repeats):
            x = x + self.attend(i, self.normed(x, f"{i}.attention"))
            hidden = F.linear(self.normed(x, f"{i}.mlp"), w[f"{i}.up"])
            x = x + F.linear(F.gelu(hidden, approximate="tanh"), w[f"{i}.down"])
        return F.linear(self.normed(x, "last"), w["embedding"])

    def attend(self, i: int, x: Any) -> Any:
        """Causal attention of layer `i` on states [B, T, D]."""
        from torch.nn import (  # pyright: ignore[reportMissingImports]
            functional as F,
        )

        (B, T, D), N = x.shape, self.model.num_heads
        three = F.linear(x, self.weights[f"{i}.qkv"]).split(D, dim=2)
        q, k, v = (y.view(B, T, N, D // N).transpose(1, 2) for y in three)
        out = F.scaled_dot_product_attention(q, k, v, is_causal=True)
        out = out.transpose(1, 2).contiguous().view(B, T, D)
        return F.linear(out, self.weights[f"{i}.out"])

    def normed(self, x: Any, name: str) -> Any:
        """The layer norm of states, by the name of its weights."""
        from torch.nn import (  # pyright: ignore[reportMissingImports]
            functional as F,
        )

        scale, bias = self.weights[f"{name}.scale"], self.weights[f"{name}.bias"]
        return F.layer_norm(x, scale.shape, scale, bias, self.model.norm.eps)


def converted(
    arrays: Mapping[str, Float[np.ndarray, "..."]], layers: int
) -> dict[str, Float[np.ndarray, "..."]]:
    """Converts our weights by path to what products of PyTorch take: [outputs, inputs]."""
    D = arrays["embedding"].shape[1]
    found = {
        "embedding": arrays["embedding"],
        "positions": arrays["position_embedding"],
        "last.scale": arrays["norm/scale"],
        "last.bias": arrays["norm/bias"],
    }
    for i in range(layers):
        attention, mlp = f"layers/{2 * i}", f"layers/{2 * i + 1}"
        three = [arrays[f"{attention}/layer/{x}"].reshape(D, D) for x in "qkv"]
        found[f"{i}.qkv"] = np.concatenate(three, axis=1).T
        found[f"{i}.out"] = arrays[f"{attention}/layer/o"].reshape(D, D).T
        found[f"{i}.up"] = arrays[f"{mlp}/layer/up"].T
        found[f"{i}.down"] = arrays[f"{mlp}/layer/down"].T
        for name, path in (("attention", attention), ("mlp", mlp)):
            found[f"{i}.{name}.scale"] = arrays[f"{path}/norm/scale"]
            found[f"{i}.{name}.bias"] = arrays[f"{path}/norm/bias"]
    return {name: np.ascontiguousarray(x) for name, x in found.items()}
