"""Training feeds: from stored episodes to batches.

`load_transitions` turns episodes into arrays that keep every frame once: a transition is the index of its frame, and
its successor is the next frame. `TransitionFeed` draws batches from them inside a TensorFlow graph (and
`datasets.sequences.SequenceFeed`, for recurrent learners, batches of stretches of them). Pictures are in memory if they
fit, else on disk (`datasets.frames`) and read ahead (`datasets.prefetch`). Which transitions make up batch number s
depends on (seed, s) alone, so a training that resumes at step s sees exactly what an uninterrupted one would have seen,
and nothing of the feed has to be saved.
"""

import abc
import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, NamedTuple

import numpy as np
import tensorflow as tf

from datasets import console, frames
from datasets.episode import Episode
from datasets.errors import ArmchairError, BadEpisodeError, SpecMismatchError
from datasets.features import ArraySpec
from datasets.frames import DiskArray
from datasets.prefetch import Prefetch
from datasets.reward_source import RewardSource, reward_function
from datasets.sight import Observation, Sight
from datasets.store import EpisodeRow, Store


@dataclasses.dataclass(frozen=True, eq=False)
class Transitions:
    """N transitions of E episodes with F frames in all; every frame is stored once.

    Transition n is `(o[frame[n]], action[n], reward[n], discount[n], o[next_frame[n]])`; T frames make T - 1. They lie
    in the order of their frames.
    """

    observation: Mapping[str, np.ndarray]  # without the pictures; sorted by name; float32[F, ...]
    frame: np.ndarray  # int32[N]: of o_t
    next_frame: np.ndarray  # int32[N]: of o_{t+1}; of o_{t+n}, if they span n steps
    action: np.ndarray  # float32[N, A]
    reward: np.ndarray  # float32[N], in [0, 1] unless logged otherwise
    discount: np.ndarray  # float32[N]: 0 where o_{t+1} is terminal
    episode: np.ndarray  # int32[N]: index into `episode_ids`
    episode_ids: tuple[str, ...]  # [E]
    inputs: Mapping[str, ArraySpec]  # shape and dtype of each observation as it was logged
    # Sorted by name; uint8[F, H, W, C], in memory or on disk: `pictures[name][frame]` is uint8[B, H, W, C] either way.
    pictures: Mapping[str, np.ndarray | DiskArray] = dataclasses.field(default_factory=dict)

    def __len__(self) -> int:
        """N."""
        return len(self.frame)

    @property
    def first(self) -> np.ndarray:
        """int[E]: the first transition of each episode."""
        return np.flatnonzero(np.diff(self.episode, prepend=-1))

    @property
    def picture_shapes(self) -> dict[str, tuple[int, ...]]:
        """(H, W, C) of each camera's, by name."""
        return {name: self.inputs[name].shape for name in self.pictures}

    def of_episodes(self, chosen: Sequence[bool]) -> np.ndarray:
        """int32: indices of the transitions that belong to the chosen episodes (bool[E])."""
        return np.flatnonzero(np.asarray(chosen, bool)[self.episode]).astype(np.int32)


def load_transitions(
    store: Store, rows: Sequence[EpisodeRow], keys: Sequence[str], rewards: RewardSource, task_id: str,
    memory: int | None = None,
) -> Transitions:  # fmt: skip
    """Reads episodes into memory, without their pictures if those are too many.

    Args:
      store: that holds the episodes.
      rows: which episodes, in this order.
      keys: which observations.
      rewards: where the rewards come from.
      task_id: the task that is rewarded.
      memory: bytes that decoded pictures may take up in memory; more of them go to disk, see `datasets.frames`. None: a
        quarter of the machine's.

    Raises:
      ArmchairError: if there is nothing to learn from, rewards are missing for some episodes, or the disk is full.
      SpecMismatchError: if episodes differ in their observations or actions.
      BadEpisodeError: if a number is not finite.
    """
    rows = [row for row in rows if row.num_steps >= 2]  # one frame alone makes no transition
    if not rows:
        raise ArmchairError("no episode with at least two steps was selected: widen the query")
    inputs = _inputs(store, rows, sorted(keys))
    vectors = [k for k, spec in inputs.items() if not spec.is_image]
    rewards_of = reward_function(store, rows, rewards, task_id)
    episodes = enumerate(console.track(store.read_many(rows), "loading episodes", len(rows)))
    parts = [_transitions_of(episode, vectors, rewards_of(number, episode)) for number, episode in episodes]
    lengths = [row.num_steps for row in rows]
    starts = np.cumsum([0, *lengths[:-1]])  # [E]: first frame of each episode
    frame = np.concatenate([s + np.arange(n - 1) for s, n in zip(starts, lengths, strict=True)]).astype(np.int32)
    return Transitions(
        observation={k: np.concatenate([part["observation"][k] for part in parts]) for k in vectors},
        frame=frame,
        next_frame=frame + np.int32(1),
        action=np.concatenate([part["action"] for part in parts]),
        reward=np.concatenate([part["reward"] for part in parts]),
        discount=np.concatenate([part["discount"] for part in parts]),
        episode=np.repeat(np.arange(len(rows)), np.array(lengths) - 1).astype(np.int32),
        episode_ids=tuple(row.episode_id for row in rows),
        inputs=inputs,
        pictures=frames.load(store, rows, {k: spec for k, spec in inputs.items() if spec.is_image}, memory),
    )


