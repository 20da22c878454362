import json
import os
import pickle
import shutil
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf
from pyarrow import parquet

from beam_jobs.config import IngestConfig
from beam_jobs.ingest import ingest
from datasets import schema, validate
from datasets.errors import BadEpisodeError, StoreError
from datasets.query import Query
from datasets.readers.base import Defaults
from datasets.readers.lerobot import read_pictures
from datasets.readers.lerobot_layout import Stretch
from datasets.readers.logs import open_logs
from datasets.store import Store

_FPS = 10
_LENGTHS = (5, 7, 4)
_TASKS = {0: "open the drawer", 1: "grüße\u2028die Welt"}
_CAMERAS = ("observation.images.top", "observation.images.wrist")
_VERSIONS = ("v2.0", "v2.1", "v3.0")
_DATA = {"v2": "data/chunk-{episode_chunk:03d}/episode_{episode_index:06d}.parquet",
         "v3": "data/chunk-{chunk_index:03d}/file-{file_index:03d}.parquet"}  # fmt: skip
_VIDEO = {"v2": "videos/chunk-{episode_chunk:03d}/{video_key}/episode_{episode_index:06d}.mp4",
          "v3": "videos/{video_key}/chunk-{chunk_index:03d}/file-{file_index:03d}.mp4"}  # fmt: skip


def _brightness(episode, camera, length):
    """One grey a frame, that tells them all apart."""
    return [40 + 40 * episode + 5 * t + 100 * camera for t in range(length)]


def _columns(episode, length, start):
    rng = np.random.default_rng(episode)
    return {
        "observation.state": pa.array(list(rng.normal(size=(length, 3)))),
        "action": pa.array(list(rng.normal(size=(length, 2)).astype(np.float32))),
        "timestamp": pa.array(np.arange(length, dtype=np.float32) / _FPS),
        "frame_index": pa.array(np.arange(length)),
        "episode_index": pa.array([episode] * length),
        "index": pa.array(np.arange(start, start + length)),
        "task_index": pa.array([episode % 2] * length),
    }


def _mp4(path, greys, fps=_FPS, gop=2, options=()):
    path.parent.mkdir(parents=True, exist_ok=True)
    with av.open(str(path), "w", options={"movflags": "faststart"}) as container:
        stream = container.add_stream("libx264", rate=fps, options={"crf": "10", "g": str(gop), **dict(options)})
        stream.pix_fmt, stream.height, stream.width = "yuv420p", 32, 48
        for grey in greys:
            frame = av.VideoFrame.from_ndarray(np.full((32, 48, 3), grey, np.uint8), format="rgb24")
            container.mux(stream.encode(frame))
        container.mux(stream.encode())


def _features(columns, cameras):
    features = {name: {"dtype": str(column.type), "shape": [1], "names": None} for name, column in columns.items()}
    return features | {name: {"dtype": "video", "shape": [32, 48, 3], "info": {"video.fps": _FPS}} for name in cameras}


