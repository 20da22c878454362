"""What the fields of a step are called in a LeRobot dataset, what is declared of them, and how they lie in its tables.

A row of a table is a transition, so the T frames of an episode make T - 1 rows:

```
observation.images.CAMERA            pictures; they are in videos, not in the tables
observation.NAME                     every other observation, with `.` for our `/`
observation.state                    the numbers among them in one vector, which LeRobot's policies want
action  next.reward  next.done       of the transition; done: it ends in a terminal state
next.success                         whether it is the last one of a success, if it is known of all episodes
NAME                                 every extra, but for those that LeRobot has anyway
timestamp  frame_index  episode_index  index  task_index
```
"""

import dataclasses
import functools
import re
from collections.abc import Mapping
from typing import Any

import numpy as np
import pyarrow as pa

from datasets import schema
from datasets.episode import Episode
from datasets.errors import ArmchairError
from datasets.features import ArraySpec, StepSpec

LANGUAGE = "language_instruction"
"""The extra whose texts are LeRobot's tasks."""
TASK_INDEX = "task_index"
_STATE = "observation.state"
_TRANSITION = {"next.reward": "float32", "next.done": "bool", "next.success": "bool"}
_INDICES = {"timestamp": "float32"} | dict.fromkeys(("frame_index", "episode_index", "index", TASK_INDEX), "int64")
_TAKEN = {LANGUAGE, "task", *_TRANSITION, *_INDICES}  # extras of these names say what is written anew


@dataclasses.dataclass(frozen=True)
class Features:
    """Of episodes of one spec."""

    spec: StepSpec
    judged: bool  # whether all of them are known to have succeeded or failed

    @functools.cached_property
    def fields(self) -> Mapping[str, str]:
        """Feature -> field, as in `Episode.step_fields`, of what is written as it is.

        Raises:
          ArmchairError: if two fields would be called the same.
        """
        fields: dict[str, str] = {}
        for field, spec in self._specs.items():
            name = field.replace("/", ".")
            if spec.is_image:
                name = re.sub(r"^observation\.((pixels|images)\.)?", "observation.images.", name)
            if name in fields:
                raise ArmchairError(
                    f"{fields[name]!r} and {field!r} would both be called {name!r}: rename one by a mapping"
                )
            if name not in _TAKEN:
                fields[name] = field
        return fields

    @functools.cached_property
    def cameras(self) -> Mapping[str, ArraySpec]:
        """The features that become videos."""
        return {name: self._specs[field] for name, field in self.fields.items() if self._specs[field].is_image}

    @functools.cached_property
    def _specs(self) -> Mapping[str, ArraySpec]:
        specs = {f"observation/{name}": spec for name, spec in sorted(self.spec.observation.items())}
        return {**specs, **dict(sorted(self.spec.extras.items())), "action": self.spec.action}

    @functools.cached_property
    def _state(self) -> tuple[str, ...]:
        """The observations that `observation.state` is made of; none if there is one of that name."""
        return () if _STATE in self.fields else tuple(
            name for name, spec in sorted(self.spec.observation.items())
            if spec.dtype != "str" and len(spec.shape) < 2 and not schema.is_privileged(name)
        )  # fmt: skip

    def declare(self, rate_hz: float) -> dict[str, dict[str, Any]]:
        """What `meta/info.json` says of them."""
        declared = {name: _declare(self._specs[field], rate_hz) for name, field in self.fields.items()}
        if self._state:
            columns = [column for name in self._state for column in _columns(name, self.spec.observation[name])]
            declared[_STATE] = {"dtype": "float32", "shape": [len(columns)], "names": columns}
        for name, dtype in (_TRANSITION | _INDICES).items():
            if name != "next.success" or self.judged:
                declared[name] = {"dtype": dtype, "shape": [1], "names": None}
        return declared

    def table(self, episode: Episode, episode_index: int, first_index: int) -> pa.Table:
        """The rows of an episode, all but their `task_index`.

        Args:
          episode: of T steps.
          episode_index: its number in the dataset.
          first_index: of its first row in the dataset.
        """
        count = episode.num_steps - 1
        steps, rows = dict(episode.step_fields()), np.arange(count)
        columns = {name: steps[field][:-1] for name, field in self.fields.items() if name not in self.cameras}
        if self._state:
            vectors = [episode.observation[name][:-1].reshape(count, -1) for name in self._state]
            columns[_STATE] = np.concatenate(vectors, axis=1).astype(np.float32)  # [T - 1, D]
        columns |= {"next.reward": episode.reward[:-1], "next.done": episode.is_terminal[1:]}
        if self.judged:
            columns["next.success"] = (rows == count - 1) & (episode.metadata.verdict == schema.Verdict.SUCCESS)
        columns |= {
            "timestamp": (rows / episode.metadata.control_rate_hz).astype(np.float32),
            "frame_index": rows,
            "episode_index": np.full(count, episode_index),
            "index": first_index + rows,
        }
        return pa.table({name: _column(values) for name, values in columns.items()})


def _columns(name: str, spec: ArraySpec) -> list[str]:
    """A name for each number of an observation."""
    name = name.replace("/", ".")
    return [f"{name}.{n}" for n in range(spec.shape[0])] if spec.shape not in ((), (1,)) else [name]


def _declare(spec: ArraySpec, rate_hz: float) -> dict[str, Any]:
    if not spec.is_image:
        return {"dtype": spec.dtype.replace("str", "string"), "shape": list(spec.shape) or [1], "names": None}
    height, width = (size + size % 2 for size in spec.shape[:2])  # as videos are padded
    encoding = {"fps": rate_hz, "height": height, "width": width, "channels": 3, "codec": "h264",
                "pix_fmt": "yuv420p", "is_depth_map": False}  # fmt: skip
    info = {f"video.{name}": value for name, value in encoding.items()} | {"has_audio": False}
    return {"dtype": "video", "shape": [height, width, 3], "names": ["height", "width", "channels"], "info": info}


def _column(values: np.ndarray) -> pa.Array:
    """[N, ...] -> N numbers, texts, or lists as deep as the shape; LeRobot has a vector of one number as the number."""
    sizes = values.shape[1:]
    column = pa.array(values.reshape(-1), pa.string() if values.dtype == object else None)
    for size in reversed(sizes if sizes != (1,) else ()):
        column = pa.ListArray.from_arrays(np.arange(0, len(column) + 1, size, dtype=np.int32), column)
    return column