def n_step(transitions: Transitions, n: int, gamma: float) -> Transitions:
    """The same transitions, each reaching n steps ahead; fewer at an episode's end, which lies that near.

    Of one that reaches m steps ahead, with r and d of the given ones (Barth-Maron et al. 2018, as Acme stores them):

    - reward: sum over k < m of gamma^k d_t ... d_{t+k-1} r_{t+k};
    - discount: gamma^(m-1) d_t ... d_{t+m-1}, to which the learner adds one more gamma, as for one step.

    Args:
      transitions: of one step each.
      n: steps, at least 1.
      gamma: the learner's discount a step.
    """
    reward, discount, reached = (a.copy() for a in (transitions.reward, transitions.discount, transitions.next_frame))
    for k in range(1, n):
        near = np.flatnonzero(transitions.episode[k:] == transitions.episode[:-k])  # [M]: whose episode goes on so long
        reward[near] += np.float32(gamma) * discount[near] * transitions.reward[near + k]
        discount[near] *= np.float32(gamma) * transitions.discount[near + k]
        reached[near] = transitions.next_frame[near + k]
    return dataclasses.replace(transitions, reward=reward, discount=discount, next_frame=reached)


def _inputs(store: Store, rows: Sequence[EpisodeRow], keys: Sequence[str]) -> dict[str, ArraySpec]:
    """What the observations look like: the same in the datasets of all episodes, as are their actions."""
    specs = {name: store.spec(name) for name in {row.dataset for row in rows}}
    first = specs[rows[0].dataset]
    for row in rows:
        spec = specs[row.dataset]
        if missing := [k for k in keys if k not in spec.observation]:
            raise SpecMismatchError(
                f"episode {row.episode_id} has no observation {missing[0]!r}: select other observations or episodes"
            )
        if spec.action.shape != first.action.shape or any(spec.observation[k] != first.observation[k] for k in keys):
            raise SpecMismatchError(
                f"episodes {rows[0].episode_id} and {row.episode_id} differ in the shapes of their observations or "
                "actions: train on datasets of one robot, or select other observations"
            )
    return {k: first.observation[k] for k in keys}


def _transitions_of(episode: Episode, keys: Sequence[str], rewards: np.ndarray) -> dict[str, Any]:
    """One episode's arrays. The last step's action, reward and discount are not valid and are left out."""
    part: dict[str, Any] = {
        "observation": {k: episode.observation[k].astype(np.float32) for k in keys},  # [T, ...]
        "action": episode.action[:-1].astype(np.float32),  # [T - 1, A]
        "reward": rewards.astype(np.float32),  # [T - 1]
        "discount": episode.discount[:-1].astype(np.float32),  # [T - 1]; validation saw to the 0 before a terminal
    }
    flat = {**part["observation"], **{k: part[k] for k in ("action", "reward", "discount")}}
    for field, values in flat.items():
        if not np.isfinite(values).all():
            name, step = episode.metadata.episode_id, np.argwhere(~np.isfinite(values))[0, 0]
            raise BadEpisodeError(f"{field!r} of episode {name} is not finite at step {step}: leave the episode out")
    return part


class Batch(NamedTuple):
    """B transitions. Where they have pictures, each observation is an `Observation`; else a vector."""

    observation: tf.Tensor | Observation  # [B, D]
    action: tf.Tensor  # [B, A]
    reward: tf.Tensor  # [B]
    discount: tf.Tensor  # [B]
    next_observation: tf.Tensor | Observation  # [B, D]


@dataclasses.dataclass(frozen=True, eq=False)
class Group:
    """Transitions that fill a fixed number of places in every batch."""

    indices: np.ndarray  # int32[n]: transitions to draw from, uniformly with replacement
    count: int  # places in each batch


