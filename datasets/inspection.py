"""What there is in a foreign log, and a mapping to begin with."""

import dataclasses
import re
from collections.abc import Iterator, Mapping
from typing import Any

import numpy as np

from datasets import schema
from datasets.episode import Episode
from datasets.errors import StoreError
from datasets.features import decode_image
from datasets.mapping import LogMapping, Part, Turn, dump_mapping
from datasets.readers.base import Log

_OBSERVATION, _PIXELS = "observation/", "pixels/"
_RLDS = {"action", "reward", "discount", "is_first", "is_last", "is_terminal"}
# Names that logs often use -> (ours, columns). A guess, for people to look at.
_GUESSES = (
    (r"joint_?(pos|position|positions|angle|angles|qpos)|qpos", "sawyer/joints/angle", 7),
    (r"joint_?(vel|velocity|velocities|qvel)|qvel", "sawyer/joints/velocity", 7),
    (r"joint_?(torque|torques|effort|efforts)", "sawyer/joints/torque", 7),
)
_POSITION, _QUATERNION = (re.compile(rf"(?P<who>.*)(eef|ee|tcp|hand)_?({what})") for what in ("pos|position", "quat"))


@dataclasses.dataclass(frozen=True)
class Found:
    """What a log seems to be."""

    log: Log
    files: int
    episodes: int  # as far as the files tell without being read
    first: Episode | None  # the first that can be read
    problems: tuple[str, ...]  # met on the way to it, or with it


def look(log: Log) -> Found:
    """Reads a log's first readable episode."""
    files = log.files()
    problems: list[str] = []
    first = None
    for reading in (reading for file in files for reading in log.read(file)):
        problems += [f"{reading.where}: {problem}" for problem in reading.problems]
        if first := reading.episode:
            break
    return Found(log, len(files), sum(map(log.count, files)), first, tuple(problems))


def structure(episode: Episode) -> list[dict[str, str]]:
    """A line for each step field: its name, dtype, shape without time, and lowest and highest number or an example."""
    return [
        {"field": name, "dtype": _dtype(array), "shape": _shape(array), "values": _values(array)}
        for name, array in episode.step_fields()
    ]


def _dtype(array: np.ndarray) -> str:
    return array.dtype.name if array.dtype != object else "text" if isinstance(array[0], str) else "picture"


def _shape(array: np.ndarray) -> str:
    if array.dtype != object:
        return str(list(array.shape[1:]))
    return "" if isinstance(array[0], str) else str(list(decode_image(array[0]).shape))


def _values(array: np.ndarray) -> str:
    if array.dtype != object:
        return f"{array.min():.4g} to {array.max():.4g}"
    return repr(array[0][:40]) if isinstance(array[0], str) else ""


def propose(episode: Episode) -> LogMapping:
    """A mapping made of guesses from names and sizes: pictures, joints and the tool's pose. People correct it."""
    metadata = episode.metadata
    observation: dict[str, tuple[Part, ...]] = dict(_guesses(episode.observation))
    return LogMapping(
        observation={name: parts for name, parts in observation.items() if parts != (Part(_OBSERVATION + name),)},
        robot=metadata.robot or None,
        task_id=metadata.task_id or None,
        control_rate_hz=metadata.control_rate_hz,
    )


def _guesses(observation: Mapping[str, np.ndarray]) -> Iterator[tuple[str, tuple[Part, ...]]]:
    for name, array in sorted(observation.items()):
        source, last = Part(_OBSERVATION + name), name.rpartition("/")[2]
        if name in schema.OBSERVATIONS:
            continue
        if array.dtype == object:
            if isinstance(array[0], bytes):
                yield _PIXELS + last, (source,)
            continue
        for pattern, ours, columns in _GUESSES:
            if re.search(rf"(^|_)({pattern})$", last) and array.shape[1:] == (columns,):
                yield ours, (source,)
        if (position := _POSITION.fullmatch(last)) and array.shape[1:] == (3,):
            for other, turned in sorted(observation.items()):
                quaternion = _QUATERNION.fullmatch(other.rpartition("/")[2])
                if quaternion and quaternion["who"] == position["who"] and turned.shape[1:] == (4,):
                    yield "sawyer/tcp/pose", (source, Part(_OBSERVATION + other, rotation=Turn.XYZW))


def proposal(episode: Episode) -> str:
    """The text of a mapping file: what `propose` guessed, and in comments what a person should look at."""
    mapping = propose(episode)
    others = [name for name, _ in episode.step_fields() if name not in mapping.sources | _RLDS and _foreign(name)]
    size = episode.action.shape[1]
    lines = [
        "# Guessed from names and sizes: look at every line, above all at units and at the order of quaternions.",
        dump_mapping(mapping).rstrip("\n"),
        f"# action: {size} numbers; say what they mean:",
        "# action_space: change of the tool's pose a step in the base frame, m and rad; gripper 1 opens",
        *(f"# {name}: kept under its own name" for name in others),
    ]
    return "\n".join(filter(None, lines)) + "\n"


def _foreign(name: str) -> bool:
    return name.removeprefix(_OBSERVATION) not in schema.OBSERVATIONS


def report(found: Found) -> list[tuple[str, str]]:
    """What there is in a log, as (name, fact) pairs."""
    facts: list[tuple[str, Any]] = [
        ("log", found.log.name),
        ("kind", type(found.log).__name__),
        ("files", f"{found.files:,} with some {found.episodes:,} episodes"),
    ]
    if found.first:
        metadata = found.first.metadata
        facts.append(("first episode", f"{found.first.num_steps:,} steps at {metadata.control_rate_hz:g} Hz"))
        facts += [(k, getattr(metadata, k)) for k in ("robot", "task_id", "episode_type", "source", "repairs", "tags")]
    facts += [("problem", problem) for problem in found.problems]
    return [(name, str(fact)) for name, fact in facts if fact]


def require(found: Found) -> Episode:
    """The first readable episode. Raises StoreError if there is none."""
    if found.first is None:
        told = found.problems[0] if found.problems else "it holds no episode"
        raise StoreError(f"nothing in {found.log.name} can be read: {told}")
    return found.first
