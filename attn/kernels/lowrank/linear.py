"""Linear attention with the feature map elu + 1."""

from dataclasses import dataclass

import jax

from attn.kernels.base import wide
from attn.kernels.lowrank.features import FeatureAttention


@dataclass(frozen=True)
class Linear(FeatureAttention):
    """Linear attention with phi(x) = elu(x) + 1: Katharopoulos et al. 2020, equation 7.

    O(T H Hv) time; decoding keeps an H × (Hv + 1) state whatever the length. It is not
    an approximation of softmax attention, and cannot do sharp look-ups.
    """

    name = "linear"

    def rank(self, H):
        return H

    def features(self, q, k, weights):
        phi_q, phi_k = (jax.nn.elu(wide(x)) + 1 for x in (q, k))
        return phi_q, phi_k
