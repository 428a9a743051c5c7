"""What each pattern means, for one query and one key, in plain Python.

Written from the papers, without `attn.masks`' arithmetic: `sees(mask, q, k)` reads the
fields of a mask and nothing else of it.
"""

from functools import cache

import numpy as np
from hypothesis import strategies as st

from attn.masks import (
    FULL,
    And,
    BigBird,
    Blocks,
    Causal,
    Chunk,
    Dilated,
    Earlier,
    Fixed,
    Full,
    Global,
    Mask,
    Not,
    Or,
    Prefix,
    Strided,
    Tile,
    Window,
)


def fixed_shows(m, q, k):
    """Child et al. 2019, section 4.3: floor(j/l) = floor(i/l), or j mod l in t..l."""
    return q // m.stride == k // m.stride or k % m.stride in range(
        m.stride - m.columns, m.stride
    )


def dilated_shows(m, q, k):
    return any(k == q + j * m.dilation for j in range(-m.left, m.right + 1))


@cache
def random_blocks(m) -> list[set[int]]:
    """Floyd's draw, by hand, from the list of blocks that are not yet seen."""
    M = -(-m.length // m.block)
    raw = iter(np.random.PCG64(m.seed).random_raw(M * m.num_random).tolist())
    rows = []
    for i in range(M):
        half = m.num_window // 2
        others = [j for j in range(m.num_global, M) if not i - half <= j <= i + half]
        drawn: set[int] = set()
        for n in range(m.num_random):
            top, bits = len(others) - m.num_random + n, next(raw)
            if top >= 0:
                drawn.add(top if bits % (top + 1) in drawn else bits % (top + 1))
        rows.append({others[j] for j in drawn})
    return rows


def big_bird_shows(m, q, k):
    i, j = q // m.block, k // m.block
    if min(i, j) < m.num_global or abs(i - j) <= m.num_window // 2:
        return True
    return j in random_blocks(m)[i]


DEFINITIONS = {
    Full: lambda m, q, k: True,
    Causal: lambda m, q, k: k <= q + m.offset,
    Window: lambda m, q, k: q - m.left <= k <= q + m.right,
    Dilated: dilated_shows,
    Strided: lambda m, q, k: (max(q, k) - min(q, k)) % m.stride == 0,
    Fixed: fixed_shows,
    Global: lambda m, q, k: min(q, k) < m.num_tokens,
    Prefix: lambda m, q, k: k < m.length,
    Chunk: lambda m, q, k: q // m.size == k // m.size,
    Earlier: lambda m, q, k: k // m.k_block < q // m.q_block,
    Blocks: lambda m, q, k: m.layout.tolist()[q // m.block][k // m.block],
    BigBird: big_bird_shows,
    And: lambda m, q, k: sees(m.a, q, k) and sees(m.b, q, k),
    Or: lambda m, q, k: sees(m.a, q, k) or sees(m.b, q, k),
    Not: lambda m, q, k: not sees(m.a, q, k),
}


def sees(mask: Mask, q: int, k: int) -> bool:
    return DEFINITIONS[type(mask)](mask, q, k)


def brute(mask: Mask, T: int, S: int) -> np.ndarray:
    return np.array([[sees(mask, q, k) for k in range(S)] for q in range(T)])


def brute_grid(seen: np.ndarray, q_block: int, k_block: int) -> np.ndarray:
    """The exact verdict on every tile of a dense map."""
    T, S = seen.shape
    grid = np.zeros((-(-T // q_block), -(-S // k_block)), np.int8)
    for i, j in np.ndindex(grid.shape):
        part = seen[i * q_block :, j * k_block :][:q_block, :k_block]
        grid[i, j] = Tile.FULL if part.all() else int(part.any())
    return grid


small = st.integers(1, 9)
few = st.integers(0, 5)


@st.composite
def fixed(draw):
    stride = draw(small)
    return Fixed(stride, draw(st.integers(1, stride)))


@st.composite
def layouts(draw, T, S):
    block = draw(small)
    bits = np.random.default_rng(draw(st.integers(0, 99)))
    shares = bits.random((-(-T // block), -(-S // block)))
    return Blocks(shares < draw(st.sampled_from([0.0, 0.3, 0.8, 1.0])), block)


def patterns(T: int, S: int):
    """Every pattern, with knobs that mean something on T × S."""
    kinds = [
        st.just(FULL),
        st.builds(Causal, st.integers(-9, 9)),
        st.builds(Window, few, few),
        st.builds(Dilated, few, few, st.integers(1, 4)),
        st.builds(Strided, small),
        fixed(),
        st.builds(Global, small),
        st.builds(Prefix, small),
        st.builds(Chunk, small),
        st.builds(Earlier, small, small),
        layouts(T, S),
    ]
    if T == S:
        odd, seeds = st.sampled_from([1, 3, 5]), st.integers(0, 9)
        few_blocks = st.integers(0, 3)
        kinds.append(
            st.builds(BigBird, st.just(T), small, odd, few_blocks, few_blocks, seeds)
        )
    return st.one_of(kinds)


def compositions(T: int, S: int, leaves: int = 3):
    """Up to `leaves` patterns under `& | ~`."""
    return st.recursive(
        patterns(T, S),
        lambda inner: st.one_of(
            st.builds(lambda a, b: a & b, inner, inner),
            st.builds(lambda a, b: a | b, inner, inner),
            st.builds(lambda a: ~a, inner),
        ),
        max_leaves=leaves,
    )


@st.composite
def cases(draw, most=24, make=compositions):
    """A mask with the lengths it is used on."""
    T = draw(st.integers(1, most))
    S = draw(st.one_of(st.just(T), st.integers(1, most)))
    return draw(make(T, S)), T, S


GRID = np.array([[1, 0, 0], [1, 1, 0], [0, 1, 1]], bool)
EXAMPLES = [
    FULL,
    Causal(),
    Causal(-2),
    Causal(3),
    Window(3, 1),
    Dilated(2, 1, 3),
    Strided(4),
    Fixed(4, 2),
    Global(2),
    Prefix(5),
    Chunk(4),
    Earlier(3, 2),
    Blocks(GRID, 4),
    BigBird(12, 2, num_window=1, num_global=1, num_random=2, seed=3),
    Causal() & (Window(3, 0) | Global(2)),
    ~(Strided(3) | Chunk(5)) & Prefix(9),
    ~Causal(),
]
"""One of each, on a map of 12 by 12."""
