"""What every method of reward learning is to whoever trains it, and how all of them draw frames."""

from collections.abc import Mapping, Sequence
from typing import Protocol

import numpy as np
import tensorflow as tf

Batch = dict[str, np.ndarray]
"""What one update needs, by name: `frames`, int32 of any shape, and whatever the loss wants beside their logits."""


class RewardLearner(Protocol):
    """What one method teaches a model.

    The loop that uses it (see `fit`) looks the batch's frames up, asks the model for their logits, and goes down the
    gradient of the loss:

        batch = learner.batch(step)
        parts = learner.loss(model.logits(observation[batch["frames"]]), batch)  # then minimise parts["loss"]
    """

    @property
    def parts(self) -> tuple[str, ...]:
        """Names of the scalars that `loss` gives; `loss` is one."""

    def batch(self, step: int) -> Batch:
        """The batch of one step: arrays whose shapes never change, decided by seed and step alone."""

    def loss(self, logits: tf.Tensor, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """From logits, of the shape of `batch["frames"]`, to scalars float32[], one for each of `parts`."""


class FrameSampler:
    """Frames of several groups, each with its fixed number of places in every batch; uniform within a group."""

    def __init__(self, groups: Sequence[np.ndarray], counts: Sequence[int], seed: int):
        """Keeps the groups that are not empty.

        Args:
          groups: int32[N_g] each, the frames to draw from, with replacement.
          counts: places of each group in a batch.
          seed: decides all batches, together with the step.
        """
        self._groups = [(np.asarray(group, np.int32), count) for group, count in zip(groups, counts, strict=True)]
        self._seed = seed

    def sample(self, step: int) -> np.ndarray:
        """int32[sum of counts]: the frames of one step, group after group."""
        rng = np.random.default_rng([self._seed, step])
        return np.concatenate([group[rng.integers(len(group), size=count)] for group, count in self._groups])


def halves(batch_size: int) -> tuple[int, int]:
    """Places of what teaches, and of what is unlabelled: exactly half and half, or one more of the first."""
    return batch_size - batch_size // 2, batch_size // 2
