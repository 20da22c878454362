"""LeRobot's datasets of version 3.0: steps in parquet files, cameras as videos, many episodes a file.

```
meta/info.json                                     features, rate, totals, and where the files are
meta/stats.json                                    of every feature, for normalising
meta/tasks.parquet                                 the texts of tasks
meta/episodes/chunk-000/file-000.parquet           a row an episode: where it lies, its statistics, our metadata
data/chunk-000/file-000.parquet                    a row a step, a row group an episode
videos/CAMERA/chunk-000/file-000.mp4               frames of these episodes, one after the other
```
A row has an observation and the action that was taken in it, so the last frame of an episode, in which none was, is
lost. So are discounts, but for the 0 on the way into a terminal state. Pictures become H.264: lossy, in colours, and of
even sizes. The task of a step is its `language_instruction`, or else the one that the episode's policy was for.
"""

import contextlib
import dataclasses
import functools
import itertools
import json
import operator
from collections.abc import Callable, Iterable, Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow as pa
from pyarrow import parquet

from datasets import files, video
from datasets.episode import Episode
from datasets.errors import ArmchairError
from datasets.features import StepSpec
from datasets.statistics import drawn
from datasets.store import EpisodeRow
from datasets.writers.base import Part
from datasets.writers.lerobot_features import LANGUAGE, TASK_INDEX, Features
from datasets.writers.lerobot_statistics import Levels, Tally

_DATA = "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_VIDEO = "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"
_EPISODES = "meta/episodes/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"
_CHUNK = 1000  # files
_X264 = {"g": "2", "threads": "1"}  # frames are read one by one, so every second is a key; alike on all machines
_DECODED = 32  # frames at once, for large ones fill the memory
_LOOKED_AT = 100  # frames of an episode that statistics of pictures are of; neighbours look alike
_SAMPLE = 20_000  # rows that quantiles are of

Runs = list[tuple[str, int]]
"""The tasks of an episode's rows: a text, and for how many rows it holds, and so on."""


@dataclasses.dataclass(frozen=True)
class LerobotWriter:
    """A folder that is a LeRobot dataset. See `base.Writer`."""

    spec: StepSpec
    judged: bool  # whether all episodes are known to have succeeded or failed
    episodes_a_part: int | None = 64  # of usual lengths: files of some ten MB, where LeRobot allows hundreds

    @functools.cached_property
    def _features(self) -> Features:
        return Features(self.spec, self.judged)

    def check(self, rows: Sequence[EpisodeRow]) -> None:
        """Raises ArmchairError for episodes of one frame or several rates, pictures of no video, names that clash."""
        if short := [row.episode_id for row in rows if row.num_steps < 2]:
            raise ArmchairError(
                f"{len(short)} episodes have no transition, {short[0]} for one: add min_steps=2 to the query"
            )
        rates = {row.control_rate_hz: row.episode_id for row in rows}
        if len(rates) > 1:
            told = " and ".join(f"{rate:g} ({episode_id})" for rate, episode_id in sorted(rates.items()))
            raise ArmchairError(
                f"these episodes have {told} steps a second, and a LeRobot dataset has one rate: export those of each "
                "rate on their own, for instance with dataset=NAME in the query"
            )
        for name, spec in self._features.cameras.items():
            if spec.shape[-1] not in (1, 3):
                raise ArmchairError(
                    f"{self._features.fields[name]} has pictures of {spec.shape[-1]} channels, and a video has 1 or 3: "
                    "leave it out by a mapping"
                )

    def write(self, out: Path, part: Part, parts: int, episodes: Iterable[Episode]) -> dict[str, Any]:
        """The table of a part without its `task_index`, its videos, and what is said of its episodes."""
        rate, cameras = part.rows[0].control_rate_hz, self._features.cameras
        declared = self._features.declare(rate)
        tables, told, tasks = [], [], []
        seen = {name: Levels.of(np.empty((0, 1, 1, 3), np.uint8)) for name in cameras}
        kinds = ("data", "meta/episodes", *(f"videos/{name}" for name in cameras))
        places = {f"{kind}/{name}": number for kind in kinds for name, number in _place(part).items()}
        begin = end = part.first_frame - part.first_episode  # rows: every episode has one less than it has frames
        with contextlib.ExitStack() as stack:
            add = {
                name: stack.enter_context(video.mp4_file(out / _path(_VIDEO, part, video_key=name), rate, _X264))
                for name in cameras
            }
            for number, episode in enumerate(episodes, part.first_episode):
                steps, statistics = dict(episode.step_fields()), Tally(declared)
                for name in cameras:
                    levels = _write_pictures(steps[self._features.fields[name]][:-1], add[name])
                    statistics.add_pictures(name, levels)
                    seen[name] += levels
                tables.append(self._features.table(episode, number, end))
                statistics.add(tables[-1])
                tasks.append(_tasks(episode))
                start, end = end, end + len(tables[-1])
                told.append(
                    {
                        "episode_index": number,
                        "tasks": list(dict(tasks[-1])),
                        "length": end - start,
                        "dataset_from_index": start,
                        "dataset_to_index": end,
                        **places,
                        **{f"videos/{name}/from_timestamp": (start - begin) / rate for name in cameras},
                        **{f"videos/{name}/to_timestamp": (end - begin) / rate for name in cameras},
                        "episode_metadata": json.dumps(dataclasses.asdict(episode.metadata)),
                        **{f"stats/{k}/{s}": v for k, of in statistics.describe().items() for s, v in of.items()},
                    }
                )
        _write_tables(out / _path(_EPISODES, part), [pa.Table.from_pylist(told)])
        _write_tables(out / _path(_DATA, part), tables)
        return {"tasks": tasks, "pictures": {name: levels.to_json() for name, levels in seen.items()}}

    def finish(self, out: Path, parts: Sequence[Part], facts: Sequence[Mapping[str, Any]]) -> None:
        """Numbers the tasks, in the order in which they come, in all tables too; and describes the whole."""
        rows = [row for part in parts for row in part.rows]
        total = sum(row.num_steps - 1 for row in rows)
        runs: list[list[Runs]] = [fact["tasks"] for fact in facts]
        texts = [text for of_part in runs for of_episode in of_part for text, _ in of_episode]
        tasks = {text: number for number, text in enumerate(dict.fromkeys(texts))}
        declared = self._features.declare(rows[0].control_rate_hz)
        statistics = Tally(declared)
        for part, of_part, fact in zip(parts, runs, facts, strict=True):
            tables = _number_tasks(out / _path(_DATA, part), of_part, tasks)
            for row, table in zip(part.rows, tables, strict=True):
                statistics.add(table, drawn(row.episode_id, len(table), min(1.0, _SAMPLE / total)))
            for name, levels in fact["pictures"].items():
                statistics.add_pictures(name, Levels.from_json(levels))
        _write_tables(out / "meta/tasks.parquet", [_task_table(tasks)])
        files.write_atomically(out / "meta/stats.json", json.dumps(statistics.describe(), indent=2) + "\n")
        robots, rate = {row.robot for row in rows}, rows[0].control_rate_hz
        info = {
            "codebase_version": "v3.0",
            "robot_type": (robots.pop() or None) if len(robots) == 1 else None,
            "total_episodes": len(rows),
            "total_frames": total,
            "total_tasks": len(tasks),
            "chunks_size": _CHUNK,
            "data_files_size_in_mb": 100,  # these two, which LeRobot goes by when it appends, are its own
            "video_files_size_in_mb": 200,
            "fps": int(rate) if rate.is_integer() else rate,
            "splits": {"train": f"0:{len(rows)}"},
            "data_path": _DATA,
            "video_path": _VIDEO if self._features.cameras else None,
            "features": declared,
        }
        files.write_atomically(out / "meta/info.json", json.dumps(info, indent=2) + "\n")


