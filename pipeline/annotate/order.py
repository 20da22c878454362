"""In which order episodes are sketched, and which of them twice: for people and for the simulated annotator alike."""

import collections
import hashlib
from collections.abc import Iterable
from typing import TypeVar

from datasets.episode import EpisodeMetadata
from datasets.schema import EpisodeType

M = TypeVar("M", bound=EpisodeMetadata)


def in_order(episodes: Iterable[M], seed: int) -> list[M]:
    """Which episodes to sketch first: demonstrations, then an equal share of every policy and verdict.

    A reward model learns from contrast: successes, failures and near misses of many policies. Within a group the
    order is random; groups take turns.

    Args:
      episodes: in any order.
      seed: decides the random order, together with the episodes' ids.
    """

    def shuffled(episode: M) -> bytes:
        return hashlib.sha256(f"{seed}/{episode.episode_id}".encode()).digest()

    turns: collections.Counter[tuple[str, str]] = collections.Counter()
    queue = []
    for episode in sorted(episodes, key=shuffled):
        group = (episode.policy_id, episode.verdict)
        turns[group] += 1
        queue.append(((not is_demonstration(episode), turns[group], shuffled(episode)), episode))
    return [episode for _, episode in sorted(queue, key=lambda item: item[0])]


def is_demonstration(episode: EpisodeMetadata) -> bool:
    """Whether a person showed the task."""
    return episode.episode_type == EpisodeType.TELEOPERATION


def wants_second_opinion(episode_id: str, task_id: str, share: float) -> bool:
    """Whether two people sketch the episode: a property of its id and the task, so that nobody chooses."""
    digest = hashlib.sha256(f"second opinion/{task_id}/{episode_id}".encode()).digest()
    return int.from_bytes(digest[:8], "big") < share * 2**64
