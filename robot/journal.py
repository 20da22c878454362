"""The running episode of a real arm, on disk step by step: what is left of it when its recorder dies.

```
journal = Journal(folder, metadata)      # FOLDER/EPISODE_ID.journal
journal.add(step)                        # again and again
journal.remove()                         # the episode is safe, or nobody wants it
for left in left_behind(folder): ...     # those whose recorder is gone
```
A journal is a TFRecord file: the metadata as JSON, then a record a step, an .npz of its arrays. A record that was being
written when its writer died is left out.
"""

import contextlib
import dataclasses
import fcntl
import io
import json
import os
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import dm_env
import envlogger
import numpy as np
import tensorflow as tf

from datasets import schema
from datasets.episode import EpisodeMetadata
from datasets.errors import BadEpisodeError
from datasets.shards import read_records
from robot.limits import Reason
from robot.safety import Executed

_OBSERVATION, _PICTURE, _EXTRA, _EXECUTED = "observation/", "picture/", "extra/", "executed/"
SUFFIX = ".journal"


class Journal:
    """One running episode. Its process holds a lock on it, so that others see whether it is still under way."""

    def __init__(self, folder: Path, metadata: EpisodeMetadata):
        """Raises OSError if it cannot be written, as all methods do (or tf.errors.OpError)."""
        folder.mkdir(parents=True, exist_ok=True)
        self._path = folder / f"{metadata.episode_id}{SUFFIX}"
        self._lock = os.open(self._path, os.O_RDWR | os.O_CREAT | os.O_EXCL)
        fcntl.flock(self._lock, fcntl.LOCK_EX)
        self._file = tf.io.TFRecordWriter(os.fspath(self._path))
        self._write(json.dumps(dataclasses.asdict(metadata)).encode())

    def add(self, step: envlogger.StepData) -> None:
        """Adds a step, as `robot.record` keeps it: with pictures encoded. It outlives this process, not a power cut."""
        content = io.BytesIO()
        np.savez(content, **_arrays(step))
        self._write(content.getvalue())

    def remove(self) -> None:
        """The episode is safe, or nobody wants it."""
        self._path.unlink(missing_ok=True)
        self._file.close()
        os.close(self._lock)

    def _write(self, record: bytes) -> None:
        self._file.write(record)
        self._file.flush()


class Left(NamedTuple):
    """A journal whose process is gone."""

    metadata: EpisodeMetadata
    steps: list[envlogger.StepData]


@contextlib.contextmanager
def left_behind(folder: Path) -> Iterator[list[Left]]:
    """Yields the journals whose processes are gone; they are removed when the block ends without an error."""
    with contextlib.ExitStack() as locks:
        found = {}
        for path in sorted(folder.glob(f"*{SUFFIX}")):
            with contextlib.suppress(FileNotFoundError, BlockingIOError):  # gone meanwhile; under way
                file = locks.enter_context(path.open("rb"))
                fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)
                if records := _records(path):  # else it has just been made, and is not locked yet
                    found[path] = Left(EpisodeMetadata(**json.loads(records[0])), [*map(_step, records[1:])])
        yield list(found.values())
        for path in found:
            path.unlink(missing_ok=True)


def _records(path: Path) -> list[bytes]:
    records: list[bytes] = []
    with contextlib.suppress(BadEpisodeError):  # the end of one that was being written
        records.extend(read_records([path]))  # keeps what came before
    return records


def _arrays(step: envlogger.StepData) -> dict[str, np.ndarray]:
    timestep, custom = step.timestep, dict(step.custom_data)
    arrays = {"step_type": np.array(int(timestep.step_type))}
    fields: dict[str, Any] = {"reward": timestep.reward, "discount": timestep.discount, "action": step.action}
    for name, value in timestep.observation.items():
        is_picture = isinstance(value, bytes)
        prefix = _PICTURE if is_picture else _OBSERVATION
        fields[prefix + name] = np.frombuffer(value, np.uint8) if is_picture else value
    if (executed := custom.pop("executed")) is not None:
        fields |= {_EXECUTED + name: value for name, value in executed._asdict().items()}
    fields |= {_EXTRA + name: value for name, value in custom.items()}
    return arrays | {name: np.asarray(value) for name, value in fields.items() if value is not None}


def _step(record: bytes) -> envlogger.StepData:
    with np.load(io.BytesIO(record), allow_pickle=False) as file:
        arrays = dict(file)
    observation: dict[str, Any] = {**_below(_OBSERVATION, arrays)}
    observation |= {name: value.tobytes() for name, value in _below(_PICTURE, arrays).items()}
    extras = {name: value.item() for name, value in _below(_EXTRA, arrays).items()}
    executed = _below(_EXECUTED, arrays)
    custom = {name: extras.get(name) for name in (schema.PROGRESS, schema.IS_SUCCESS, schema.ACTED_BY)}
    reasons = tuple(Reason(reason) for reason in executed.pop("reasons", np.array([])).tolist())
    custom["executed"] = Executed(executed["commanded"], executed["action"], reasons) if executed else None
    reward, discount = (arrays[name].item() if name in arrays else None for name in ("reward", "discount"))
    timestep = dm_env.TimeStep(dm_env.StepType(arrays["step_type"].item()), reward, discount, observation)
    return envlogger.StepData(timestep, arrays.get("action"), custom)


def _below(prefix: str, arrays: Mapping[str, np.ndarray]) -> dict[str, np.ndarray]:
    return {name.removeprefix(prefix): array for name, array in arrays.items() if name.startswith(prefix)}
