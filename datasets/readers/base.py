"""What every reader of foreign logs has in common.

A *log* is a folder of files that hold episodes. Reading never stops at a bad one: it says what is wrong with it and
goes on.
"""

import dataclasses
import hashlib
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Protocol

import numpy as np

from datasets import schema
from datasets.episode import Episode
from datasets.errors import BadEpisodeError
from datasets.rewards import RewardSequence


@dataclasses.dataclass(frozen=True)
class Defaults:
    """What a log may not say of its episodes. Used only where it does not."""

    task_id: str = ""  # the task that the robot was at
    robot: str = ""  # e.g. widowx
    episode_type: schema.EpisodeType = schema.EpisodeType.AGENT
    control_rate_hz: float = schema.CONTROL_RATE_HZ


NO_DEFAULTS = Defaults()
"""A reader that is told nothing more."""


@dataclasses.dataclass(frozen=True, eq=False)
class Reading:
    """One episode of a log, or the reasons why it cannot be had."""

    where: str  # file, and number of the record in it
    episode: Episode | None  # None: it cannot be read
    problems: tuple[str, ...] = ()  # what cannot be read; beside an episode, what of it was left out
    record: bytes | None = None  # the bytes that it was to be read from, if they are in one piece
    sketches: tuple[RewardSequence, ...] = ()  # that came with the episode


class Log(Protocol):
    """A folder of episode files. Picklable: workers get it whole, and one file of it at a time."""

    @property
    def name(self) -> str:
        """The name of the data, for the dataset that it goes into."""

    def files(self) -> list[Path]:
        """The files, sorted. One that ought to be there but is not is listed too, and `read` says so."""

    def count(self, file: Path) -> int:
        """How many episodes a file seems to hold, found out without reading them."""

    def read(self, file: Path) -> Iterator[Reading]:
        """Every episode of a file, good or bad, in order."""


def content_id(fields: Mapping[str, np.ndarray]) -> str:
    """32 hex digits for an episode that has no id of its own: equal steps give equal ids, wherever they lie."""
    digest = hashlib.sha256()
    for name, array in sorted(fields.items()):
        digest.update(f"{name}{array.dtype}{array.shape}".encode())
        if array.dtype == object:
            for item in array:
                content = item.encode() if isinstance(item, str) else item
                digest.update(len(content).to_bytes(8, "little") + content)
        else:
            digest.update(np.ascontiguousarray(array).tobytes())
    return digest.hexdigest()[:32]


def join_action(parts: Mapping[str, np.ndarray], where: str, repairs: list[str]) -> np.ndarray:
    """float32[T, A] from one tensor of floats, or from several tensors of numbers, in sorted order.

    Args:
      parts: name -> [T, ...]; `action` alone needs no word.
      where: the episode, for messages.
      repairs: gets a sentence if something had to be changed.

    Raises:
      BadEpisodeError: if there is none, or none that is made of real numbers.
    """
    names = sorted(parts)
    found = ", ".join(f"{k} {parts[k].dtype}{list(parts[k].shape[1:])}" for k in names) or "none"
    numeric = all(part.dtype.kind in "biuf" for part in parts.values())
    if not numeric or not any(part.dtype.kind == "f" for part in parts.values()):
        raise BadEpisodeError(f"{where} has no action of real numbers (found: {found}): only such episodes can be kept")
    action = np.concatenate([parts[k].reshape(len(parts[k]), -1).astype(np.float32) for k in names], axis=1)  # [T, A]
    if names != ["action"] or parts["action"].dtype != np.float32 or parts["action"].ndim != 2:
        repairs.append(f"action was {found} and is now float32[{action.shape[1]}] in that order.")
    return action
