"""What a foreign log calls things, and what we call them: a file that a person writes once for a kind of log.

```yaml
robot: widowx
control_rate_hz: 5
action_space: change of the tool's pose in the base frame a step, m and rad; gripper 0 closed, 1 open
observation:
  sawyer/tcp/pose:                      # ours, from datasets/schema.py, or any name
  - {source: observation/state, columns: [0, 3], unit: m}
  - {source: observation/state, columns: [3, 6], rotation: rpy}
  pixels/basket_front_left: observation/image_0
action:
- {source: action, columns: [0, 6]}
- {source: action, columns: [6, 7]}
drop: [observation/image_3]             # not wanted; whatever else is not named here is kept under its own name
```
`armchair ingest inspect SOURCE` prints what there is in a log, and a mapping to begin with.
"""

import dataclasses
import enum
from collections.abc import Mapping
from pathlib import Path
from typing import Annotated, Any

import numpy as np
import pydantic
import yaml
from pydantic.dataclasses import dataclass
from scipy.spatial.transform import Rotation

from datasets import schema
from datasets.episode import Episode
from datasets.errors import BadEpisodeError
from datasets.yaml_file import load_yaml

_FORBID = pydantic.ConfigDict(extra="forbid")
_OBSERVATION = "observation/"


class Unit(enum.StrEnum):
    """What numbers of a log count, where that is not ours. Ours are m, rad, s and N."""

    METRE = "m"
    CENTIMETRE = "cm"
    MILLIMETRE = "mm"
    RADIAN = "rad"
    DEGREE = "deg"
    METRE_A_SECOND = "m/s"
    MILLIMETRE_A_SECOND = "mm/s"
    RADIAN_A_SECOND = "rad/s"
    DEGREE_A_SECOND = "deg/s"


_IN_OURS = {
    Unit.CENTIMETRE: 1e-2, Unit.MILLIMETRE: 1e-3, Unit.MILLIMETRE_A_SECOND: 1e-3, Unit.DEGREE: np.pi / 180,
    Unit.DEGREE_A_SECOND: np.pi / 180,
}  # fmt: skip


class Turn(enum.StrEnum):
    """How a log writes a rotation. Ours is a quaternion, w first."""

    WXYZ = "wxyz"
    XYZW = "xyzw"
    RPY = "rpy"  # roll, pitch and yaw, in this order about the fixed axes x, y and z
    ROTATION_VECTOR = "rotation_vector"  # axis times angle


_COLUMNS = {Turn.WXYZ: 4, Turn.XYZW: 4, Turn.RPY: 3, Turn.ROTATION_VECTOR: 3}


@dataclass(frozen=True, config=_FORBID)
class Part:
    """Numbers, or a picture, of a step field of the source."""

    source: str  # flat name: observation/state, action, timestamp
    columns: tuple[int, int] | None = None  # of a vector, from the first up to but without the second; None: all
    unit: Unit | None = None  # None: ours
    rotation: Turn | None = None  # a rotation, which becomes a quaternion; None: the numbers are kept

    def __str__(self) -> str:
        """Such as `observation/state[3:6] (deg, rpy)`."""
        columns = f"[{self.columns[0]}:{self.columns[1]}]" if self.columns else ""
        how = ", ".join(filter(None, (self.unit, self.rotation)))
        return f"{self.source}{columns}" + (f" ({how})" if how else "")


def _parts(value: Any) -> Any:
    """A name alone, or one part, stands for a list of it."""
    listed = value if isinstance(value, list | tuple) else [value]
    return [{"source": part} if isinstance(part, str) else part for part in listed]


_Parts = Annotated[tuple[Part, ...], pydantic.BeforeValidator(_parts), pydantic.Field(min_length=1)]


@dataclass(frozen=True, config=_FORBID)
class LogMapping:
    """How a foreign log becomes ours."""

    observation: Mapping[str, _Parts] = dataclasses.field(default_factory=dict)  # our name -> its parts, side by side
    action: _Parts | None = None  # side by side; None: as it is
    drop: tuple[str, ...] = ()  # step fields that are not wanted
    robot: str | None = None  # these three: instead of what the log says
    task_id: str | None = None
    control_rate_hz: float | None = None
    action_space: str = ""  # what the action means, in words; goes with the episode's source
    frame: str = ""  # that of poses and velocities, in words, likewise

    @property
    def sources(self) -> set[str]:
        """Step fields that it takes something from."""
        parts = [part for parts in (*self.observation.values(), self.action or ()) for part in parts]
        return {part.source for part in parts}


NO_MAPPING = LogMapping()
"""Everything stays as it is called."""


def load_mapping(path: Path) -> LogMapping:
    """A mapping from a YAML file.

    Raises:
      ArmchairError: if the file is absent, is no YAML, or is no mapping; says where.
    """
    return load_yaml(path, LogMapping, "the mapping")


def dump_mapping(mapping: LogMapping) -> str:
    """The text of a YAML file."""
    told = pydantic.TypeAdapter(LogMapping).dump_python(mapping, mode="json", exclude_defaults=True)
    if "action" in told:
        told["action"] = _short(told["action"])
    if "observation" in told:
        told["observation"] = {name: _short(parts) for name, parts in told["observation"].items()}
    nested = any(isinstance(value, dict | list) for value in told.values())
    text = yaml.safe_dump(told, sort_keys=False, width=120, default_flow_style=None if nested else False)
    return text if told else ""


