"""Output heads as plain data: how the last states of a model become logits."""

from dataclasses import dataclass

from attn.kernels.base import matmul_flops


@dataclass(frozen=True)
class Head:
    """The base of output heads; V is the model's vocabulary, D its width."""

    def num_params(self, D: int, V: int) -> int:
        """Trained parameters of the head itself."""
        raise NotImplementedError

    def flops(self, num_scored: int, D: int, V: int) -> float:
        """FLOPs of one sequence with so many scored positions."""
        raise NotImplementedError


@dataclass(frozen=True)
class TokenHead(Head):
    """Logits over the vocabulary at every position.

    The output weights are the embedding (Press and Wolf 2017).
    """

    def num_params(self, D, V):
        return 0

    def flops(self, num_scored, D, V):
        return matmul_flops(num_scored, D, V)


@dataclass(frozen=True)
class StateHead(Head):
    """The states after the last layer, as they are."""

    def num_params(self, D, V):
        return 0

    def flops(self, num_scored, D, V):
        return 0.0


@dataclass(frozen=True)
class ClassHead(Head):
    """Logits over classes, from the mean state of the real tokens."""

    num_classes: int

    def num_params(self, D, V):
        return self.num_classes * D

    def flops(self, num_scored, D, V):
        return matmul_flops(num_scored, D, self.num_classes)


@dataclass(frozen=True)
class PairHead(ClassHead):
    """Logits over classes, from the mean states u and v of two documents.

    They are W relu(M [u, v, u * v, u - v]), with 2 D hidden units: the head and the sizes
    of Nyströmformer's LRA code (Xiong et al. 2021; `SCHeadDual` of `model_wrapper.py`).
    LRA's own (`classifier_head_dual`, `interaction="NLI"`) has a second hidden layer.
    Neither matrix has a bias here.
    """

    def hidden(self, D: int) -> int:
        """The number of hidden units."""
        return 2 * D

    def num_params(self, D, V):
        return (4 * D + self.num_classes) * self.hidden(D)

    def flops(self, num_scored, D, V):
        F = self.hidden(D)
        return matmul_flops(num_scored, 4 * D, F) + matmul_flops(
            num_scored, F, self.num_classes
        )