def _place(part: Part) -> dict[str, int]:
    return {"chunk_index": part.number // _CHUNK, "file_index": part.number % _CHUNK}


def _path(template: str, part: Part, **key: str) -> str:
    return template.format(**_place(part), **key)


def _write_pictures(encoded: np.ndarray, add: Callable[[np.ndarray], None]) -> Levels:
    """Adds pictures object[N] to a video; returns the levels of some."""
    found, every = [], max(1, len(encoded) // _LOOKED_AT)
    for begin in range(0, len(encoded), _DECODED):
        frames = video.decode_frames(encoded[begin : begin + _DECODED], begin)
        frames = np.broadcast_to(frames, (*frames.shape[:3], 3))  # greys become colours
        for frame in frames:
            add(frame)
        found.append(Levels.of(frames[-begin % every :: every]))
    return functools.reduce(operator.add, found)


def _tasks(episode: Episode) -> Runs:
    texts = episode.extras.get(LANGUAGE, np.full(episode.num_steps, "", object))
    tasks = [text or episode.metadata.task_id for text in texts[:-1]]
    return [(text, len(list(run))) for text, run in itertools.groupby(tasks)]


def _number_tasks(path: Path, runs: Sequence[Runs], tasks: Mapping[str, int]) -> list[pa.Table]:
    """Gives the rows of a file their `task_index`; returns the tables of its episodes."""
    tables = []
    with parquet.ParquetFile(path) as file:
        for number, of_episode in enumerate(runs):
            table = file.read_row_group(number)
            indices = np.repeat([tasks[text] for text, _ in of_episode], [count for _, count in of_episode])
            columns = dict(zip(table.column_names, table.columns, strict=True)) | {TASK_INDEX: indices}
            tables.append(pa.table(columns))
    _write_tables(path, tables)
    return tables


def _task_table(tasks: Mapping[str, int]) -> pa.Table:
    """The texts as the index of what pandas reads, where LeRobot looks for them; pandas itself is not needed."""
    kinds = {TASK_INDEX: ("int64", "int64"), "task": ("unicode", "object")}
    columns = [
        {"name": name, "field_name": name, "pandas_type": kind, "numpy_type": numpy, "metadata": None}
        for name, (kind, numpy) in kinds.items()
    ]
    described = {"index_columns": ["task"], "column_indexes": [], "columns": columns}
    table = pa.table({TASK_INDEX: pa.array(tasks.values(), pa.int64()), "task": pa.array(tasks, pa.string())})
    return table.replace_schema_metadata({"pandas": json.dumps(described)})


def _write_tables(path: Path, tables: Sequence[pa.Table]) -> None:
    """A parquet file, in which each table is a row group that can be read on its own."""
    with files.staged_file(path) as staged, parquet.ParquetWriter(staged, tables[0].schema) as writer:
        for table in tables:
            writer.write_table(table)
