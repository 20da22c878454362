"""LeRobot datasets of versions 2.0, 2.1 and 3.0: tables of steps in parquet files, cameras as videos.

A row of the table is a step: `observation.images.top` becomes the observation `images/top`, `action` the action,
`next.reward` the reward, and everything else an extra of its own name (`timestamp`, `next/done`, ...), beside the text
of the task as `language_instruction`. There are as many steps as rows, so the last row's action leads to no recorded
frame: its reward stays what it is, but belongs to no transition.

A camera that is declared but has no video at all is left out. One that has videos belongs to the dataset, and an
episode without its video is not read, even if most are like that: a store's dataset knows one set of observations,
pictures are what people sketch, and what a half-copied dataset is must not change when the other half arrives. To take
all episodes in without a camera, move its videos away.
"""

import dataclasses
import functools
import re
from collections.abc import Collection, Iterable, Iterator, Mapping
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pyarrow.compute as pc
from av.video.reformatter import VideoReformatter
from pyarrow import parquet

from datasets import schema, video
from datasets.episode import Episode, EpisodeMetadata
from datasets.errors import BadEpisodeError
from datasets.readers.base import NO_DEFAULTS, Defaults, Reading, content_id, joined_action
from datasets.readers.lerobot_layout import Layout, Promise, Stretch, read_layout

_BOOKKEEPING = ("episode_index", "frame_index", "index")  # checked, then left out
_SEEK = 1.0  # seconds before a stretch to start from; decoding begins at the key frame before that
_FLAGS = ("is_first", "is_last", "is_terminal")
_RLDS = ("reward", "discount", *_FLAGS)  # where a table has them, they are RLDS's


@dataclasses.dataclass(frozen=True)
class LerobotLog:
    """One LeRobot dataset: the folder that holds `meta/info.json`. See `datasets.readers.base.Log`.

    What is wrong with the dataset as a whole, such as a camera without videos, is told once, beside its first episode.
    """

    path: Path
    defaults: Defaults = NO_DEFAULTS

    @property
    def name(self) -> str:
        """The folder's, made a name of a TFDS dataset."""
        name = re.sub(r"\W", "_", self.path.name, flags=re.ASCII)
        return name if name[:1].isalpha() else f"lerobot_{name}"

    @functools.cached_property
    def _layout(self) -> Layout:
        return read_layout(self.path)

    def files(self) -> list[Path]:
        """The parquet files with steps, those that the metadata promise and those that are there.

        Raises:
          StoreError: if the metadata are damaged or of a version that is not known here; `count` and `read` too.
        """
        return list(self._layout.files)

    def count(self, file: Path) -> int:
        """How many episodes the metadata promise in a file, but at least 1."""
        return max(1, len(self._layout.files.get(file, ())))

    def read(self, file: Path) -> Iterator[Reading]:
        """Every episode of a file, those that the metadata promise and those that are there."""
        remarks = self._layout.remarks if file == self.files()[0] else ()
        for reading in self._readings(file):
            yield dataclasses.replace(reading, problems=(*remarks, *reading.problems))
            remarks = ()

    def _readings(self, file: Path) -> Iterator[Reading]:
        promised = {promise.index: promise for promise in self._layout.files.get(file, ())}
        try:
            table = _read_table(file)
        except BadEpisodeError as error:
            for where in [_where(file, index) for index in promised] or [str(file)]:
                yield Reading(where, None, (str(error),))
            return
        for index in sorted(promised.keys() | set(table["episode_index"].unique().to_pylist())):
            rows = table.filter(pc.equal(table["episode_index"], index))
            try:
                if index not in promised and index in self._layout.episodes:
                    raise BadEpisodeError(
                        f"{file} has rows of episode {index}, which the metadata put elsewhere: leave one of them out"
                    )
                promise = promised.get(index) or self._layout.unlisted(index, file)
                yield to_episode(rows, promise, self._layout, self.defaults)
            except BadEpisodeError as error:
                yield Reading(_where(file, index), None, (str(error),))


def _where(file: Path, index: int) -> str:
    return f"{file}, episode {index}"


