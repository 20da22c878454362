"""EnvLogger's logs of its Riegeli backend: `metadata.riegeli`, and a folder of files for each shard.

`steps.riegeli` has a record a step: `(step_type, reward, discount, observation), action, custom data`. Episodes are cut
where steps say FIRST and LAST. The index lags behind the steps, so that a logger that is killed leaves one that is
short of episodes or runs them into one; only the metadata of an episode are found by it.

See `datasets.readers.envlogger_steps` for how steps are brought to our form.
"""

import contextlib
import dataclasses
import itertools
import struct
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import dm_env
from envlogger.converters import codec
from envlogger.proto.storage_pb2 import Data, Datum
from google.protobuf.message import DecodeError

from datasets.errors import BadEpisodeError
from datasets.readers import hdf5, riegeli, rlds
from datasets.readers.base import NO_DEFAULTS, Defaults, Reading
from datasets.readers.envlogger_steps import Step, StepFields, leaves

STEPS = "steps.riegeli"
_LOG_METADATA = "metadata.riegeli"
_OFFSETS, _INDEX, _METADATA = "step_offsets.riegeli", "episode_index.riegeli", "episode_metadata.riegeli"
_SPECS = "environment_specs"  # that EnvLogger adds to the metadata of a log
_NOWHERE = -1  # position of metadata that were not given


@dataclasses.dataclass(frozen=True)
class _Piece:
    """Steps that follow one another in an episode: all of it, or what there is."""

    steps: list[Step]
    problems: list[str] = dataclasses.field(default_factory=list)  # what was met after them
    repairs: list[str] = dataclasses.field(default_factory=list)  # how they end, if not with LAST


@dataclasses.dataclass(frozen=True)
class EnvloggerLog:
    """A folder that EnvLogger wrote, or one shard of it. See `datasets.readers.base.Log`."""

    path: Path
    defaults: Defaults = NO_DEFAULTS

    @property
    def name(self) -> str:
        """`envlogger_FOLDER`."""
        return hdf5.dataset_name("envlogger", self.path.name)

    def files(self) -> list[Path]:
        """The steps of each shard, in the order of their writing."""
        return sorted([*self.path.glob(STEPS), *self.path.glob(f"*/{STEPS}")])

    def count(self, file: Path) -> int:
        """How many episodes the index has; after a crash there may be more."""
        return max(1, len(_index(file.with_name(_INDEX), 2)))

    def read(self, file: Path) -> Iterator[Reading]:
        """Every episode of a shard. One that is cut off is kept as far as it goes, and `metadata.repairs` says so."""
        of_log = next(iter(_metadata(file.parents[1] / _LOG_METADATA).values()), None)
        of_episode = _episode_metadata(file)
        for number, piece in enumerate(_pieces(file)):
            where = f"{file}#{number}"
            episode = None
            if piece.steps:
                said = {"the log": of_log, "the episode": of_episode.get(piece.steps[0].position)}
                piece.repairs.extend(
                    f"The metadata of {of}, if there were any, are lost." for of, found in said.items() if found is None
                )
                try:
                    fields = StepFields(where, piece.problems, piece.repairs).of(piece.steps)
                    episode = rlds.from_steps(fields, _merged(said.values()), where, self.defaults, piece.repairs)
                except BadEpisodeError as error:
                    piece.problems.append(str(error))
            yield Reading(where, episode, tuple(piece.problems))


def _merged(said: Iterable[Mapping[str, Any] | None]) -> dict[str, Any]:
    flat = {name: value for part in said for name, value in leaves("", part or {})}
    return {name: value for name, value in flat.items() if name.partition("/")[0] != _SPECS}


def _pieces(file: Path) -> Iterator[_Piece]:
    steps: list[Step] = []
    record = None
    for record in riegeli.read_all(file):
        try:
            step = _step(record, file)
        except BadEpisodeError as error:
            yield _Piece(steps, [str(error)], ["The log is damaged within it; it is kept up to there."])
            steps = []
            continue
        if steps and step.timestep.first():
            yield _Piece(steps, repairs=["It was left before its end, for a new one."])
            steps = []
        steps.append(step)
        if step.timestep.last():
            yield _Piece(steps)
            steps = []
    if steps:
        yield _Piece(steps, repairs=["The log ends within it; it is kept up to there."])
    if record is None:
        yield _Piece([], [f"{file} holds no steps: its logger was killed before it wrote any"])


def _decoded(record: riegeli.Record, file: Path) -> Any:
    """What EnvLogger made a record of. Raises BadEpisodeError if that cannot be told."""
    if record.problem:
        raise BadEpisodeError(record.problem)
    try:
        return codec.decode(Data.FromString(record.content))
    except (DecodeError, TypeError, ValueError, IndexError, struct.error) as error:
        raise BadEpisodeError(f"{file} has a record at {record.position} that is not EnvLogger's") from error


def _step(record: riegeli.Record, file: Path) -> Step:
    try:
        (kind, reward, discount, observation), action, custom = _decoded(record, file)
        timestep = dm_env.TimeStep(dm_env.StepType(kind), reward, discount, observation)
        return Step(record.position, timestep, action, custom)
    except (TypeError, ValueError) as error:
        raise BadEpisodeError(f"{file} has a record at {record.position} that is no step") from error


def _index(path: Path, columns: int) -> list[tuple[int, ...]]:
    """The rows of an index file, up to where it is damaged: what follows could not be counted."""
    good = itertools.takewhile(lambda record: not record.problem, riegeli.read_all(path))
    with contextlib.suppress(DecodeError):
        numbers = [n for record in good for n in Datum.FromString(record.content).values.int64_values]
        return list(zip(*[iter(numbers)] * columns, strict=False))
    return []


def _metadata(path: Path) -> dict[int, dict[str, Any]]:
    """Position -> what is said there; what is no dict is called `metadata`."""
    found = {}
    for record in riegeli.read_all(path):
        with contextlib.suppress(BadEpisodeError):
            said = _decoded(record, path)
            found[record.position] = said if isinstance(said, dict) else {"metadata": said}
    return found


def _episode_metadata(file: Path) -> dict[int, dict[str, Any]]:
    """Position of an episode's first step -> what is said of it, for those that the index has."""
    positions = [position for (position,) in _index(file.with_name(_OFFSETS), 1)]
    said = {_NOWHERE: {}, **_metadata(file.with_name(_METADATA))}
    rows = _index(file.with_name(_INDEX), 2)  # number of the episode's first step, position of its metadata
    return {positions[start]: said[place] for start, place in rows if start < len(positions) and place in said}