class _Dataset:
    """Written in pieces that tests replace: the columns of each episode, and where everything goes."""

    def __init__(self, path, version="v2.1", lengths=_LENGTHS, cameras=_CAMERAS, **info):
        self.path, self.version, self.lengths, self.cameras = path, version, lengths, cameras
        starts = np.cumsum([0, *lengths])
        self.columns = [_columns(n, length, int(starts[n])) for n, length in enumerate(lengths)]
        self.files = [0, 0, 1, *[1] * len(lengths)]  # version 3: of an episode's rows
        self.info = {
            "codebase_version": version, "robot_type": "so100", "fps": _FPS, "chunks_size": 2,
            "total_episodes": len(lengths), "total_frames": sum(lengths),
            "data_path": _DATA[version[:2]], "video_path": _VIDEO[version[:2]],
        } | info  # fmt: skip

    def write(self):
        (self.path / "meta").mkdir(parents=True)
        info = {"features": _features(self.columns[0], self.cameras)} | self.info
        (self.path / "meta/info.json").write_text(json.dumps(info))
        (self._write_v3 if self.version == "v3.0" else self._write_v2)()
        return self.path

    def data(self, n):
        at = {"episode_chunk": n // 2, "episode_index": n, "chunk_index": 0, "file_index": self.files[n]}
        return self.path / self.info["data_path"].format(**at)

    def video(self, n, camera):
        """In version 3 the first camera has all episodes in one video, the second has a video an episode."""
        number = n if self.cameras.index(camera) else 0
        at = {"episode_chunk": n // 2, "episode_index": n, "chunk_index": 0, "file_index": number}
        return self.path / self.info["video_path"].format(video_key=camera, **at)

    def _write_table(self, file, episodes):
        file.parent.mkdir(parents=True, exist_ok=True)
        tables = [pa.table(columns) for columns in episodes]
        parquet.write_table(pa.concat_tables(tables), file, row_group_size=4)

    def _write_v2(self):
        tasks = [{"task_index": n, "task": text} for n, text in _TASKS.items()]
        self._write_lines("tasks", tasks)
        rows = [{"episode_index": n, "length": k, "tasks": [_TASKS[n % 2]]} for n, k in enumerate(self.lengths)]
        self._write_lines("episodes", rows)
        for n, columns in enumerate(self.columns):
            self._write_table(self.data(n), [columns])
            for number, camera in enumerate(self.cameras):
                _mp4(self.video(n, camera), _brightness(n, number, self.lengths[n]))

    def _write_lines(self, name, rows):
        lines = [json.dumps(row, ensure_ascii=False) + "\n" for row in rows]
        (self.path / f"meta/{name}.jsonl").write_text("".join(lines), "utf-8")

    def _write_v3(self):
        texts = pa.table({"task_index": list(_TASKS), "__index_level_0__": list(_TASKS.values())})
        parquet.write_table(texts, self.path / "meta/tasks.parquet")
        rows, starts = [], np.cumsum([0, *self.lengths])
        for n, length in enumerate(self.lengths):
            row = {"episode_index": n, "data/chunk_index": 0, "data/file_index": self.files[n], "length": length}
            for number, camera in enumerate(self.cameras):
                begin = 0 if number else starts[n] / _FPS
                row |= {f"videos/{camera}/chunk_index": 0, f"videos/{camera}/file_index": n if number else 0}
                row |= {
                    f"videos/{camera}/from_timestamp": begin,
                    f"videos/{camera}/to_timestamp": begin + length / _FPS,
                }
                if number:
                    _mp4(self.video(n, camera), _brightness(n, number, length))
            rows.append(row | {"tasks": [_TASKS[n % 2]], "stats/action/max": [0.0]})
        for half, chunk in enumerate((rows[:2], rows[2:])):  # the metadata are in chunks, too
            self._write_table(self.path / f"meta/episodes/chunk-000/file-{half:03d}.parquet", [_of_rows(chunk)])
        for file in {self.files[n] for n in range(len(self.lengths))}:
            held = [n for n in range(len(self.lengths)) if self.files[n] == file]
            self._write_table(self.data(held[0]), [self.columns[n] for n in held])
        if self.cameras:
            greys = [grey for n, length in enumerate(self.lengths) for grey in _brightness(n, 0, length)]
            _mp4(self.video(0, self.cameras[0]), greys)


def _of_rows(rows):
    return {name: [row[name] for row in rows] for name in rows[0]}


def _readings(path, defaults=Defaults()):  # noqa: B008
    (log,) = open_logs(path, defaults)
    return [reading for file in log.files() for reading in log.read(file)]


def _episode(path):
    """The only one, without problems."""
    (reading,) = _readings(path)
    assert reading.problems == ()
    assert not validate.validate(reading.episode, every_picture=True).errors
    return reading.episode


def _single(path, more=(), less=(), cameras=(), **info):
    """A dataset of one episode of 4 steps with other columns."""
    dataset = _Dataset(path, lengths=(4,), cameras=cameras, **info)
    columns = {k: v for k, v in dataset.columns[0].items() if k not in less} | dict(more)
    dataset.columns = [columns]
    return dataset.write()


def _greys(pictures):
    return [float(tf.io.decode_jpeg(picture).numpy().mean()) for picture in pictures]


@pytest.mark.parametrize("version", _VERSIONS)
def test_every_layout_comes_back_as_it_was_written(tmp_path, version):
    dataset = _Dataset(tmp_path / "a.b-c" / "2x", version)
    defaults = Defaults("tidy", "widowx", schema.EpisodeType.TELEOPERATION, 99)
    (log,) = open_logs(dataset.write().parent, defaults)
    log = pickle.loads(pickle.dumps(log))
    assert log.name == "lerobot_2x"
    files = log.files()
    assert files == sorted({dataset.data(n) for n in range(3)})
    assert [log.count(file) for file in files] == ([2, 1] if version == "v3.0" else [1, 1, 1])
    readings = [reading for file in files for reading in log.read(file)]
    assert len(readings) == 3 and len({reading.episode.metadata.episode_id for reading in readings}) == 3
    for n, reading in enumerate(readings):
        episode, columns = reading.episode, dataset.columns[n]
        assert reading.problems == () and not validate.validate(episode, every_picture=True).errors
        assert sorted(episode.observation) == ["images/top", "images/wrist", "state"]
        for number, name in enumerate(("images/top", "images/wrist")):
            wanted = _brightness(n, number, dataset.lengths[n])
            np.testing.assert_allclose(_greys(episode.observation[name]), wanted, atol=2)
        assert episode.observation["state"].dtype == np.float64
        np.testing.assert_array_equal(episode.observation["state"], columns["observation.state"].to_pylist())
        assert episode.action.dtype == np.float32
        np.testing.assert_array_equal(episode.action, columns["action"].to_pylist())
        assert sorted(episode.extras) == ["language_instruction", "task_index", "timestamp"]
        np.testing.assert_array_equal(episode.extras["timestamp"], columns["timestamp"].to_numpy())
        assert list(episode.extras["language_instruction"]) == [_TASKS[n % 2]] * dataset.lengths[n]
        assert episode.is_first.nonzero()[0].tolist() == [0]
        assert episode.is_last.nonzero()[0].tolist() == [dataset.lengths[n] - 1]
        assert not episode.is_terminal.any() and (episode.discount == 1).all() and not episode.reward.any()
        said = episode.metadata
        assert (said.task_id, said.robot, said.control_rate_hz, said.seed) == ("tidy", "so100", _FPS, -1)
        assert said.episode_type == schema.EpisodeType.TELEOPERATION and said.verdict == schema.Verdict.UNKNOWN
        assert said.source == reading.where == f"{dataset.data(n)}, episode {n}"
        assert "observation.images.top was video and is now JPEG." in said.repairs
        assert "reward, discount, is_first, is_last, is_terminal were absent" in said.repairs


def test_the_same_episodes_have_the_same_ids_in_every_layout(tmp_path):
    ids = {
        version: [
            r.episode.metadata.episode_id for r in _readings(_Dataset(tmp_path / version, version, cameras=()).write())
        ]
        for version in _VERSIONS
    }
    assert ids["v2.0"] == ids["v2.1"] == ids["v3.0"] and len(set(ids["v3.0"])) == 3


def test_what_the_log_does_not_say_the_defaults_do(tmp_path):
    _single(tmp_path, robot_type=None, fps=None)
    (reading,) = _readings(tmp_path, Defaults(robot="widowx", control_rate_hz=5.0))
    assert (reading.episode.metadata.robot, reading.episode.metadata.control_rate_hz) == ("widowx", 5.0)


@pytest.mark.parametrize(
    ("version", "data_path", "video_path"),
    [
        ("v2.1", "rows/{episode_index:03d}.parquet", "films/{episode_index}/{video_key}.mp4"),
        ("v3.0", "rows-{chunk_index}-{file_index}.parquet", "films/{file_index}/{video_key}.mp4"),
    ],
)
def test_paths_follow_the_templates(tmp_path, version, data_path, video_path):
    dataset = _Dataset(tmp_path, version, data_path=data_path, video_path=video_path)
    readings = _readings(dataset.write())
    assert [reading.problems for reading in readings] == [()] * 3
    assert dataset.data(0).name in ("000.parquet", "rows-0-0.parquet")


def test_texts_change_within_an_episode(tmp_path):
    episode = _episode(_single(tmp_path, {"task_index": pa.array([0, 0, 1, 1])}))
    assert list(episode.extras["language_instruction"]) == [_TASKS[0]] * 2 + [_TASKS[1]] * 2


def test_texts_that_are_not_known_are_empty_and_told(tmp_path):
    (reading,) = _readings(_single(tmp_path, {"task_index": pa.array([0, 0, 7, 1])}))
    assert list(reading.episode.extras["language_instruction"]) == [_TASKS[0], _TASKS[0], "", _TASKS[1]]
    assert "is of task 7, for which the metadata have no text" in reading.problems[0]


def test_without_numbers_of_tasks_the_episode_has_its_only_one(tmp_path):
    (reading,) = _readings(_single(tmp_path / "a", less=["task_index"]))
    assert list(reading.episode.extras["language_instruction"]) == [_TASKS[0]] * 4
    assert reading.problems == ()  # its features do not declare one either


def _results(rewards=None, done=None, success=None):
    columns = {"next.reward": rewards, "next.done": done, "next.success": success}
    return {name: pa.array(values) for name, values in columns.items() if values is not None}


_DONE, _NOT = [False, False, False, True], [False] * 4


@pytest.mark.parametrize(
    ("done", "success", "terminal", "verdict"),
    [
        (_DONE, None, True, schema.Verdict.UNKNOWN),
        (_NOT, None, False, schema.Verdict.UNKNOWN),
        (_DONE, _DONE, True, schema.Verdict.SUCCESS),
        (_DONE, _NOT, False, schema.Verdict.FAILURE),  # a time limit, for all that is known
        (None, _DONE, True, schema.Verdict.SUCCESS),
        (_NOT, _DONE, False, schema.Verdict.SUCCESS),
    ],
)
def test_results_are_aligned_as_ours(tmp_path, done, success, terminal, verdict):
    episode = _episode(_single(tmp_path, _results([0.0, 0.25, 0.5, 1.0], done, success)))
    np.testing.assert_array_equal(episode.reward, np.float32([0, 0.25, 0.5, 1]))
    assert episode.is_terminal.tolist() == [False, False, False, terminal]
    assert episode.discount.tolist() == ([1, 1, 0, 0] if terminal else [1] * 4)
    assert episode.metadata.verdict == verdict
    for name, values in (("next/done", done), ("next/success", success)):
        assert (name in episode.extras) == (values is not None)
    assert "reward" not in " ".join(episode.extras) and "so no transition has it" in episode.metadata.repairs
    assert "reward," not in episode.metadata.repairs


def test_flags_of_a_table_are_kept(tmp_path):
    columns = {
        "reward": [[0.5]] * 4, "discount": np.float32([1, 1, 0, 0]), "is_first": [1, 0, 0, 0],
        "is_last": _DONE, "is_terminal": _DONE,
    }  # fmt: skip
    episode = _episode(_single(tmp_path, {name: pa.array(values) for name, values in columns.items()}))
    assert episode.reward.tolist() == [0.5] * 4 and episode.discount.tolist() == [1, 1, 0, 0]
    assert episode.is_first.tolist() == [True, False, False, False] and episode.is_terminal[-1]
    assert "absent" not in episode.metadata.repairs


def test_columns_of_every_kind(tmp_path):
    picture = tf.io.encode_png(np.full((6, 7, 3), 99, np.uint8)).numpy()
    matrix = pa.array([[[1.0, 2.0, 3.0], [4.0, 5.0, t]] for t in range(4)])
    more = {
        "observation.images.still": pa.array([{"bytes": picture, "path": "x.png"}] * 4),
        "observation.fixed": pa.FixedSizeListArray.from_arrays(pa.array(np.arange(8, dtype=np.float32)), 2),
        "observation.matrix": matrix,
        "observation.flag": pa.array([True, False, True, False]),
        "annotation.human.validity": pa.array([1, 2, 3, 4], pa.int8()),
        "comment": pa.array(list("äbcd")),
        "observation.detections": pa.array([[1.0], [1.0, 2.0], [], [3.0]]),
        "when": pa.array([0] * 4, pa.timestamp("us")),
        "words": pa.array([["a", "b"]] * 4),
        "gaps": pa.array([1, None, 2, 3]),
        "lists.gaps": pa.array([[1], None, [2], [3]]),
    }
    (reading,) = _readings(_single(tmp_path, more))
    episode = reading.episode
    assert list(episode.observation["images/still"]) == [picture] * 4
    np.testing.assert_array_equal(episode.observation["fixed"], np.arange(8, dtype=np.float32).reshape(4, 2))
    np.testing.assert_array_equal(episode.observation["matrix"], matrix.to_pylist())
    assert episode.observation["flag"].tolist() == [True, False, True, False]
    assert episode.extras["annotation/human/validity"].dtype == np.int8
    assert list(episode.extras["comment"]) == list("äbcd")
    told = {problem.split()[0]: problem for problem in reading.problems}
    assert sorted(told) == ["gaps", "lists.gaps", "observation.detections", "when", "words"]
    assert "varies in shape" in told["observation.detections"] and "empty in 1 places" in told["gaps"]
    assert "timestamp[us]" in told["when"]
    assert not validate.validate(episode).errors
    summary = ingest(IngestConfig((tmp_path,), tmp_path / "store", dataset="kinds"))
    assert summary.added == 1
    (stored,) = Store.open(tmp_path / "store").read_many(Store.open(tmp_path / "store").query(Query()))
    for name, array in episode.step_fields():
        np.testing.assert_array_equal(dict(stored.step_fields())[name], array, name)


def test_nan_that_pandas_wrote_as_nothing_is_told_by_validation(tmp_path):
    (reading,) = _readings(_single(tmp_path, {"observation.force": pa.array([1.0, None, 2.0, 3.0])}))
    assert "force: is NaN" in str(validate.validate(reading.episode).errors[0])


def test_names_that_lie_within_each_other_and_actions_in_parts(tmp_path):
    floats = pa.array(np.arange(4.0))
    path = _single(
        tmp_path / "a", {"observation.state.x": floats, "action.original": floats, "language_instruction": floats}
    )
    episode = _episode(path)
    assert sorted(episode.observation) == ["state", "state.x"]
    assert {"action.original", "task", "language_instruction"} <= set(episode.extras)
    assert episode.action.shape == (4, 2)
    assert ingest(IngestConfig((path,), tmp_path / "store")).added == 1
    parts = {"action.b": pa.array([1, 2, 3, 4]), "action.a": pa.array(np.arange(8.0).reshape(4, 2).tolist())}
    episode = _episode(_single(tmp_path / "b", parts, less=["action"]))
    np.testing.assert_array_equal(episode.action, np.float32([[0, 1, 1], [2, 3, 2], [4, 5, 3], [6, 7, 4]]))
    assert "action.a float64[2], action.b int64[] and is now float32[3]" in episode.metadata.repairs


@pytest.mark.parametrize(
    ("less", "more", "problem"),
    [
        (["observation.state"], {}, "has no observation among"),
        (["action"], {}, "no action of real numbers (found: none)"),
        ([], {"action": pa.array([1, 2, 3, 4])}, "found: action int64"),
        ([], {"next.reward": pa.array([[1.0, 2.0]] * 4)}, "has the reward float64[2]"),
        (["episode_index"], {}, "no rows that say of which episode they are"),
        ([], {"frame_index": pa.array([0, 1, 3, 4])}, "has frame_index 3 in its row 2"),
        ([], {"frame_index": pa.array([1, 2, 3, 4])}, "has frame_index 1 in its row 0"),
        ([], {"index": pa.array([6, 7, 9, 8])}, "has index 9 in its row 2"),
        ([], {"frame_index": pa.array([0, 1, None, 3])}, "has frame_index nan in its row 2"),
    ],
)
def test_tables_that_are_no_episode_are_told(tmp_path, less, more, problem):
    (reading,) = _readings(_single(tmp_path, more, less))
    assert reading.episode is None and reading.where == f"{tmp_path}/data/chunk-000/episode_000000.parquet, episode 0"
    assert problem in reading.problems[0] and str(tmp_path) in reading.problems[0]


def test_a_feature_that_the_table_lacks_is_told(tmp_path):
    dataset = _Dataset(tmp_path, lengths=(4,), cameras=())
    dataset.info["features"] = _features(dataset.columns[0], ()) | {
        "observation.force": {"dtype": "float32", "shape": [1]}
    }
    (reading,) = _readings(dataset.write())
    assert reading.episode and "lacks observation.force, which the metadata declare" in reading.problems[0]


def _truncate(file, share=0.5):
    os.truncate(file, int(file.stat().st_size * share))


def _flip(file):
    content = bytearray(file.read_bytes())
    for place in range(4, len(content) // 2, 5):
        content[place] ^= 0xFF
    file.write_bytes(content)


def _other_frames(dataset, n, more):
    _mp4(dataset.video(n, _CAMERAS[1]), _brightness(n, 1, dataset.lengths[n] + more))


_DAMAGES = {
    "table cut": (lambda d: _truncate(d.data(1)), (0, 1), "cannot be read"),
    "table flipped": (lambda d: _flip(d.data(1)), (0, 1), "cannot be read"),
    "table empty": (lambda d: d.data(1).write_bytes(b""), (0, 1), "cannot be read"),
    "table gone": (lambda d: d.data(1).unlink(), (0, 1), "is not there"),
    "video cut": (lambda d: _truncate(d.video(1, _CAMERAS[1])), (1,), "mp4"),
    "video flipped": (lambda d: _flip(d.video(1, _CAMERAS[1])), (1,), "mp4"),
    "video gone": (lambda d: d.video(1, _CAMERAS[1]).unlink(), (1,), "is not there, though other episodes"),
    "frame lost": (lambda d: _other_frames(d, 1, -1), (1,), "has 6 frames for 7 rows"),
}


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
@pytest.mark.parametrize("damage", _DAMAGES)
def test_a_damaged_dataset_gives_its_good_episodes(tmp_path, version, damage):
    do, bad, problem = _DAMAGES[damage]
    dataset = _Dataset(tmp_path, version)
    dataset.write()
    do(dataset)
    bad = bad if version == "v3.0" else (1,)  # version 3 has episodes 0 and 1 in one table
    readings = _readings(tmp_path)
    assert [reading.where for reading in readings] == [f"{dataset.data(n)}, episode {n}" for n in range(3)]
    assert [n for n, reading in enumerate(readings) if reading.episode is None] == list(bad)
    for n in bad:
        (told,) = readings[n].problems
        assert problem in told and str(tmp_path) in told


def test_a_video_with_more_frames_than_rows_is_told(tmp_path):
    dataset = _Dataset(tmp_path)
    dataset.write()
    _other_frames(dataset, 1, 2)
    readings = _readings(tmp_path)
    assert readings[0].episode and readings[2].episode and readings[1].episode is None
    assert "has 9 frames for 7 rows" in readings[1].problems[0]


def test_a_video_that_is_cut_gives_the_stretches_before(tmp_path):
    """Of version 3: all episodes of a camera lie in one video, and only their own stretches are decoded."""
    dataset = _Dataset(tmp_path, "v3.0")
    dataset.write()
    file = dataset.video(0, _CAMERAS[0])
    os.truncate(file, file.stat().st_size - 40)
    assert [reading.episode is not None for reading in _readings(tmp_path)] == [True, True, False]


@pytest.mark.parametrize("options", [(("bf", "0"),), (("bf", "3"), ("b-adapt", "0"))])
@pytest.mark.parametrize("gop", [1, 4, 250])
def test_stretches_are_found_in_any_video(tmp_path, gop, options):
    greys = [20 + 3 * t for t in range(60)]
    _mp4(tmp_path / "x.mp4", greys, 30, gop, options=options)
    for begin in (0, 1, 29, 31, 33, 47, 59):
        for end in {begin + 1, min(begin + 9, 60)}:
            stretch = Stretch(tmp_path / "x.mp4", begin / 30, end / 30)
            np.testing.assert_allclose(_greys(read_pictures(stretch, end - begin, 30)), greys[begin:end], atol=1.4)
    with pytest.raises(BadEpisodeError, match="has 10 frames for 15 rows"):
        read_pictures(Stretch(tmp_path / "x.mp4", 50 / 30, 65 / 30), 15, 30)


def test_a_video_with_any_byte_wrong_is_read_or_told(tmp_path):
    _mp4(tmp_path / "x.mp4", range(40, 80, 4))
    whole, rng, told = (tmp_path / "x.mp4").read_bytes(), np.random.default_rng(0), 0
    for _ in range(200):
        content = bytearray(whole)
        for place in rng.integers(len(content), size=rng.integers(1, 4)):
            content[place] = rng.integers(256)
        (tmp_path / "y.mp4").write_bytes(content)
        try:
            assert len(read_pictures(Stretch(tmp_path / "y.mp4", 0.3), 7, _FPS)) == 7
        except BadEpisodeError:
            told += 1
    assert 20 < told < 180


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_a_camera_without_videos_and_one_of_depth_are_told_once(tmp_path, version):
    absent, depth, seen = "observation.images.absent", "observation.images.depth", _CAMERAS[0]
    dataset = _Dataset(tmp_path, version, cameras=(seen, depth, absent))
    dataset.info["features"] = _features(dataset.columns[0], dataset.cameras)
    dataset.info["features"][depth]["info"]["video.is_depth_map"] = True
    dataset.write()
    for folder in tmp_path.rglob(absent):
        shutil.rmtree(folder)
    readings = _readings(tmp_path)
    assert [sorted(reading.episode.observation) for reading in readings] == [["images/top", "state"]] * 3
    no_video, no_colours = readings[0].problems
    assert f"{absent} is left out" in no_video and "has no video of it" in no_video
    assert f"{depth} is left out" in no_colours and "it is depth" in no_colours
    assert not readings[1].problems and not readings[2].problems


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_rows_that_the_metadata_promise_and_the_table_lacks_are_told(tmp_path, version):
    dataset = _Dataset(tmp_path, version, cameras=())
    dataset.columns[1] = {name: column[:6] for name, column in dataset.columns[1].items()}
    readings = _readings(dataset.write())
    assert [reading.episode is None for reading in readings] == [False, True, False]
    assert "episode 1 has 6 rows of 7" in readings[1].problems[0]


def test_episodes_that_the_metadata_do_not_list(tmp_path):
    for version in ("v2.1", "v3.0"):
        dataset = _Dataset(tmp_path / version, version)
        dataset.write()
    (lines := tmp_path / "v2.1/meta/episodes.jsonl").write_text("\n".join(lines.read_text().split("\n")[:2]))
    (tmp_path / "v3.0/meta/episodes/chunk-000/file-001.parquet").unlink()
    found = _readings(tmp_path / "v2.1")
    assert len(found) == 3 and all(reading.episode for reading in found)  # the number says where its video is
    assert "tells of 3 episodes and 16 frames, but 2 and 12 are listed" in found[0].problems[0]
    first, second, third = _readings(tmp_path / "v3.0")
    assert first.episode and second.episode and third.episode is None
    assert "no video of observation.images.top that the metadata tell of" in third.problems[0]


def test_rows_in_the_file_of_another_episode_are_told(tmp_path):
    dataset = _Dataset(tmp_path, cameras=())
    dataset.write()
    shutil.copyfile(dataset.data(0), dataset.data(1))
    readings = _readings(tmp_path)
    assert [reading.episode is None for reading in readings] == [False, True, True, False]
    assert "has rows of episode 0, which the metadata put elsewhere" in readings[1].problems[0]
    assert "has 0 rows of 7" in readings[2].problems[0]


@pytest.mark.parametrize(
    ("change", "problem"),
    [
        (lambda path: _set(path, codebase_version="v1.6"), "version v1.6: convert it to one of v2.0, v2.1, v3.0"),
        (lambda path: (path / "meta/info.json").write_text("{"), "info.json cannot be read"),
        (lambda path: _set(path, features=None), "info.json cannot be read"),
        (lambda path: _set(path, features={"a": 1}), "does not declare its features"),
        (lambda path: _set(path, fps="fast"), "info.json cannot be read"),
        (lambda path: _set(path, data_path="{episode}.parquet"), "data_path '{episode}.parquet', which"),
        (lambda path: _set(path, data_path=None), "has the data_path None"),
        (lambda path: (path / "meta/tasks.jsonl").unlink(), "tasks.jsonl cannot be read"),
        (
            lambda path: (path / "meta/episodes.jsonl").write_text('{"episode_index": 0}'),
            "episodes.jsonl cannot be read",
        ),
    ],
)
def test_damaged_metadata_are_one_sentence(tmp_path, change, problem):
    change(_single(tmp_path))
    with pytest.raises(StoreError) as caught:
        open_logs(tmp_path)
    assert problem in str(caught.value) and str(tmp_path) in str(caught.value)


def _set(path, **info):
    file = path / "meta/info.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | info))


@pytest.mark.parametrize("name", ["meta/tasks.parquet", "meta/episodes/chunk-000/file-000.parquet"])
def test_damaged_metadata_of_version_3_are_one_sentence(tmp_path, name):
    _truncate(_Dataset(tmp_path, "v3.0", cameras=()).write() / name)
    with pytest.raises(StoreError, match=f"{name} cannot be read"):
        open_logs(tmp_path)


def test_an_info_of_something_else_is_no_dataset(tmp_path):
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta/info.json").write_text('{"name": "x"}')
    with pytest.raises(StoreError, match="nor LeRobot datasets"):
        open_logs(tmp_path)


@pytest.fixture
def real():
    if "ARMCHAIR_REAL_DATA" not in os.environ:
        pytest.skip("real recordings are read only where ARMCHAIR_REAL_DATA says where they are")
    return Path(os.environ["ARMCHAIR_REAL_DATA"])


def _assert_as_stored(episode, table, observations):
    """Numbers by plain pyarrow, cell by cell."""
    for name, feature in observations.items():
        stored = table[feature].to_pylist()
        assert len(stored) == episode.num_steps
        assert (episode.observation[name].astype(np.float64) == np.array(stored)).all()
    assert (episode.action == np.array(table["action"].to_pylist(), np.float32)).all()
    assert episode.extras["timestamp"].tolist() == table["timestamp"].to_pylist()


def _assert_shows(pictures, file):
    """JPEG of what plain PyAV decodes; looked at now and then."""
    with av.open(str(file)) as container:
        container.streams.video[0].codec_context.thread_count = 1
        number = 0
        for number, frame in enumerate(container.decode(video=0), 1):
            if number % 50 == 1:
                wanted = frame.to_ndarray(format="rgb24").astype(np.float32)
                difference = np.abs(tf.io.decode_jpeg(pictures[number - 1]).numpy() - wanted)
                assert difference.mean() < 2 and difference.shape == wanted.shape
    assert number == len(pictures)


def test_real_version_2_0(real, tmp_path):
    """A simulated humanoid; a second camera is declared that is not there."""
    source = real / "lerobot_v20_gr00t"
    readings = _readings(source)
    assert len(readings) == 5 and sum(reading.episode.num_steps for reading in readings) == 2096
    assert "observation.images.egoview is left out" in readings[0].problems[0]
    assert [len(reading.problems) for reading in readings] == [1, 0, 0, 0, 0]
    folder = source / "robot_sim.PickNPlace"
    told = [json.loads(line) for line in (folder / "meta/episodes.jsonl").read_text().splitlines()]
    for n, reading in enumerate(readings):
        episode = reading.episode
        table = parquet.read_table(folder / f"data/chunk-000/episode_{n:06d}.parquet")
        _assert_as_stored(episode, table, {"state": "observation.state"})
        assert episode.observation["state"].dtype == np.float64 and episode.action.shape[1] == 44
        assert episode.reward.tolist() == table["next.reward"].to_pylist()
        assert episode.extras["next/done"].tolist() == table["next.done"].to_pylist()
        for name in ("annotation.human.validity", "annotation.human.action.task_description", "task_index"):
            assert episode.extras[name.replace(".", "/")].tolist() == table[name].to_pylist()
        assert set(episode.extras["language_instruction"]) == {told[n]["tasks"][0]}
        assert episode.is_terminal.nonzero()[0].tolist() == [episode.num_steps - 1] and episode.discount[-2] == 0
        video = folder / f"videos/chunk-000/observation.images.ego_view/episode_{n:06d}.mp4"
        _assert_shows(episode.observation["images/ego_view"], video)
        assert (episode.metadata.robot, episode.metadata.control_rate_hz) == ("GR1ArmsOnly", 20)
    summary = ingest(IngestConfig((source,), tmp_path / "store"))
    assert (summary.added, summary.quarantined, len(summary.problems)) == (5, 0, 1)
    store = Store.open(tmp_path / "store")
    assert store.datasets() == ("robot_sim_PickNPlace",) and store.verify() == []
    stored = store.read(readings[3].episode.metadata.episode_id)
    for name, array in readings[3].episode.step_fields():
        np.testing.assert_array_equal(dict(stored.step_fields())[name], array, name)


def test_real_version_2_1(real, tmp_path):
    """Metadata of 100 episodes, tables of four, the video of one."""
    source = real / "lerobot_v21_g1"
    readings = _readings(source)
    assert len(readings) == 100
    (whole,) = [reading for reading in readings if reading.episode]
    name = "chunk-000/episode_000029.parquet"
    assert whole.where == f"{source}/data/{name}, episode 29"
    _assert_as_stored(whole.episode, parquet.read_table(source / "data" / name), {"state": "observation.state"})
    video = source / "videos/chunk-000/observation.images.cam_high/episode_000029.mp4"
    _assert_shows(whole.episode.observation["images/cam_high"], video)
    assert set(whole.episode.extras["language_instruction"]) == {"Pick up the yellow bottle on the table."}
    told = [problem for reading in readings for problem in reading.problems]
    assert sum("parquet is not there" in problem for problem in told) == 96
    assert sum("mp4 is not there, though other episodes have that camera" in problem for problem in told) == 3
    summary = ingest(IngestConfig((source,), tmp_path / "store"))
    assert (summary.added, summary.quarantined) == (1, 99)


def test_real_version_2_1_without_its_camera(real, tmp_path):
    """As the reason for the quarantine says: without any video, all four episodes come."""
    shutil.copytree(real / "lerobot_v21_g1", tmp_path / "g1", ignore=shutil.ignore_patterns("videos"))
    summary = ingest(IngestConfig((tmp_path / "g1",), tmp_path / "store"))
    assert (summary.added, summary.quarantined) == (4, 96)
    assert sum("cam_high is left out" in problem for _, problem in summary.problems) == 1
    assert sorted(row.num_steps for row in Store.open(tmp_path / "store").query(Query())) == [221, 277, 393, 583]


def test_real_version_3_0(real, tmp_path):
    """Three episodes in one table; no videos, and a wrong total."""
    source = real / "lerobot_v30_apple_storage"
    readings = _readings(source)
    absent, total = readings[0].problems
    assert "observation.image is left out" in absent and "tells of 3 episodes and 14983 frames, but 3 and 899" in total
    table = parquet.read_table(source / "data/chunk-000/file-000.parquet")
    start = 0
    for reading, length in zip(readings, (299, 300, 300), strict=True):
        assert reading.episode.num_steps == length
        _assert_as_stored(reading.episode, table.slice(start, length), {"state": "observation.state"})
        assert set(reading.episode.extras["language_instruction"]) == {"place the apple in the plate"}
        start += length
    summary = ingest(IngestConfig((source,), tmp_path / "store", defaults=Defaults("apple")))
    assert (summary.added, summary.quarantined, len(summary.problems)) == (3, 0, 2)
    assert {row.robot for row in Store.open(tmp_path / "store").query(Query(task_id="apple"))} == {"reachy2"}
