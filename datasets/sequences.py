"""Training feeds for recurrent learners: batches of stretches of episodes."""

import dataclasses
from collections.abc import Sequence
from typing import NamedTuple

import numpy as np
import tensorflow as tf

from datasets.errors import ArmchairError
from datasets.feeds import Draws, Group, Transitions


class SequenceBatch(NamedTuple):
    """B stretches of L transitions each, time first; their observations are L + 1 vectors.

    Transition t of a stretch is `(observation[t], action[t], reward[t], discount[t], observation[t + 1])`. Where an
    episode is shorter, the mask is 0, rewards and discounts are 0, and the rest repeats what came last.
    """

    observation: tf.Tensor  # [L + 1, B, D]
    action: tf.Tensor  # [L, B, A]
    reward: tf.Tensor  # [L, B]
    discount: tf.Tensor  # [L, B]
    mask: tf.Tensor  # [L, B]: 1 where there is a transition, else 0


def starts(transitions: Transitions, length: int) -> np.ndarray:
    """Where a stretch may begin, int32[...], as indices of one-step transitions.

    Everywhere from where the episode goes on for the whole length; and at the beginning of an episode that is shorter.

    Raises:
      ArmchairError: if the length is not positive.
    """
    if length < 1:
        raise ArmchairError(f"a sequence of {length} transitions is none: give at least 1")
    position = np.arange(len(transitions))
    fits = position + length <= _ends(transitions)
    begins = np.append(True, transitions.episode[1:] != transitions.episode[:-1])
    return np.flatnonzero(fits | begins).astype(np.int32)


def _ends(transitions: Transitions) -> np.ndarray:
    """int64[N]: one past the last transition of each one's episode; episodes lie one after the other."""
    return np.searchsorted(transitions.episode, transitions.episode, side="right")


class SequenceFeed:
    """Batches of stretches, gathered from memory inside the graph."""

    def __init__(
        self, observation: tf.Tensor, transitions: Transitions, groups: Sequence[Group], length: int, seed: int
    ):
        """Puts the arrays where TensorFlow can gather from them.

        Args:
          observation: float32[F, D], a vector for each frame of `transitions`.
          transitions: of one step each.
          groups: how each batch is made up; of their members, those count at which a stretch may begin.
          length: L, transitions of a stretch.
          seed: decides all batches.

        Raises:
          ArmchairError: if the length is not positive.
        """
        self._length = length
        self._observation = tf.convert_to_tensor(observation)  # captured by graphs, never copied into them
        self._frame = tf.constant(transitions.frame)
        self._action = tf.constant(transitions.action)
        self._reward = tf.constant(transitions.reward)
        self._discount = tf.constant(transitions.discount)
        self._last = tf.constant(_ends(transitions) - 1, tf.int32)  # of the episode
        allowed = starts(transitions, length)
        possible = [dataclasses.replace(group, indices=np.intersect1d(group.indices, allowed)) for group in groups]
        self.indices = Draws(possible, seed)

    def __call__(self, step: tf.Tensor) -> SequenceBatch:
        """Batch number `step`."""
        first = self.indices(step)  # [B]
        last = tf.gather(self._last, first)  # [B]
        wanted = first + tf.range(self._length)[:, None]  # [L, B]
        mask = tf.cast(wanted <= last, tf.float32)
        chosen = tf.minimum(wanted, last)
        after = tf.minimum(tf.range(1, self._length + 1)[:, None], last - first + 1)  # frames since the first, [L, B]
        frames = tf.gather(self._frame, first) + tf.concat([tf.zeros_like(first)[None], after], 0)  # [L + 1, B]
        return SequenceBatch(
            tf.gather(self._observation, frames),
            tf.gather(self._action, chosen),
            tf.gather(self._reward, chosen) * mask,
            tf.gather(self._discount, chosen) * mask,
            mask,
        )