def _read_table(file: Path) -> pa.Table:
    """A parquet file whose rows all say of which episode they are."""
    if not file.is_file():
        raise BadEpisodeError(f"{file} is not there: restore it from a copy")
    try:
        with parquet.ParquetFile(file, page_checksum_verification=True) as opened:
            table = opened.read()
        table.validate(full=True)  # text that is not UTF-8, for one
    except (OSError, pa.ArrowException) as error:
        raise BadEpisodeError(f"{file} cannot be read ({error}): restore it from a copy") from error
    numbers = table["episode_index"] if "episode_index" in table.column_names else pa.chunked_array([[]])
    if not len(numbers) or numbers.null_count or not pa.types.is_integer(numbers.type):
        raise BadEpisodeError(f"{file} has no rows that say of which episode they are: restore it from a copy")
    return table


def to_episode(rows: pa.Table, promise: Promise, layout: Layout, defaults: Defaults = NO_DEFAULTS) -> Reading:
    """An episode from its rows in a table, and from its videos.

    Videos become JPEG, an action of another form float32[T, A], and absent rewards, discounts and flags what they have
    to be; `metadata.repairs` names it. The episode is terminal if its last row is `next.done`, and also `next.success`
    if the log has that: what is done without success may have met a time limit. Columns that are neither numbers, texts
    nor pictures, or vary in shape, are named in the problems.

    Args:
      rows: the episode's alone.
      promise: what the metadata tell of it.
      layout: of its dataset.
      defaults: for what the log does not say.

    Raises:
      BadEpisodeError: if rows or frames are missing, or there is no observation, or no action of real numbers.
    """
    where = _where(promise.file, promise.index)
    _check_rows(rows, promise, where)
    columns = [name for name in rows.column_names if name not in _BOOKKEEPING and name not in layout.videos]
    steps, problems = _arrays({name: rows[name] for name in columns}, where)
    lacking = layout.features.keys() - {*rows.column_names, *layout.videos, *_BOOKKEEPING}
    problems += [
        f"{where} lacks {name}, which the metadata declare: restore it from a copy" for name in sorted(lacking)
    ]
    rate = layout.fps or defaults.control_rate_hz
    repairs = []
    for camera in layout.cameras:
        steps[camera] = read_pictures(_stretch(promise, camera, where), len(rows), rate)
        repairs.append(f"{camera} was video and is now JPEG.")

    moved = ["action"] if "action" in steps else [name for name in steps if name.startswith("action.")]
    action = joined_action({name: steps.pop(name) for name in sorted(moved)}, where, repairs)
    fixed = _fixed(steps, len(rows), where, repairs)
    text = "task" if "language_instruction" in steps else "language_instruction"
    steps[text] = _instructions(steps.get("task_index"), len(rows), promise, layout.tasks, where, problems)
    names = _our_names(steps, {*layout.features, *rows.column_names})
    seen = {names[k].removeprefix("observation/"): v for k, v in steps.items() if _is_seen(k)}
    observation = {name: _as_known(name, values) for name, values in seen.items()}
    extras = {names[k]: v for k, v in steps.items() if not _is_seen(k)}
    if not observation:
        raise BadEpisodeError(f"{where} has no observation among {', '.join(steps)}: leave it out")
    metadata = EpisodeMetadata(
        content_id({"action": action, **fixed, **steps}),
        task_id=defaults.task_id,
        episode_type=defaults.episode_type,
        robot=layout.info.get("robot_type") or defaults.robot,
        verdict=_verdict(steps),
        control_rate_hz=rate,
        source=where,
        repairs=" ".join(repairs),
    )
    return Reading(where, Episode(metadata, observation, action, **fixed, extras=extras), tuple(problems))


def _check_rows(rows: pa.Table, promise: Promise, where: str) -> None:
    """Raises BadEpisodeError unless all rows are there, in order."""
    if promise.length not in (None, len(rows)) or not len(rows):
        raise BadEpisodeError(f"{where} has {len(rows)} rows of {promise.length}: restore it from a copy")
    for name in ("frame_index", "index"):
        if name in rows.column_names:
            found = rows[name].to_numpy()  # [T]
            wrong = found != np.arange(len(rows)) + (found[0] if name == "index" else 0)
            if wrong.any():
                t = int(wrong.argmax())
                raise BadEpisodeError(
                    f"{where} has {name} {found[t]} in its row {t}, so frames are missing or out of order: restore it "
                    "from a copy"
                )


