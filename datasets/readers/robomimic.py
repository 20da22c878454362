"""Demonstrations that robosuite's people recorded, and what robomimic makes of them: `data/demo_N/...` in HDF5.

- *robomimic*: `actions`, `rewards`, `dones`, `obs/...` and often `next_obs/...`; `env_args` tells of the environment,
  and `mask/NAME` lists the demonstrations of a subset, which become tags.
- *robosuite*, as recorded: `states` of the simulator and `actions`, with `env_info`; no observations. The states stand
  for them. In the 2nd generation, before controllers, an action is in parts: how the hands move, and the grippers.

`obs` and `states` are those before each action. A model's XML stays where it is; `metadata.source` has its SHA-256, or
the name of its file. See Mandlekar et al. 2021 (arXiv 2108.03298) and Zhu et al. 2020 (arXiv 2009.12293).
"""

import contextlib
import dataclasses
import functools
from collections.abc import Callable, Iterator, Mapping, Sequence
from typing import Any

import h5py
import numpy as np

from datasets.episode import EpisodeMetadata
from datasets.errors import BadEpisodeError
from datasets.readers import hdf5
from datasets.readers.base import Reading
from datasets.readers.recordings import Recording

_ACTION_PARTS = ("right_dpos", "right_dquat", "left_dpos", "left_dquat", "gripper_actuations")  # of the 2nd generation
_MARKS = {"actions", "obs", "states"}  # of a demonstration
_ABOUT = ("env_args", "env_info")  # JSON about the environment: robomimic's, robosuite's


@dataclasses.dataclass(frozen=True)
class RobomimicLog(hdf5.Hdf5Log):
    """A file of demonstrations. See `datasets.readers.base.Log`."""

    @staticmethod
    def fits(log: h5py.File) -> bool:
        """Whether there is a group `data` that tells of its environment, or holds a demonstration."""
        data = log.get("data")
        return isinstance(data, h5py.Group) and (
            any(name in data.attrs for name in ("env", *_ABOUT))
            or any(isinstance(demo := data.get(name), h5py.Group) and {*demo} & _MARKS for name in data)
        )

    @property
    def name(self) -> str:
        """`robomimic_ENVIRONMENT_ROBOT_FILE`, or `robosuite_...` for demonstrations as recorded."""
        about = _About({})
        with contextlib.suppress(BadEpisodeError), hdf5.opened(self.path) as log:
            about = _About.of(log)
        kind = "robomimic" if "env_args" in about.said else "robosuite"
        return hdf5.dataset_name(kind, about.env, about.robot, self.path.stem)

    def _count(self, log: h5py.File) -> int:
        return len(log["data"])

    def _readings(self, log: h5py.File) -> Iterator[tuple[str, Callable[[str], Reading]]]:
        about, (tags, problems) = _About.of(log), _tags(log, str(self.path))
        with hdf5.telling(self.path):
            demos = hdf5.members(log["data"])
        for demo in demos:
            yield demo, functools.partial(self._demo, log, demo, about, tags.get(demo, []), problems)

    def _demo(
        self, log: h5py.File, demo: str, about: "_About", tags: Sequence[str], problems: Sequence[str], where: str
    ) -> Reading:
        group = hdf5.group(log["data"], demo, where)
        recording = Recording(where, hdf5.arrays(group, where))
        recording.problems += problems
        said = hdf5.attributes(group, where)
        recording.note({**about.said, **said})
        action = recording.action("actions") if "actions" in group else recording.action(*_ACTION_PARTS)
        rate = about.control_rate_hz
        frames = recording.branch("obs")
        if frames:
            frames = recording.with_outcome(frames, "next_obs", len(action))
        elif (states := recording.take("states")) is not None:
            frames = {"states": states}
            recording.repairs.append("There were no observations; the simulator's states stand for them.")
            if not rate and "env_args" not in about.said and (rate := _rate_of(states)):
                recording.repairs.append("control_rate_hz was not told; it is by the times in states.")
        if said.get("num_samples", len(action)) != len(action):
            recording.repairs.append(f"num_samples was {said['num_samples']} for {len(action)} actions.")
        metadata = EpisodeMetadata(
            "", about.env or self.defaults.task_id, self.defaults.episode_type,
            robot=about.robot or self.defaults.robot,
            control_rate_hz=rate or self.defaults.control_rate_hz,
            tags=",".join(tags),
        )  # fmt: skip
        reward, is_done = recording.numbers("rewards", len(action)), recording.flag("dones", len(action))
        return recording.reading(metadata, frames, action, reward, bool(is_done))


@dataclasses.dataclass(frozen=True)
class _About:
    """What a file says of its environment."""

    said: Mapping[str, Any]  # attributes of the group `data`

    @classmethod
    def of(cls, log: h5py.File) -> "_About":
        return cls(hdf5.attributes(log["data"], log.filename))

    @property
    def env(self) -> str:
        """Its name; empty: not told, like what follows."""
        return str(hdf5.parsed(self.said.get("env_args")).get("env_name") or self.said.get("env") or "")

    @property
    def _arguments(self) -> dict[str, Any]:
        arguments = hdf5.parsed(self.said.get("env_args")).get("env_kwargs")
        return arguments if isinstance(arguments, dict) else hdf5.parsed(self.said.get("env_info"))

    @property
    def robot(self) -> str:
        """`Panda`; `Panda+Panda` of two."""
        robots = self._arguments.get("robots") or ""
        return robots if isinstance(robots, str) else "+".join(map(str, robots))

    @property
    def control_rate_hz(self) -> float:
        """0: not told."""
        rate = self._arguments.get("control_freq")
        return float(rate) if isinstance(rate, int | float) else 0.0


def _rate_of(states: np.ndarray) -> float:
    """Control steps a second by the first number of MuJoCo's flat states, the time in seconds; 0: it is none."""
    times = states[:, 0] if states.ndim == 2 else np.zeros(0)
    if len(times) < 2 or not (np.diff(times) > 0).all():
        return 0.0
    return round(float((len(times) - 1) / (times[-1] - times[0])), 3)


def _tags(log: h5py.File, where: str) -> tuple[dict[str, list[str]], list[str]]:
    """Demonstration -> names of the masks that it is in; and what is wrong with the masks."""
    tags: dict[str, list[str]] = {}
    try:
        masks = hdf5.arrays(log["mask"], f"{where}/mask") if "mask" in log else {}
        for name, mask in sorted(masks.items()):
            for demo in hdf5.values(mask, f"{where}/mask/{name}"):
                tags.setdefault(str(demo), []).append(name)
    except BadEpisodeError as error:
        return tags, [f"tags are left out: {error}"]
    return tags, []
