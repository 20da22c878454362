"""Training feeds for recurrent learners: batches of stretches of episodes."""

import dataclasses
from collections.abc import Sequence
from typing import Any, NamedTuple, Self

import numpy as np
import tensorflow as tf

from datasets.errors import ArmchairError
from datasets.feeds import Batch, Feed, Group, Transitions
from datasets.sight import Observation


class SequenceBatch(NamedTuple):
    """B stretches of L transitions each, time first; their observations are L + 1 vectors.

    Transition t of a stretch is `(observation[t], action[t], reward[t], discount[t], observation[reached[t]])`. Where
    an episode is shorter, the mask is False, rewards and discounts are 0, and the rest repeats what came last.
    """

    observation: tf.Tensor | Observation  # [L + 1, B, D]
    action: tf.Tensor  # [L, B, A]
    reward: tf.Tensor  # [L, B]
    discount: tf.Tensor  # [L, B]
    reached: tf.Tensor  # int32[L, B], in 1 ... L: where the transition leads; t + 1, if it spans one step
    mask: tf.Tensor | None  # bool[L, B]: whether there is a transition; None: everywhere

    @classmethod
    def of(cls, batch: Batch) -> Self:
        """Single transitions as stretches of one."""
        both = (batch.observation, batch.next_observation)
        observation = tf.nest.map_structure(lambda *pair: tf.stack(pair), *both)
        action, reward, discount = (part[None] for part in (batch.action, batch.reward, batch.discount))
        return cls(observation, action, reward, discount, tf.ones_like(reward, tf.int32), None)

    @property
    def before(self) -> Any:
        """The observations in which the actions were taken, [L, B, ...]."""
        return tf.nest.map_structure(lambda part: part[:-1], self.observation)

    @property
    def after(self) -> Any:
        """The observations that followed one step later, [L, B, ...]."""
        return tf.nest.map_structure(lambda part: part[1:], self.observation)

    def rows(self, values: tf.Tensor) -> tf.Tensor:
        """Of values [L, B, ...] those that belong to a transition, one row each: [N, ...]."""
        length, batch, *rest = values.shape
        length, batch = (tf.shape(values)[axis] if size is None else size for axis, size in enumerate((length, batch)))
        flat = tf.reshape(values, (length * batch, *rest))
        return flat if self.mask is None else tf.gather(flat, tf.where(tf.reshape(self.mask, (-1,)))[:, 0])

    def where_they_lead(self, values: tf.Tensor) -> tf.Tensor:
        """Of values [L, B, ...] at observations 1 ... L, those where each transition leads, as `rows`: [N, ...].

        What comes before the last L values is left out.
        """
        length = self.action.shape[0]
        values = values[-length:]
        if length == 1:
            return self.rows(values)
        across = tf.broadcast_to(tf.range(tf.shape(values)[1]), tf.shape(self.reached))
        return self.rows(tf.gather_nd(values, tf.stack([self.reached - 1, across], -1)))


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


class SequenceFeed(Feed):
    """Batches of stretches."""

    def __init__(
        self, observation: tf.Tensor, transitions: Transitions, groups: Sequence[Group], length: int, seed: int,
        n_step: int = 1, gamma: float = 1.0,
    ):  # fmt: skip
        """As `Feed`.

        Args:
          observation: float32[F, D], a vector for each frame of `transitions`.
          transitions: of one step each.
          groups: how each batch is made up; of their members, those count at which a stretch may begin.
          length: L, transitions of a stretch.
          seed: decides all batches.
          n_step: steps that a transition spans, as `feeds.n_step`; fewer at the end of the episode or of the stretch.
          gamma: the learner's discount a step, for these.

        Raises:
          ArmchairError: if the length is not positive.
        """
        self._length, self._n_step, self._gamma = length, n_step, gamma
        self._last = tf.constant(_ends(transitions) - 1, tf.int32)  # of the episode
        allowed = starts(transitions, length)
        possible = [dataclasses.replace(group, indices=np.intersect1d(group.indices, allowed)) for group in groups]
        super().__init__(observation, transitions, possible, seed)

    def _gather(self, step: tf.Tensor) -> SequenceBatch:
        first = self.indices(step)  # [B]
        last = tf.gather(self._last, first)  # [B]
        wanted = first + tf.range(self._length)[:, None]  # [L, B]
        mask = wanted <= last
        chosen = tf.minimum(wanted, last)
        after = tf.minimum(tf.range(1, self._length + 1)[:, None], last - first + 1)  # frames since the first, [L, B]
        frames = tf.gather(self._frame, first) + tf.concat([tf.zeros_like(first)[None], after], 0)  # [L + 1, B]
        inside = tf.cast(mask, tf.float32)
        reward, discount, reached = self._span(
            tf.gather(self._reward, chosen) * inside, tf.gather(self._discount, chosen) * inside, mask
        )
        return SequenceBatch(self._see(frames), tf.gather(self._action, chosen), reward, discount, reached, mask)

    def _span(self, reward: tf.Tensor, discount: tf.Tensor, mask: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor, tf.Tensor]:
        """Rewards, discounts and places reached, [L, B] each, after `n_step` steps of what happens at each."""
        summed, product = reward, discount
        reached = tf.broadcast_to(tf.range(1, self._length + 1)[:, None], tf.shape(mask))
        for k in range(1, min(self._n_step, self._length)):
            later_reward, later_discount, near = (
                tf.pad(part[k:], ((0, k), (0, 0))) for part in (reward, discount, mask)
            )
            summed += self._gamma * product * later_reward
            product = tf.where(near, self._gamma * product * later_discount, product)
            reached += tf.cast(near, tf.int32)
        return summed, product, reached
