"""The Sketchy dataset's layout: a TFRecord file an episode, a record a step, and `metadata.sqlite` beside them.

It is published as tar archives (`NAME-IIIII-of-NNNNN.tar.bz2`) of 100 such files each, which are read as they are, too.
The records hold observations and actions only. The database, where there is one, tells task, time, tags and the
people's reward sketches. See github.com/google-deepmind/deepmind-research, folder sketchy, for both schemas.
"""

import contextlib
import dataclasses
import re
import sqlite3
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np
import tensorflow as tf

from datasets import schema
from datasets.episode import Episode, EpisodeMetadata
from datasets.errors import ArmchairError, BadEpisodeError, StoreError
from datasets.features import decode_image
from datasets.readers import archives, tfrecords
from datasets.readers.base import NO_DEFAULTS, Defaults, Reading, content_id
from datasets.rewards import RewardSequence

DATABASE = "metadata.sqlite"
_EPISODE_FILE = re.compile(r"(?P<id>\d+)_[0-9a-f]{8}(-[0-9a-f]{4}){3}-[0-9a-f]{12}|[^.].*\.tfrecords?")
_ARCHIVE = re.compile(r".+-\d{5}-of-\d{5}\.tar\.bz2")  # as published; any other tar archive is looked into as well
_IN_AN_ARCHIVE = 100  # episodes, but for the last one of a group
_ACTION = "actions"
_GREY, _DEPTH = "pixels/royale_camera_driver_gray", "pixels/royale_camera_driver_depth"
_DEPTH_SIZE = (171, 224)  # (H, W) in the published example
# What the published loader reads, as far as our vocabulary has it; that is all of it. It leaves out the arrival
# times, rightly: they are Unix seconds as float32, which resolves 128 s.
_OBSERVATIONS = tuple(k for k in schema.OBSERVATIONS if not k.startswith("objects/"))


@dataclasses.dataclass(frozen=True)
class SketchyLog:
    """A folder of Sketchy's episode files and archives of them, at any depth. See `datasets.readers.base.Log`."""

    path: Path
    defaults: Defaults = NO_DEFAULTS

    @property
    def name(self) -> str:
        """`sketchy`, whatever the folder is called."""
        return "sketchy"

    def files(self) -> list[Path]:
        """Episode files and archives. The database may know of many more: it lists all 5 TB, and few have it all."""
        return sorted(p for p in self.path.rglob("*") if archives.is_archive(p) or (p.is_file() and _named(p.name)))

    def count(self, file: Path) -> int:
        """1, or how many episodes a published archive holds."""
        return _IN_AN_ARCHIVE if _ARCHIVE.fullmatch(file.name) else 1

    def read(self, file: Path) -> Iterator[Reading]:
        """The one episode of a file, or those of an archive, with their sketches.

        Raises:
          StoreError: if the database cannot be read.
        """
        if not archives.is_archive(file):
            yield self._reading(file, str(file), file.name)
            return
        member = None
        for member in archives.members(file, _named):
            if member.problem:
                yield Reading(str(file), None, (member.problem,))
            else:
                yield self._reading(member.unpacked, f"{file}#{member.name}", Path(member.name).name)
        if member is None:
            yield Reading(str(file), None, (f"{file} holds no episode of Sketchy's: leave it out",))

    def _reading(self, file: Path, where: str, name: str) -> Reading:
        known, rewards = _look_up(self.path / DATABASE, name)
        try:
            steps = _steps(file, where)
        except BadEpisodeError as error:
            return Reading(where, None, (str(error),))
        episode = _episode(steps, known, where, name, self.defaults)
        sketches, problems = [], []
        for row in rewards:
            try:
                sketches.append(_sketch(row, episode.num_steps))
            except ArmchairError as error:
                problems.append(str(error))
        return Reading(where, episode, tuple(problems), sketches=tuple(sketches))


def _named(name: str) -> re.Match[str] | None:
    """The match of a file's name, if it is called as episodes are."""
    return _EPISODE_FILE.fullmatch(name.rpartition("/")[2])


def _steps(file: Path, where: str) -> dict[str, np.ndarray]:
    """Step fields [T, ...] of an episode file; pictures as object[T] of JPEG bytes."""
    records = []
    for record in tfrecords.read_all(file, where):
        if record.problem:  # without one of its steps an episode is no longer at 10 Hz
            raise BadEpisodeError(record.problem)
        records.append(record.content)
    if not records:
        raise BadEpisodeError(f"{where} holds no steps: restore it from a copy")
    try:
        present = tf.train.Example.FromString(records[0]).features.feature
        if _ACTION not in present:
            raise BadEpisodeError(f"{where} has no {_ACTION!r}, so it is not a Sketchy episode: leave it out")
        names = [name for name in _OBSERVATIONS if name in present]
        wanted = {name: _wanted(name, len(present[name].float_list.value)) for name in names}
        wanted[_ACTION] = tf.io.FixedLenFeature((len(present[_ACTION].float_list.value),), tf.float32)
        parsed = tf.io.parse_example(records, wanted)
    except tf.errors.InvalidArgumentError as error:
        raise BadEpisodeError(f"{where} does not have the same features at every step: {error.message}") from error
    except tf.errors.OpError as error:
        raise BadEpisodeError(f"{where} cannot be parsed: {error.message}") from error
    except Exception as error:
        if type(error).__name__ != "DecodeError":  # protobuf's, whose class moves between its versions
            raise
        raise BadEpisodeError(f"{where} holds records that are not steps: leave it out") from error
    steps = {name: value.numpy() for name, value in parsed.items()}
    if _DEPTH in steps:
        steps[_DEPTH] = steps[_DEPTH].reshape(len(records), *_depth_size(steps), 1)
    return steps


