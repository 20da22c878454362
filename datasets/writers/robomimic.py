"""One HDF5 file in robomimic's layout, which robosuite's tools and many imitation learners read.

```
data/demo_0/actions rewards dones states obs/NAME next_obs/NAME extras/NAME    float or uint8[T - 1, ...] each
data/demo_0.attrs   num_samples, episode_metadata (JSON)
mask/train  mask/valid                                                  names of demos, by the store's split
```
A demo of robomimic is a list of transitions, so T frames make T - 1 rows: no frame is lost, and the last step's action
and reward, which mean nothing, are. Names have `_` for our `/`. Pictures are decoded. What a step has beyond RLDS is
kept in `extras`, texts included, for the first T - 1 frames; only a simulator's `states` stay beside the actions, where
the tools of robomimic and robosuite look for them.
"""

import dataclasses
import json
from collections.abc import Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import h5py
import numpy as np

from datasets import files, video
from datasets.episode import Episode
from datasets.errors import ArmchairError, BadEpisodeError
from datasets.features import StepSpec
from datasets.store import EpisodeRow
from datasets.writers.base import Part, flat_names


@dataclasses.dataclass(frozen=True)
class RobomimicWriter:
    """`OUT/NAME.hdf5`. See `base.Writer`."""

    name: str  # of the file
    spec: StepSpec

    @property
    def episodes_a_part(self) -> int | None:
        """All: an HDF5 file has one writer."""
        return None

    def check(self, rows: Sequence[EpisodeRow]) -> None:
        """Raises ArmchairError for episodes of one frame, which have no transition, and for names that clash."""
        if short := [row.episode_id for row in rows if row.num_steps < 2]:
            raise ArmchairError(
                f"{len(short)} episodes have no transition, {short[0]} for one: add min_steps=2 to the query"
            )
        list(flat_names(self.spec.observation, "_"))
        list(flat_names(self.spec.extras, "_"))

    def write(self, out: Path, part: Part, parts: int, episodes: Iterable[Episode]) -> dict[str, Any]:
        """The whole file."""
        masks: dict[str, list[str]] = {"train": [], "valid": []}
        with files.staged_file(out / f"{self.name}.hdf5") as staged, h5py.File(staged, "w") as file:
            data = file.create_group("data")
            total = 0
            for number, (row, episode) in enumerate(zip(part.rows, episodes, strict=True)):
                demo = data.create_group(f"demo_{number}")
                total += _write_demo(demo, episode)
                masks["valid" if row.split == "test" else "train"].append(f"demo_{number}")
            data.attrs["total"] = total
            robot, rate = part.rows[0].robot, part.rows[0].control_rate_hz
            environment = {"env_name": part.rows[0].task_id, "env_kwargs": {"robots": [robot], "control_freq": rate}}
            data.attrs["env_args"] = json.dumps(environment)
            for name, demos in masks.items():
                file[f"mask/{name}"] = np.array(demos, h5py.string_dtype())
        return {}

    def finish(self, out: Path, parts: Sequence[Part], facts: Sequence[Mapping[str, Any]]) -> None:
        """Nothing more: the file describes itself."""


def _write_demo(demo: h5py.Group, episode: Episode) -> int:
    """Returns the number of transitions."""
    for name, flat in flat_names(episode.observation, "_"):
        frames = _stored(f"observation/{name}", episode.observation[name])
        demo[f"obs/{flat}"], demo[f"next_obs/{flat}"] = frames[:-1], frames[1:]
    for name, flat in flat_names(episode.extras, "_"):
        demo["states" if name == "states" else f"extras/{flat}"] = _stored(name, episode.extras[name])[:-1]
    demo["actions"], demo["rewards"], demo["discounts"] = (
        episode.action[:-1],
        episode.reward[:-1],
        episode.discount[:-1],
    )
    demo["dones"] = episode.is_terminal[1:].astype(np.uint8)
    count = episode.num_steps - 1
    demo.attrs["num_samples"] = count
    demo.attrs["episode_metadata"] = json.dumps(dataclasses.asdict(episode.metadata))
    return count


def _stored(name: str, array: np.ndarray) -> np.ndarray:
    """What h5py can write, [T, ...]: pictures are decoded, texts get their own type."""
    if array.dtype != object:
        return array
    if isinstance(array[0], bytes):
        return video.decode_frames(array)
    for t, text in enumerate(array):
        if "\0" in text:
            raise BadEpisodeError(
                f"{name} has a text with NUL at step {t}, which HDF5 cannot hold: export as rlds, or leave it out by a "
                "mapping"
            )
    return array.astype(h5py.string_dtype())
