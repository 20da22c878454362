"""What the metadata of a LeRobot dataset tell: its features, its tasks, and where each episode ought to lie.

- *Versions 2.0 and 2.1*: an episode is a line of `meta/episodes.jsonl`, a parquet file, and a video a camera.
- *Version 3.0*: an episode is a row of the parquet files in `meta/episodes`, a stretch of a parquet file, and a stretch
  of a video a camera; files hold many episodes.

Which file that is, the templates `data_path` and `video_path` of `meta/info.json` say.
"""

import contextlib
import dataclasses
import functools
import json
import math
import re
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import pyarrow as pa
from pyarrow import parquet

from datasets.errors import StoreError

INFO = "meta/info.json"
_VERSIONS = ("v2.0", "v2.1", "v3.0")
_FIELD = re.compile(r"\{(\w+)[^}]*\}")  # of a template


@dataclasses.dataclass(frozen=True)
class Stretch:
    """Where the frames of one camera in one episode lie."""

    file: Path
    begin: float = 0.0  # seconds into the video
    end: float = math.inf


@dataclasses.dataclass(frozen=True)
class Promise:
    """What the metadata tell of one episode."""

    index: int
    file: Path  # the parquet file with its rows
    videos: Mapping[str, Stretch]  # by feature
    length: int | None = None  # rows; None: they do not tell
    tasks: tuple[str, ...] = ()


@dataclasses.dataclass(frozen=True)
class Layout:
    """A LeRobot dataset as its metadata tell it."""

    path: Path
    info: Mapping[str, Any]  # meta/info.json
    tasks: Mapping[int, str]
    episodes: Mapping[int, Promise]

    @property
    def features(self) -> Mapping[str, Mapping[str, Any]]:
        """What each feature is declared to be: dtype, shape, names, and for a video how it is encoded."""
        return self.info["features"]

    @property
    def fps(self) -> float:
        """Frames a second; 0: they do not tell."""
        return float(self.info.get("fps") or 0)

    @functools.cached_property
    def files(self) -> Mapping[Path, tuple[Promise, ...]]:
        """The parquet files, promised or found, sorted, with the episodes that are promised to lie in each."""
        files: dict[Path, list[Promise]] = {file: [] for file in self._matching("data_path")}
        for promise in self.episodes.values():
            files.setdefault(promise.file, []).append(promise)
        return {file: tuple(files[file]) for file in sorted(files)}

    @property
    def videos(self) -> tuple[str, ...]:
        """The features that are declared as videos, sorted."""
        return _videos(self.info)

    @functools.cached_property
    def cameras(self) -> tuple[str, ...]:
        """The videos that episodes must have: of colours or greys, and with a file at least somewhere."""
        return tuple(name for name in self.videos if not self._why_without(name))

    @functools.cached_property
    def remarks(self) -> tuple[str, ...]:
        """What is wrong with the dataset as a whole, one sentence each."""
        remarks = [why for name in self.videos if (why := self._why_without(name))]
        told = [self.info.get(name) for name in ("total_episodes", "total_frames")]
        listed = [len(self.episodes), sum(promise.length or 0 for promise in self.episodes.values())]
        if any(total not in (None, number) for total, number in zip(told, listed, strict=True)):
            remarks.append(
                f"{self.path / INFO} tells of {told[0]} episodes and {told[1]} frames, but {listed[0]} and {listed[1]} "
                "are listed beside it: restore the others from a copy if there are any"
            )
        return tuple(remarks)

    def unlisted(self, index: int, file: Path) -> Promise:
        """An episode that was found in a file, and of which the metadata do not tell."""
        if _is_v3(self.info):  # no telling where its videos begin
            return Promise(index, file, {})
        return dataclasses.replace(_promise(self.path, self.info, index), file=file)

    def _why_without(self, camera: str) -> str:
        """A sentence if no episode can have a camera, else nothing."""
        declared = self.features[camera]
        encoding = declared.get("info") or declared.get("video_info") or {}
        if encoding.get("video.is_depth_map") or encoding.get("is_depth_map"):
            return f"{camera} is left out of {self.path}: it is depth, which a video does not keep as metres"
        if any(self._matching("video_path", camera)):
            return ""
        return f"{camera} is left out: {self.path} declares it but has no video of it; restore them from a copy"

    def _matching(self, template: str, camera: str = "*") -> Iterator[Path]:
        pattern = _FIELD.sub(lambda field: camera if field[1] == "video_key" else "*", str(self.info.get(template)))
        return (file for file in self.path.glob(pattern) if file.is_file())


def is_dataset(path: Path) -> bool:
    """Whether a folder holds a LeRobot dataset, be its `meta/info.json` damaged or not."""
    try:
        return "codebase_version" in json.loads((path / INFO).read_bytes())
    except (OSError, TypeError):
        return False
    except ValueError:
        return True