def _wanted(name: str, num_floats: int) -> tf.io.FixedLenFeature:
    known = schema.OBSERVATIONS[name]
    if name == _DEPTH:
        return tf.io.FixedLenFeature((num_floats,), tf.float32)
    if known.dtype is np.uint8:
        return tf.io.FixedLenFeature((), tf.string)
    return tf.io.FixedLenFeature(known.shape, tf.as_dtype(known.dtype))


def _depth_size(steps: dict[str, np.ndarray]) -> tuple[int, int]:
    """(H, W) of the depth picture: the infrared picture comes from the same camera."""
    height, width = decode_image(steps[_GREY][0]).shape[:2] if _GREY in steps else _DEPTH_SIZE
    pixels = steps[_DEPTH].shape[1]
    if height * width != pixels:
        raise BadEpisodeError(f"the depth picture has {pixels} pixels instead of {height}x{width}: leave it out")
    return height, width


def _episode(steps: dict[str, np.ndarray], known: dict[str, Any], where: str, name: str, defaults: Defaults) -> Episode:
    num_steps = len(steps[_ACTION])
    named = _named(name)
    metadata = EpisodeMetadata(
        episode_id=known.get("EpisodeId") or (named and named["id"]) or content_id(steps),
        task_id=known.get("TaskId") or defaults.task_id,
        episode_type=known.get("EpisodeType") or defaults.episode_type,
        robot=defaults.robot or "sawyer",
        timestamp=known.get("Timestamp") or 0,
        control_rate_hz=schema.CONTROL_RATE_HZ,
        source=where,
        repairs="The log has no rewards, discounts and flags; they are now 0, 1, and the ends of the file.",
        tags=",".join(known.get("Tags", ())),
    )
    times = np.arange(num_steps)
    return Episode(
        metadata,
        {name: array for name, array in steps.items() if name != _ACTION},
        action=steps[_ACTION],
        reward=np.zeros(num_steps, np.float32),
        discount=np.ones(num_steps, np.float32),
        is_first=times == 0,
        is_last=times == num_steps - 1,
        is_terminal=np.zeros(num_steps, bool),
    )


def _look_up(database: Path, name: str) -> tuple[dict[str, Any], list[dict[str, Any]]]:
    """The database's row of an episode (with `Tags`) and its reward sequences; both empty where it has none."""
    if not database.is_file():
        return {}, []
    try:
        # Immutable: other people's data may lie on a read-only disk, where SQLite could not make its lock files.
        with contextlib.closing(sqlite3.connect(f"{database.absolute().as_uri()}?immutable=1", uri=True)) as connection:
            connection.row_factory = sqlite3.Row
            row = connection.execute('SELECT * FROM "Episodes" WHERE "DataPath" = ?', [name]).fetchone()
            if row is None:
                return {}, []
            of = [row["EpisodeId"]]
            tags = connection.execute('SELECT "Tag" FROM "EpisodeTags" WHERE "EpisodeId" = ? ORDER BY "Tag"', of)
            rewards = connection.execute(
                'SELECT * FROM "RewardSequences" WHERE "EpisodeId" = ? ORDER BY "RewardSequenceId"', of
            )
            return dict(row) | {"Tags": [tag for (tag,) in tags]}, [dict(reward) for reward in rewards]
    except (sqlite3.DatabaseError, IndexError) as error:
        raise StoreError(f"{database} cannot be read ({error}): restore it, or move it away to do without") from error


def _sketch(row: dict[str, Any], num_steps: int) -> RewardSequence:
    """A row of RewardSequences, whose values are packed little-endian float32, one a frame."""
    packed = row["Values"] or b""
    if len(packed) != 4 * num_steps:
        raise BadEpisodeError(
            f"reward sequence {row['RewardSequenceId']!r} of episode {row['EpisodeId']!r} is left out: it has "
            f"{len(packed) / 4:g} values for {num_steps} frames"
        )
    return RewardSequence(
        row["EpisodeId"], row["RewardTaskId"] or "", np.frombuffer(packed, "<f4"), row["RewardSequenceId"],
        row["Type"] or schema.RewardType.SKETCH, row["User"] or "", tool="sketchy",
    )  # fmt: skip