def _short(parts: list[dict[str, Any]]) -> Any:
    """The inverse of `_parts`."""
    names = [part["source"] if part.keys() == {"source"} else part for part in parts]
    return names if len(names) > 1 else names[0]


def unmapped(episode: Episode, mapping: LogMapping) -> list[str]:
    """Observations, extras and, if the mapping makes another one, the action that it neither takes nor drops."""
    names = {f"{_OBSERVATION}{name}" for name in episode.observation} | set(episode.extras)
    names |= {"action"} if mapping.action else set()
    return sorted(names - mapping.sources - set(mapping.drop) - {f"{_OBSERVATION}{n}" for n in mapping.observation})


def apply(mapping: LogMapping, episode: Episode) -> Episode:
    """The episode in our terms. What it was made of is told in `metadata.repairs`.

    Fields that a part was taken from are gone, those that nobody named stay under their own names.

    Raises:
      BadEpisodeError: if a field that the mapping takes or drops is not there, or does not fit what is said of it.
    """
    if mapping == NO_MAPPING:
        return episode
    fields = dict(episode.step_fields())
    droppable = {*(f"{_OBSERVATION}{name}" for name in episode.observation), *episode.extras}
    for names, known, what in ((mapping.sources, fields.keys(), ""), (set(mapping.drop), droppable, " to drop")):
        for name in sorted(names - known):
            raise BadEpisodeError(
                f"the mapping names {name}, which is not there{what}: choose among {', '.join(sorted(known))}"
            )
    gone = mapping.sources | set(mapping.drop)
    observation = {k: v for k, v in episode.observation.items() if f"{_OBSERVATION}{k}" not in gone}
    made = {name: _make(f"{_OBSERVATION}{name}", parts, fields) for name, parts in mapping.observation.items()}
    action = _make("action", mapping.action, fields) if mapping.action else episode.action
    extras = {k: v for k, v in episode.extras.items() if k not in gone}
    return dataclasses.replace(
        episode, metadata=_metadata(mapping, episode), observation=observation | made, action=action, extras=extras
    )


def _metadata(mapping: LogMapping, episode: Episode) -> Any:
    metadata = episode.metadata
    said = {k: getattr(mapping, k) for k in ("robot", "task_id", "control_rate_hz")}
    notes = [f"{k}={getattr(mapping, k)}" for k in ("action_space", "frame") if getattr(mapping, k)]
    made = [(name, parts) for name, parts in (*mapping.observation.items(), ("action", mapping.action)) if parts]
    repairs = [f"{name} was {' + '.join(map(str, parts))}." for name, parts in made]
    repairs += [f"{', '.join(mapping.drop)}: dropped, as the mapping says."] if mapping.drop else []
    return dataclasses.replace(
        metadata,
        **{k: v for k, v in said.items() if v is not None},
        source="; ".join(filter(None, [metadata.source, *notes])),
        repairs=" ".join(filter(None, [metadata.repairs, *repairs])),
    )


def _make(target: str, parts: tuple[Part, ...], fields: Mapping[str, np.ndarray]) -> np.ndarray:
    """A field of ours: the parts side by side, in the dtype of the vocabulary, or else that of a single part."""
    first = fields[parts[0].source]
    if len(parts) == 1 and parts[0] == Part(parts[0].source) and target != "action":
        made = first  # a picture, a text, or numbers of any shape
    else:
        made = np.concatenate([_numbers(target, part, fields[part.source]) for part in parts], -1)
    known = schema.OBSERVATIONS.get(target.removeprefix(_OBSERVATION))
    if target == "action" or (known and made.dtype != object):
        return made.astype(np.float32 if known is None else known.dtype)
    return made


def _numbers(target: str, part: Part, array: np.ndarray) -> np.ndarray:
    """float[T, n] of one part, in our units."""
    if array.dtype.kind not in "biuf" or array.ndim > 2:
        raise BadEpisodeError(f"{target} cannot be made of {part}: that is no vector of numbers")
    rows = array.reshape(len(array), -1)  # [T, D]
    begin, end = part.columns or (0, rows.shape[1])
    if not 0 <= begin < end <= rows.shape[1]:
        raise BadEpisodeError(f"{target} cannot be made of {part}: {part.source} has {rows.shape[1]} columns")
    rows = rows[:, begin:end]
    if part.unit in _IN_OURS:
        rows = rows * _IN_OURS[part.unit]
    return rows if part.rotation is None else _quaternions(target, part, rows)


def _quaternions(target: str, part: Part, rows: np.ndarray) -> np.ndarray:
    """float[T, 4], w first; of the two that say the same, the one that is written, or else the one whose w >= 0."""
    assert part.rotation is not None
    if rows.shape[1] != _COLUMNS[part.rotation]:
        raise BadEpisodeError(
            f"{target} cannot be made of {part}: such a rotation has {_COLUMNS[part.rotation]} columns"
        )
    match part.rotation:
        case Turn.WXYZ:
            return rows
        case Turn.XYZW:
            return np.roll(rows, 1, axis=1)
        case Turn.RPY:
            turned = Rotation.from_euler("xyz", rows)
        case Turn.ROTATION_VECTOR:
            turned = Rotation.from_rotvec(rows)
    return np.roll(turned.as_quat(canonical=True), 1, axis=1).astype(rows.dtype)