def _arrays(columns: Mapping[str, pa.ChunkedArray], where: str) -> tuple[dict[str, np.ndarray], list[str]]:
    """The columns that can be kept, [T, ...] each, and what is wrong with the others."""
    arrays, problems = {}, []
    for name, column in columns.items():
        try:
            arrays[name] = _array(column.combine_chunks())
        except BadEpisodeError as error:
            problems.append(f"{name} of {where} is left out: {error}")
    return arrays, problems


def _array(column: pa.Array) -> np.ndarray:
    """Numbers [T, ...] as they are stored, object[T] of text, or object[T] of encoded pictures."""
    shape = [len(column)]
    column = getattr(column, "storage", column)  # of an extension type, such as an array of two dimensions
    while (
        pa.types.is_list(column.type) or pa.types.is_large_list(column.type) or pa.types.is_fixed_size_list(column.type)
    ):
        lengths = pc.unique(pc.list_value_length(column))
        if len(lengths) != 1 or column.null_count:
            raise BadEpisodeError("it varies in shape, and only fields of one shape can be kept")
        shape.append(lengths[0].as_py())
        column = column.flatten()
    if pa.types.is_struct(column.type) and "bytes" in column.type.names:
        column = column.field("bytes")
    kind = column.type
    number = pa.types.is_boolean(kind) or pa.types.is_integer(kind) or pa.types.is_floating(kind)
    text_or_picture = pa.types.is_string(kind) or pa.types.is_large_string(kind) or pa.types.is_binary(kind)
    if not number and (not text_or_picture or len(shape) > 1):
        raise BadEpisodeError(f"it is {kind}, and only numbers, one text or one picture a step can be kept")
    if column.null_count and not pa.types.is_floating(kind):  # in numbers that have it, nothing is NaN
        raise BadEpisodeError(f"it is empty in {column.null_count} places")
    return column.to_numpy(zero_copy_only=False).reshape(shape)


def _stretch(promise: Promise, camera: str, where: str) -> Stretch:
    stretch = promise.videos.get(camera)
    if stretch is None:
        raise BadEpisodeError(f"{where} has no video of {camera} that the metadata tell of: restore them from a copy")
    if not stretch.file.is_file():
        raise BadEpisodeError(
            f"{stretch.file} is not there, though other episodes have that camera: restore it from a copy, or move all "
            f"videos of {camera} away to do without"
        )
    return stretch


def read_pictures(stretch: Stretch, num_frames: int, rate_hz: float) -> np.ndarray:
    """The frames of a camera, decoded one after the other.

    Args:
      stretch: of a video.
      num_frames: T, how many there must be.
      rate_hz: frames a second.

    Returns:
      object[T] of JPEG bytes.

    Raises:
      BadEpisodeError: if the video cannot be read, or has more or fewer frames there.
    """
    pictures, number = np.empty(num_frames, object), 0
    half = 0.5 / rate_hz  # seconds; what the frames' times are rounded by is less
    to_rgb = VideoReformatter()  # one for all frames, and no threads: a third of the processor's time
    try:
        with av.open(str(stretch.file)) as container:
            stream = container.streams.video[0]
            if stream.codec_context is None:
                raise ValueError("its codec is not known")
            stream.codec_context.thread_count = 1
            unit = stream.time_base or 1
            start = (stream.start_time or 0) * unit
            if stretch.begin > _SEEK:
                container.seek(int((stretch.begin - _SEEK + start) / unit), stream=stream)
            for frame in container.decode(stream):
                time = (frame.time or 0) - start
                if time >= stretch.end - half:
                    break
                if time >= stretch.begin - half:
                    if frame.is_corrupt:
                        raise ValueError(f"frame {number} is damaged")
                    if number < num_frames:
                        pixels = to_rgb.reformat(frame, format="rgb24", threads=1).to_ndarray()  # [H, W, 3]
                        pictures[number] = video.encode_jpeg(pixels[None])[0]
                    number += 1
    except (av.FFmpegError, LookupError, ValueError, ArithmeticError) as error:
        raise BadEpisodeError(f"{stretch.file} cannot be read ({error}): restore it from a copy") from error
    if number != num_frames:
        raise BadEpisodeError(f"{stretch.file} has {number} frames for {num_frames} rows: restore both from a copy")
    return pictures


