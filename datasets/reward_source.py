"""Where the rewards of a training come from: the log, a reward model, people, or nowhere."""

import dataclasses
import enum
from collections.abc import Callable, Sequence
from typing import Self

import numpy as np

from datasets import schema
from datasets.episode import Episode
from datasets.errors import ArmchairError, StoreError
from datasets.store import EpisodeRow, Store


class RewardKind(enum.StrEnum):
    """Where the rewards of a training come from."""

    TRUE = "true"  # as logged in the episodes: valid only for the task that they were recorded for
    MODEL = "model"  # a reward model's stored predictions
    SKETCH = "sketch"  # people's sketches
    NONE = "none"  # zeros, for imitation


@dataclasses.dataclass(frozen=True)
class RewardSource:
    """A kind of reward, and which one of it."""

    kind: RewardKind
    name: str = ""  # MODEL: the model's id

    @classmethod
    def parse(cls, text: str) -> Self:
        """From `true`, `none`, `sketch` or `model:<model id>`. Raises ArmchairError for any other text."""
        kind, _, name = text.partition(":")
        if kind not in set(RewardKind) or bool(name) != (kind == RewardKind.MODEL):
            raise ArmchairError(f"rewards {text!r} are not known: give true, none, sketch or model:<model id>")
        return cls(RewardKind(kind), name)

    def __str__(self) -> str:
        return f"{self.kind}:{self.name}" if self.name else str(self.kind)


def reward_function(
    store: Store, rows: Sequence[EpisodeRow], source: RewardSource, task_id: str
) -> Callable[[int, Episode], np.ndarray]:
    """Where to get the rewards of each episode's transitions.

    Args:
      store: that holds the episodes.
      rows: which episodes.
      source: which rewards.
      task_id: the task that is rewarded.

    Returns:
      A function of a number of a row and its episode that gives float[T - 1].

    Raises:
      ArmchairError: if rewards are missing for some episodes, or logged ones are for another task.
      StoreError: if rewards have another length than their episode.
    """
    if source.kind == RewardKind.NONE:
        return lambda number, episode: np.zeros(episode.num_steps - 1)
    if source.kind == RewardKind.TRUE:
        if foreign := sum(row.task_id != task_id for row in rows):
            raise ArmchairError(
                f"{foreign} of {len(rows)} episodes were recorded for another task, so their logged rewards are not "
                f"for {task_id}: select task_id={task_id}, or take a reward model's rewards"
            )
        return lambda number, episode: episode.reward[:-1]  # r_t belongs to (o_t, a_t, o_{t+1})
    if source.kind == RewardKind.MODEL:
        values = store.predictions(source.name, [row.episode_id for row in rows])
        remedy = f"run `armchair annotate` with model {source.name} over them"
    else:
        values = _mean_sketches(store, rows, task_id)
        remedy = "sketch them, or select episodes with has_sketch"
    if missing := sum(row.episode_id not in values for row in rows):
        raise ArmchairError(f"{missing} of {len(rows)} episodes have no rewards from {source}: {remedy}")
    for row in rows:
        if len(values[row.episode_id]) != row.num_steps:
            raise StoreError(
                f"the rewards from {source} for episode {row.episode_id} rate {len(values[row.episode_id])} frames, "
                f"but it has {row.num_steps}: {remedy}"
            )
    return lambda number, episode: schema.transition_rewards(values[rows[number].episode_id])


def _mean_sketches(store: Store, rows: Sequence[EpisodeRow], task_id: str) -> dict[str, np.ndarray]:
    """episode id -> float32[T]: the mean over annotators."""
    curves: dict[str, list[np.ndarray]] = {}
    for sequence in store.sketches(task_id, [row.episode_id for row in rows]):
        curves.setdefault(sequence.episode_id, []).append(sequence.values)
    return {episode_id: np.mean(values, axis=0) for episode_id, values in curves.items()}
