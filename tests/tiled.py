"""Calls of the blockwise kernel, its definition, and both compiled by one program."""

from dataclasses import dataclass, field

import jax
import jax.numpy as jnp
import numpy as np

from attn.kernels.blockwise import blockwise_attention
from attn.kernels.scoring import Scoring
from attn.kernels.tokens import NO_KEY, TokenInfo
from attn.masks import FULL, Mask
from attn.positions import Alibi, RelativeBias, T5Bias


@dataclass(frozen=True)
class Call:
    """The sizes and options of one call, small enough to compile in a blink."""

    T: int = 11
    S: int = 11
    mask: Mask = FULL
    asked: tuple[str, ...] = ()
    B: int = 2
    K: int = 2
    G: int = 2
    Hv: int = 3
    blocks: tuple[int, int] | None = (4, 4)
    whole: bool = False
    size: float = 1.0
    dtype: str = "float64"
    seed: int = field(default=0)

    def inputs(self):
        """q, k, v, bias, sinks; and what is known of the tokens at run time."""
        random = np.random.default_rng(self.seed)
        B, T, S, K, G, H = self.B, self.T, self.S, self.K, self.G, 4

        def normal(*shape):
            return jnp.asarray(random.normal(size=shape).astype(self.dtype))

        biases = {
            "bias": lambda: normal(B, K * G, T, S),
            "shared bias": lambda: normal(1, 1, T, S),
            "alibi": lambda: Alibi(normal(K * G)),
            "t5": lambda: T5Bias(normal(K * G, 8), max_distance=6),
            "causal t5": lambda: T5Bias(normal(K * G, 6), bidirectional=False),
        }
        bias = next(
            (make() for name, make in biases.items() if name in self.asked), None
        )
        sinks = normal(K * G) if "sinks" in self.asked else None
        q = jnp.asarray((self.size * random.normal(size=(B, T, K * G, H))).astype(self.dtype))  # fmt: skip
        k, v = normal(B, S, K, H), normal(B, S, K, self.Hv)
        q_info, kv_info = TokenInfo(), TokenInfo()
        if "segments" in self.asked:
            q_info = TokenInfo(jnp.asarray(random.integers(0, 3, (B, T))))
            kv_info = TokenInfo(jnp.asarray(random.integers(NO_KEY, 3, (B, S))))
        if "padding" in self.asked:
            kv_info = TokenInfo(lengths=jnp.asarray(random.integers(0, S + 1, B)))
        if "positions" in self.asked:
            q_at, kv_at = (random.integers(0, T + S, (B, L)) for L in (T, S))
            q_info = TokenInfo(positions=jnp.asarray(q_at))
            kv_info = TokenInfo(positions=jnp.asarray(kv_at))
        return (q, k, v, bias, sinks), (q_info, kv_info)

    @property
    def softcap(self):
        return 1.5 if "softcap" in self.asked else None


def definition(call, q, k, v, bias, sinks, infos):
    """Softmax attention written out over the whole map, [B, N, T, S]."""
    q_info, kv_info = infos
    q_at, k_at = (
        jnp.arange(L)[None] if info.positions is None else info.positions
        for info, L in ((q_info, call.T), (kv_info, call.S))
    )
    k, v = (jnp.repeat(x, call.G, axis=2) for x in (k, v))
    scores = jnp.einsum("btnh,bsnh->bnts", q, k) * q.shape[-1] ** -0.5
    if isinstance(bias, RelativeBias):
        bias = jax.vmap(bias.at)(k_at[:, None, :] - q_at[:, :, None])
    if bias is not None:
        scores = scores + bias
    if call.softcap:
        scores = call.softcap * jnp.tanh(scores / call.softcap)
    seen = call.mask.predicate(q_at[:, :, None], k_at[:, None, :])
    if kv_info.segment_ids is not None:
        seen = seen & (q_info.segment_ids[:, :, None] == kv_info.segment_ids[:, None])
    if kv_info.lengths is not None:
        seen = seen & (jnp.arange(call.S)[None, None] < kv_info.lengths[:, None, None])
    seen = jnp.broadcast_to(seen, (call.B, call.T, call.S))[:, None]
    scores = jnp.where(seen, scores, -jnp.inf)
    if sinks is not None:
        extra = jnp.broadcast_to(sinks[None, :, None, None], (*scores.shape[:-1], 1))
        scores = jnp.concatenate([scores, extra], axis=-1)
    blind = (scores == -jnp.inf).all(axis=-1, keepdims=True)
    scores = jnp.where(blind, 0.0, scores)
    lse = jax.nn.logsumexp(scores, axis=-1, keepdims=True)
    weights = jnp.where(blind, 0.0, jnp.exp(scores - lse))[..., : call.S]
    lse = jnp.where(blind, -jnp.inf, lse)[..., 0]
    return jnp.einsum("bnts,bsnv->btnv", weights, v), jnp.moveaxis(lse, -1, 1)


def tiles(call, q, k, v, bias, sinks, infos):
    return blockwise_attention(
        q,
        k,
        v,
        mask=call.mask,
        scoring=Scoring(softcap=call.softcap, bias=bias, sinks=sinks),
        q_info=infos[0],
        kv_info=infos[1],
        blocks=call.blocks,
        whole=call.whole,
    )


def everything(call, *runs):
    """Output, log-sum-exp, and the gradients of both by all that is differentiable.

    Of each run, by one program.
    """
    inputs, infos = call.inputs()
    shape = (call.B, call.T, call.K * call.G)
    random = np.random.default_rng(9)
    weights = random.normal(size=(*shape, call.Hv)), random.normal(size=shape)

    def graded(run, inputs, infos, weights):
        def loss(*inputs):
            out, lse = run(call, *inputs, infos)
            # As a merge of parts does: a row that sees nothing takes no part.
            own = jnp.where(lse == -jnp.inf, 0.0, lse)
            total = (out.astype(lse.dtype) * weights[0]).sum()
            return total + (own * weights[1]).sum(), (out, lse)

        grad = jax.value_and_grad(loss, argnums=tuple(range(5)), has_aux=True)
        (_, values), grads = grad(*inputs)
        return *values, *grads

    program = jax.jit(lambda *args: [graded(run, *args) for run in runs])
    names = ("out", "lse", "d_q", "d_k", "d_v", "d_bias", "d_sinks")
    return [
        {
            name: np.asarray(jax.tree.leaves(x)[0], np.float64)
            for name, x in zip(names, found)
            if x is not None
        }
        for found in program(inputs, infos, weights)
    ]


def exactly(call):
    """Output and log-sum-exp by the definition in float64, of the inputs as they are."""
    inputs, infos = call.inputs()
    with jax.enable_x64(True):
        exact = jax.tree.map(lambda x: np.asarray(x, np.float64), inputs)
        run = jax.jit(lambda inputs: definition(call, *inputs, infos))
        return jax.device_get(run(exact))


def assert_equal_to_the_definition(call, tolerance=1e-9):
    with jax.enable_x64(True):
        got, expected = everything(call, tiles, definition)
    assert got.keys() == expected.keys()
    for name in got:
        np.testing.assert_allclose(
            got[name], expected[name], tolerance, tolerance, err_msg=f"{name} of {call}"
        )