def read_layout(path: Path) -> Layout:
    """Reads the metadata of a dataset.

    Raises:
      StoreError: if they cannot be read, or are of a version that is not known here.
    """
    with _told(path / INFO):
        info = json.loads((path / INFO).read_bytes())
        version, features = info["codebase_version"], dict(info["features"])
        float(info.get("fps") or 0)
    if version not in _VERSIONS:
        raise StoreError(
            f"{path} is a LeRobot dataset of version {version}: convert it to one of {', '.join(_VERSIONS)} with "
            "LeRobot's own scripts"
        )
    if not all(isinstance(declared, Mapping) for declared in features.values()):
        raise StoreError(f"{path / INFO} does not declare its features as LeRobot does: restore it from a copy")
    tasks, promises = _read_v3(path, info) if _is_v3(info) else _read_v2(path, info)
    return Layout(path, info, tasks, {promise.index: promise for promise in promises})


def _is_v3(info: Mapping[str, Any]) -> bool:
    return info["codebase_version"] == "v3.0"


def _videos(info: Mapping[str, Any]) -> tuple[str, ...]:
    return tuple(sorted(name for name, declared in info["features"].items() if declared.get("dtype") == "video"))


@contextlib.contextmanager
def _told(file: Path) -> Iterator[None]:
    """Turns whatever a damaged file leads to into one sentence."""
    try:
        yield
    except (OSError, ValueError, LookupError, TypeError, pa.ArrowException) as error:
        raise StoreError(f"{file} cannot be read ({type(error).__name__}: {error}): restore it from a copy") from error


def _fill(path: Path, info: Mapping[str, Any], template: str, **values: str | int) -> Path:
    try:
        return path / info[template].format(**values)
    except (LookupError, ValueError, AttributeError) as error:
        raise StoreError(
            f"{path / INFO} has the {template} {info.get(template)!r}, which {', '.join(values)} do not fill: restore "
            "it from a copy"
        ) from error


def _promise(
    path: Path, info: Mapping[str, Any], index: int, length: int | None = None, tasks: tuple[str, ...] = ()
) -> Promise:
    """An episode of version 2: its number alone says where it lies."""
    at = {"episode_chunk": index // info.get("chunks_size", 1000), "episode_index": index}
    videos = {name: Stretch(_fill(path, info, "video_path", video_key=name, **at)) for name in _videos(info)}
    return Promise(index, _fill(path, info, "data_path", **at), videos, length, tasks)


def _read_v2(path: Path, info: Mapping[str, Any]) -> tuple[dict[int, str], list[Promise]]:
    with _told(path / "meta/tasks.jsonl"):
        tasks = {row["task_index"]: row["task"] for row in _lines(path / "meta/tasks.jsonl")}
    with _told(path / "meta/episodes.jsonl"):
        rows = [(r["episode_index"], r["length"], tuple(r["tasks"])) for r in _lines(path / "meta/episodes.jsonl")]
    return tasks, [_promise(path, info, *row) for row in rows]


def _lines(file: Path) -> list[dict[str, Any]]:
    return [json.loads(line) for line in file.read_text("utf-8").split("\n") if line.strip()]


def _read_v3(path: Path, info: Mapping[str, Any]) -> tuple[dict[int, str], list[Promise]]:
    file = path / "meta/tasks.parquet"
    with _told(file):
        rows = _rows(file)  # the text is pandas' index, whose column has different names
        tasks = {row.pop("task_index"): next(text for text in row.values() if isinstance(text, str)) for row in rows}
    promises = []
    for file in sorted((path / "meta/episodes").rglob("*.parquet")) or [path / "meta/episodes"]:
        with _told(file):
            promises += [_promise_of_row(path, info, row) for row in _rows(file)]
    return tasks, promises


def _rows(file: Path) -> list[dict[str, Any]]:
    """Without statistics, which are most of it."""
    with parquet.ParquetFile(file) as opened:
        names = [name for name in opened.schema_arrow.names if not name.startswith("stats/")]
        return opened.read(names).to_pylist()


def _promise_of_row(path: Path, info: Mapping[str, Any], row: Mapping[str, Any]) -> Promise:
    def file(template: str, of: str, **key: str) -> Path:
        at = {name: row[f"{of}/{name}"] for name in ("chunk_index", "file_index")}
        return _fill(path, info, template, **at, **key)

    videos = {}
    for name in _videos(info):
        of = f"videos/{name}"
        if row.get(f"{of}/file_index") is not None:
            begin, end = row[f"{of}/from_timestamp"], row[f"{of}/to_timestamp"]
            videos[name] = Stretch(file("video_path", of, video_key=name), begin, end)
    return Promise(row["episode_index"], file("data_path", "data"), videos, row["length"], tuple(row["tasks"]))