def _fixed(steps: dict[str, np.ndarray], num_steps: int, where: str, repairs: list[str]) -> dict[str, np.ndarray]:
    """Rewards, discounts and flags [T], taken out of the steps, or what they have to be."""
    found = {name: steps.pop(name) for name in _RLDS if name in steps}
    if "reward" not in found and "next.reward" in steps:
        found["reward"] = steps.pop("next.reward")
    for name, values in found.items():
        if values.dtype.kind not in "biuf" or values.size != num_steps:
            raise BadEpisodeError(
                f"{where} has the {name} {values.dtype}{list(values.shape[1:])}: it must be one number"
            )
    times = np.arange(num_steps)
    marks = {name: steps[name][-1] for name in ("next.done", "next.success") if name in steps}
    ended = bool(marks) and all(np.all(mark) for mark in marks.values())
    fixed = {
        "reward": np.zeros(num_steps),
        "discount": np.where(ended & (times >= num_steps - 2), 0, 1),  # of the last transition, and what means nothing
        "is_first": times == 0,
        "is_last": times == num_steps - 1,
        "is_terminal": (times == num_steps - 1) & ended,
    }
    absent = [name for name in fixed if name not in found]
    if absent:
        told = f" and {', '.join(marks)}" if marks else ""
        repairs.append(f"{', '.join(absent)} were absent and are now what the ends of the episode{told} make them.")
    if "reward" in found and found["reward"].reshape(-1)[-1] != 0:
        repairs.append("The last step's reward is not 0, but no recorded frame follows, so no transition has it.")
    fixed |= {name: values.reshape(num_steps) for name, values in found.items()}
    return {name: values.astype(bool if name in _FLAGS else np.float32) for name, values in fixed.items()}


def _verdict(steps: Mapping[str, np.ndarray]) -> str:
    """What the log says of success after the last action."""
    if "next.success" not in steps:
        return schema.Verdict.UNKNOWN
    return schema.Verdict.SUCCESS if np.all(steps["next.success"][-1]) else schema.Verdict.FAILURE


def _instructions(
    numbers: np.ndarray | None,
    num_steps: int,
    promise: Promise,
    tasks: Mapping[int, str],
    where: str,
    problems: list[str],
) -> np.ndarray:
    """object[T] of text: of each step's task, or of the episode's only one; empty where it is not known."""
    if numbers is None or numbers.size != num_steps:
        return np.full(num_steps, promise.tasks[0] if len(promise.tasks) == 1 else "", object)
    numbers = numbers.reshape(num_steps)
    unknown = sorted({int(n) for n in numbers} - tasks.keys())
    if unknown:
        problems.append(
            f"{where} is of task {unknown[0]}, for which the metadata have no text: restore them from a copy"
        )
    return np.array([tasks.get(int(n), "") for n in numbers], object)


def _is_seen(feature: str) -> bool:
    return feature.partition(".")[0] == "observation"


def _as_known(name: str, values: np.ndarray) -> np.ndarray:
    """A number as the vector of one that the vocabulary says it is, for LeRobot has no such vectors."""
    known = schema.OBSERVATIONS.get(name)
    return values[:, None] if known and known.shape == (1,) and values.ndim == 1 else values


def _our_names(features: Iterable[str], taken: Collection[str]) -> dict[str, str]:
    """`a.b.c` -> `a/b/c`; where something is called `a.b` already, `a/b.c`, for nothing can lie within a number."""
    names = {}
    for feature in features:
        first, *others = feature.split(".")
        name = path = first
        for part in others:
            name += ("." if path in taken else "/") + part
            path += f".{part}"
        names[feature] = name
    return names