def mixture(
    transitions: Transitions,
    rest: Sequence[bool],
    shares: Mapping[str, tuple[float, Sequence[bool]]],
    batch_size: int,
) -> list[Group]:
    """How each batch is made up: fixed shares of some episodes, and the rest of others.

    Args:
      transitions: of all of them.
      rest: bool[E], the episodes that fill what the shares leave.
      shares: name of a group (say, "task") -> its share of the batch, and its episodes, bool[E]. They are rounded to
        whole places so that together they miss their sum by half a place at most. Episodes may be in several groups.
      batch_size: places in a batch, over all groups.

    Raises:
      ArmchairError: if places are asked of no episode at all, or a share is too small for one place.
    """
    ends = np.rint(np.cumsum([0.0, *(share for share, _ in shares.values())]) * batch_size).astype(int)
    groups = {"selected": (batch_size - int(ends[-1]), rest)}
    for (name, (share, episodes)), count in zip(shares.items(), np.diff(ends).tolist(), strict=True):
        if share and not count:
            raise ArmchairError(
                f"a share of {share:g} for {name} episodes is no place in a batch of {batch_size}: raise it, or set it "
                "to 0"
            )
        groups[name] = (count, episodes)
    made = []
    for name, (count, episodes) in groups.items():
        if count:
            made.append(Group(transitions.of_episodes(episodes), count))
            if not len(made[-1].indices):
                raise ArmchairError(
                    f"{count} of {batch_size} places in each batch are for {name} episodes, but there are none: select "
                    "some, or set their share to 0"
                )
    return made


class Draws:
    """Which members of its groups batch number `step` consists of: a function of (seed, step) alone."""

    def __init__(self, groups: Sequence[Group], seed: int):
        """Puts the groups where TensorFlow can gather from them."""
        self._groups = [(tf.constant(group.indices), group.count) for group in groups]
        self._seed = seed

    def __call__(self, step: tf.Tensor) -> tf.Tensor:
        """int32[B], group after group, for a scalar integer."""
        drawn = []
        for number, (pool, count) in enumerate(self._groups):
            # The step fills one half of the random key; seed and group share the other.
            key = tf.stack([tf.constant(self._seed * 1_000 + number, tf.int64), tf.cast(step, tf.int64)])
            places = tf.random.stateless_uniform((count,), key, maxval=tf.size(pool), dtype=tf.int32)
            drawn.append(tf.gather(pool, places))
        return tf.concat(drawn, 0)


class Feed(abc.ABC):
    """Batches, gathered inside the graph; pictures on disk are read ahead, in the background."""

    def __init__(self, observation: tf.Tensor, transitions: Transitions, groups: Sequence[Group], seed: int):
        """Puts the arrays where TensorFlow can gather from them; whoever inherits must be ready to gather.

        Args:
          observation: float32[F, D], a vector for each frame of `transitions`.
          transitions: the rest.
          groups: how each batch is made up.
          seed: decides all batches.
        """
        self._see = Sight(observation, transitions.pictures)
        self._frame = tf.constant(transitions.frame)
        self._action = tf.constant(transitions.action)
        self._reward = tf.constant(transitions.reward)
        self._discount = tf.constant(transitions.discount)
        self.indices = Draws(groups, seed)
        self._batch = Prefetch(self._gather) if self._see.reads_from_disk else self._gather

    def __call__(self, step: tf.Tensor) -> Any:
        """Batch number `step`."""
        return self._batch(step)

    @property
    def problem(self) -> Exception | None:
        """What kept batches from being read, where they are read from disk."""
        return self._batch.problem if isinstance(self._batch, Prefetch) else None

    @abc.abstractmethod
    def _gather(self, step: tf.Tensor) -> Any:
        """Batch number `step`, from the arrays."""


class TransitionFeed(Feed):
    """Batches of transitions."""

    def __init__(self, observation: tf.Tensor, transitions: Transitions, groups: Sequence[Group], seed: int):
        """As `Feed`."""
        self._next_frame = tf.constant(transitions.next_frame)
        super().__init__(observation, transitions, groups, seed)

    def _gather(self, step: tf.Tensor) -> Batch:
        frames, action, reward, discount = self._choose(step)
        both = self._see(frames)  # at once: where they are neighbours on disk, they are read together
        ends = [tf.unstack(part) for part in tf.nest.flatten(both)]  # no copy
        before, after = (tf.nest.pack_sequence_as(both, end) for end in zip(*ends, strict=True))
        return Batch(before, action, reward, discount, after)

    @tf.function(autograph=False)  # for batches that are read ahead, outside of graphs
    def _choose(self, step: tf.Tensor) -> tuple[tf.Tensor, ...]:
        """Batch number `step`: frames at both ends, int32[2, B], and what lies between."""
        chosen = self.indices(step)  # [B]
        ends = tf.stack([tf.gather(self._frame, chosen), tf.gather(self._next_frame, chosen)])
        return ends, *(tf.gather(part, chosen) for part in (self._action, self._reward, self._discount))
