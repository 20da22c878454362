"""Minari's datasets: `data/main_data.hdf5` with a group `episode_N` each, and `metadata.json` beside it.

An episode has one observation more than actions, as ours has. Spaces may be nested: those of a dictionary are groups,
those of a tuple are groups with members `_index_0`, `_index_1`; names are joined by `/`. Pictures are arrays, or JPEG
(0.5.3), which is kept as it is. Older files (0.4) say in attributes what newer ones (0.5) say in metadata.json. See
github.com/Farama-Foundation/Minari.
"""

import contextlib
import dataclasses
import functools
import re
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import h5py

from datasets.episode import EpisodeMetadata
from datasets.errors import BadEpisodeError
from datasets.readers import hdf5
from datasets.readers.base import Reading
from datasets.readers.recordings import Recording

_EPISODE = re.compile(r"episode_\d+")
_METADATA = "metadata.json"


@dataclasses.dataclass(frozen=True)
class MinariLog(hdf5.Hdf5Log):
    """One dataset. See `datasets.readers.base.Log`."""

    @staticmethod
    def fits(log: h5py.File) -> bool:
        """Whether there are groups `episode_N`."""
        return any(_EPISODE.fullmatch(name) and isinstance(log.get(name), h5py.Group) for name in log)

    @property
    def name(self) -> str:
        """`minari_...`: the dataset's id, or else the name of its folder."""
        said: dict[str, Any] = {}
        with contextlib.suppress(BadEpisodeError), hdf5.opened(self.path) as log:
            said = self._said(log)
        return hdf5.dataset_name("minari", str(said.get("dataset_id") or self.path.parent.parent.name))

    def _said(self, log: h5py.File) -> dict[str, Any]:
        """What is told of the dataset: by the attributes, and by the file beside."""
        beside = self.path.with_name(_METADATA)
        said = hdf5.attributes(log, self.path)
        if beside.is_file():
            with hdf5.telling(beside):
                said |= hdf5.parsed(beside.read_text()) or {_METADATA: "damaged"}
        return said

    def _count(self, log: h5py.File) -> int:
        return len(log)

    def _readings(self, log: h5py.File) -> Iterator[tuple[str, Callable[[str], Reading]]]:
        said = self._said(log)
        with hdf5.telling(self.path):
            episodes = hdf5.members(log)
        for name in episodes:
            yield name, functools.partial(self._episode, log, name, said)

    def _episode(self, log: h5py.File, name: str, said: Mapping[str, Any], where: str) -> Reading:
        group = hdf5.group(log, name, where)
        recording = Recording(where, hdf5.arrays(group, where))
        of_episode = hdf5.attributes(group, where)
        recording.note(dict(said) | of_episode)
        action = recording.action("actions")
        num_actions = len(action)
        observation = recording.branch("observations")
        for key, frames in observation.items():
            recording.check_length(f"observations/{key}", frames, num_actions + 1)
        if of_episode.get("total_steps", num_actions) != num_actions:
            recording.repairs.append(f"total_steps was {of_episode['total_steps']} for {num_actions} actions.")
        terminated, truncated = (recording.flag(flag, num_actions) for flag in ("terminations", "truncations"))
        if not terminated and not truncated:
            recording.repairs.append("The end was neither terminated nor truncated; it is now taken for a time limit.")
        seed = of_episode.get("seed")
        metadata = EpisodeMetadata(
            "", str(hdf5.parsed(said.get("env_spec")).get("id") or self.defaults.task_id), self.defaults.episode_type,
            robot=self.defaults.robot,
            seed=seed if isinstance(seed, int) and seed >= 0 else -1,
            control_rate_hz=self.defaults.control_rate_hz,
        )  # fmt: skip
        reward = recording.numbers("rewards", num_actions)
        return recording.reading(metadata, observation, action, reward, bool(terminated))
