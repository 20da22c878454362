"""A simulated annotator: sketches as a person would draw them, from the progress that a simulator knows.

People agree on the *order* of frames within an episode, not on a scale (recalled of Cabi et al., arXiv 1909.12200,
unverified). So each episode gets its own random monotone distortion of true progress, and on top what people do
wrong: a trembling hand, a late hand, and now and then a stretch of the video misjudged. 0 stays 0 and 1 stays 1,
because people do know whether a task is solved.
"""

import dataclasses
import hashlib
from collections.abc import Sequence
from typing import TypeVar

import numpy as np

from datasets.episode import Episode, EpisodeMetadata
from datasets.errors import ArmchairError
from datasets.rewards import RewardSequence
from datasets.schema import PROGRESS
from pipeline import config as configs
from pipeline.annotate.order import in_order


@dataclasses.dataclass(frozen=True)
class AnnotatorConfig:
    """Who sketches, and how badly. Every number is our choice."""

    seed: int = 0
    """The person: another seed, another hand."""
    by_time: bool = False
    """Take the time that has passed for progress: for successful logs without a simulator's `progress`."""
    distortion: float = 0.7
    """How unevenly a sketch's scale is stretched, from 0 (true to scale) to 1 (at random)."""
    tremble: float = 0.02
    """Standard deviation of the hand's wandering, in units of the sketch."""
    lag: int = 2
    """Most frames that the hand follows behind the video (0.2 s at 10 Hz); drawn per episode."""
    mistakes: float = 0.1
    """Probability that a stretch of an episode is misjudged, as a false dip or peak."""
    user: str = "simulated"
    """The author's name on the sketches."""


M = TypeVar("M", bound=EpisodeMetadata)

_KNOTS = 4  # stretches of the scale that are stretched or squeezed, each by its own factor
_HAND_FRAMES = 5  # the hand wanders smoothly: white noise averaged over so many frames
_MISTAKE_LENGTH = (0.1, 0.25)  # of the episode
_MISTAKE_HEIGHT = (0.3, 0.6)


def sketch(episode: Episode, task_id: str, config: AnnotatorConfig) -> RewardSequence:
    """The sketch that the simulated annotator draws over one episode; depends on the arguments alone.

    Raises:
      ArmchairError: if the episode does not tell its progress in the task (and `by_time` is off).
    """
    metadata = episode.metadata
    if config.by_time:
        progress = np.linspace(0, 1, episode.num_steps)
    elif metadata.task_id != task_id or PROGRESS not in episode.extras:
        raise ArmchairError(
            f"episode {metadata.episode_id} (task {metadata.task_id!r}) does not record its progress in {task_id!r}: "
            "choose episodes of that task from a simulator, or let the annotator sketch by time"
        )
    else:
        progress = episode.extras[PROGRESS]
    return RewardSequence(
        metadata.episode_id,
        task_id,
        draw(np.ravel(progress), config, _rng(config.seed, metadata.episode_id, task_id)),
        sequence_id=f"{config.user}-{task_id}-{configs.fingerprint(config)[:8]}",
        user=config.user,
        timestamp=metadata.timestamp,  # not the clock: the same simulation writes the same bytes
        tool="armchair simulated annotator",
    )


def draw(progress: np.ndarray, config: AnnotatorConfig, rng: np.random.Generator) -> np.ndarray:
    """Bends, delays and spoils a curve of true progress.

    Args:
      progress: float[T] in [0, 1].
      config: how badly.
      rng: decides everything else.

    Returns:
      float32[T] in [0, 1].
    """
    length = len(progress)
    knots = np.linspace(0, 1, _KNOTS + 1)
    stretches = (1 - config.distortion) / _KNOTS + config.distortion * rng.dirichlet(np.full(_KNOTS, 2.0))
    values = np.interp(progress, knots, np.append(0, np.cumsum(stretches)))  # [T]; monotone, 0 -> 0, 1 -> 1

    delay = rng.integers(config.lag + 1)
    values = values[np.maximum(np.arange(length) - delay, 0)]

    if rng.random() < config.mistakes:
        width = max(2, round(length * rng.uniform(*_MISTAKE_LENGTH)))
        start = rng.integers(max(1, length - width))
        bump = rng.choice((-1, 1)) * rng.uniform(*_MISTAKE_HEIGHT) * np.hanning(width + 2)[1:-1]
        values[start : start + width] += bump[: length - start]

    noise = np.convolve(rng.normal(size=length + _HAND_FRAMES - 1), np.ones(_HAND_FRAMES), "valid")  # [T]
    values = values + config.tremble * noise / np.sqrt(_HAND_FRAMES)
    return np.clip(values, 0, 1).astype(np.float32)


def choose_episodes(episodes: Sequence[M], count: int, seed: int) -> list[M]:
    """The first `count` episodes of the queue that people work off too; all, if there are no more. See `order`."""
    return in_order(episodes, seed)[:count]


def _rng(*seeds: object) -> np.random.Generator:
    digest = hashlib.sha256("/".join(map(str, seeds)).encode()).digest()
    return np.random.default_rng(np.frombuffer(digest, np.uint32))
