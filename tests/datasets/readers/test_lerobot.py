import json
import os
import pickle
import shutil

import numpy as np
import pyarrow as pa
import pytest
import tensorflow as tf

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
from tests.datasets.readers.lerobot_files import (
    CAMERAS,
    FPS,
    TASKS,
    VERSIONS,
    Dataset,
    brightness,
    episode_of,
    greys_of,
    make_features,
    readings_of,
    write_mp4,
    write_single,
)


@pytest.mark.parametrize("version", VERSIONS)
def test_every_layout_comes_back_as_it_was_written(tmp_path, version):
    dataset = Dataset(tmp_path / "a.b-c" / "2x", version)
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
            wanted = brightness(n, number, dataset.lengths[n])
            np.testing.assert_allclose(greys_of(episode.observation[name]), wanted, atol=2)
        assert episode.observation["state"].dtype == np.float64
        np.testing.assert_array_equal(episode.observation["state"], columns["observation.state"].to_pylist())
        assert episode.action.dtype == np.float32
        np.testing.assert_array_equal(episode.action, columns["action"].to_pylist())
        assert sorted(episode.extras) == ["language_instruction", "task_index", "timestamp"]
        np.testing.assert_array_equal(episode.extras["timestamp"], columns["timestamp"].to_numpy())
        assert list(episode.extras["language_instruction"]) == [TASKS[n % 2]] * dataset.lengths[n]
        assert episode.is_first.nonzero()[0].tolist() == [0]
        assert episode.is_last.nonzero()[0].tolist() == [dataset.lengths[n] - 1]
        assert not episode.is_terminal.any() and (episode.discount == 1).all() and not episode.reward.any()
        said = episode.metadata
        assert (said.task_id, said.robot, said.control_rate_hz, said.seed) == ("tidy", "so100", FPS, -1)
        assert said.episode_type == schema.EpisodeType.TELEOPERATION and said.verdict == schema.Verdict.UNKNOWN
        assert said.source == reading.where == f"{dataset.data(n)}, episode {n}"
        assert "observation.images.top was video and is now JPEG." in said.repairs
        assert "reward, discount, is_first, is_last, is_terminal were absent" in said.repairs


def test_the_same_episodes_have_the_same_ids_in_every_layout(tmp_path):
    ids = {
        version: [
            r.episode.metadata.episode_id for r in readings_of(Dataset(tmp_path / version, version, cameras=()).write())
        ]
        for version in VERSIONS
    }
    assert ids["v2.0"] == ids["v2.1"] == ids["v3.0"] and len(set(ids["v3.0"])) == 3


def test_what_the_log_does_not_say_the_defaults_do(tmp_path):
    write_single(tmp_path, robot_type=None, fps=None)
    (reading,) = readings_of(tmp_path, Defaults(robot="widowx", control_rate_hz=5.0))
    assert (reading.episode.metadata.robot, reading.episode.metadata.control_rate_hz) == ("widowx", 5.0)


@pytest.mark.parametrize(
    ("version", "data_path", "video_path"),
    [
        ("v2.1", "rows/{episode_index:03d}.parquet", "films/{episode_index}/{video_key}.mp4"),
        ("v3.0", "rows-{chunk_index}-{file_index}.parquet", "films/{file_index}/{video_key}.mp4"),
    ],
)
def test_paths_follow_the_templates(tmp_path, version, data_path, video_path):
    dataset = Dataset(tmp_path, version, data_path=data_path, video_path=video_path)
    readings = readings_of(dataset.write())
    assert [reading.problems for reading in readings] == [()] * 3
    assert dataset.data(0).name in ("000.parquet", "rows-0-0.parquet")


def test_texts_change_within_an_episode(tmp_path):
    episode = episode_of(write_single(tmp_path, {"task_index": pa.array([0, 0, 1, 1])}))
    assert list(episode.extras["language_instruction"]) == [TASKS[0]] * 2 + [TASKS[1]] * 2


def test_texts_that_are_not_known_are_empty_and_told(tmp_path):
    (reading,) = readings_of(write_single(tmp_path, {"task_index": pa.array([0, 0, 7, 1])}))
    assert list(reading.episode.extras["language_instruction"]) == [TASKS[0], TASKS[0], "", TASKS[1]]
    assert "is of task 7, for which the metadata have no text" in reading.problems[0]


def test_without_numbers_of_tasks_the_episode_has_its_only_one(tmp_path):
    (reading,) = readings_of(write_single(tmp_path / "a", less=["task_index"]))
    assert list(reading.episode.extras["language_instruction"]) == [TASKS[0]] * 4
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
    episode = episode_of(write_single(tmp_path, _results([0.0, 0.25, 0.5, 1.0], done, success)))
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
    episode = episode_of(write_single(tmp_path, {name: pa.array(values) for name, values in columns.items()}))
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
    (reading,) = readings_of(write_single(tmp_path, more))
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
    (reading,) = readings_of(write_single(tmp_path, {"observation.force": pa.array([1.0, None, 2.0, 3.0])}))
    assert "force: is NaN" in str(validate.validate(reading.episode).errors[0])


def test_names_that_lie_within_each_other_and_actions_in_parts(tmp_path):
    floats = pa.array(np.arange(4.0))
    path = write_single(
        tmp_path / "a", {"observation.state.x": floats, "action.original": floats, "language_instruction": floats}
    )
    episode = episode_of(path)
    assert sorted(episode.observation) == ["state", "state.x"]
    assert {"action.original", "task", "language_instruction"} <= set(episode.extras)
    assert episode.action.shape == (4, 2)
    assert ingest(IngestConfig((path,), tmp_path / "store")).added == 1
    parts = {"action.b": pa.array([1, 2, 3, 4]), "action.a": pa.array(np.arange(8.0).reshape(4, 2).tolist())}
    episode = episode_of(write_single(tmp_path / "b", parts, less=["action"]))
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
    (reading,) = readings_of(write_single(tmp_path, more, less))
    assert reading.episode is None and reading.where == f"{tmp_path}/data/chunk-000/episode_000000.parquet, episode 0"
    assert problem in reading.problems[0] and str(tmp_path) in reading.problems[0]


def test_a_feature_that_the_table_lacks_is_told(tmp_path):
    dataset = Dataset(tmp_path, lengths=(4,), cameras=())
    dataset.info["features"] = make_features(dataset.columns[0], ()) | {
        "observation.force": {"dtype": "float32", "shape": [1]}
    }
    (reading,) = readings_of(dataset.write())
    assert reading.episode and "lacks observation.force, which the metadata declare" in reading.problems[0]


def _truncate(file, share=0.5):
    os.truncate(file, int(file.stat().st_size * share))


def _flip(file):
    content = bytearray(file.read_bytes())
    for place in range(4, len(content) // 2, 5):
        content[place] ^= 0xFF
    file.write_bytes(content)


def _other_frames(dataset, n, more):
    write_mp4(dataset.video(n, CAMERAS[1]), brightness(n, 1, dataset.lengths[n] + more))


_DAMAGES = {
    "table cut": (lambda d: _truncate(d.data(1)), (0, 1), "cannot be read"),
    "table flipped": (lambda d: _flip(d.data(1)), (0, 1), "cannot be read"),
    "table empty": (lambda d: d.data(1).write_bytes(b""), (0, 1), "cannot be read"),
    "table gone": (lambda d: d.data(1).unlink(), (0, 1), "is not there"),
    "video cut": (lambda d: _truncate(d.video(1, CAMERAS[1])), (1,), "mp4"),
    "video flipped": (lambda d: _flip(d.video(1, CAMERAS[1])), (1,), "mp4"),
    "video gone": (lambda d: d.video(1, CAMERAS[1]).unlink(), (1,), "is not there, though other episodes"),
    "frame lost": (lambda d: _other_frames(d, 1, -1), (1,), "has 6 frames for 7 rows"),
}


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
@pytest.mark.parametrize("damage", _DAMAGES)
def test_a_damaged_dataset_gives_its_good_episodes(tmp_path, version, damage):
    do, bad, problem = _DAMAGES[damage]
    dataset = Dataset(tmp_path, version)
    dataset.write()
    do(dataset)
    bad = bad if version == "v3.0" else (1,)  # version 3 has episodes 0 and 1 in one table
    readings = readings_of(tmp_path)
    assert [reading.where for reading in readings] == [f"{dataset.data(n)}, episode {n}" for n in range(3)]
    assert [n for n, reading in enumerate(readings) if reading.episode is None] == list(bad)
    for n in bad:
        (told,) = readings[n].problems
        assert problem in told and str(tmp_path) in told


def test_a_video_with_more_frames_than_rows_is_told(tmp_path):
    dataset = Dataset(tmp_path)
    dataset.write()
    _other_frames(dataset, 1, 2)
    readings = readings_of(tmp_path)
    assert readings[0].episode and readings[2].episode and readings[1].episode is None
    assert "has 9 frames for 7 rows" in readings[1].problems[0]


def test_a_video_that_is_cut_gives_the_stretches_before(tmp_path):
    """Of version 3: all episodes of a camera lie in one video, and only their own stretches are decoded."""
    dataset = Dataset(tmp_path, "v3.0")
    dataset.write()
    file = dataset.video(0, CAMERAS[0])
    os.truncate(file, file.stat().st_size - 40)
    assert [reading.episode is not None for reading in readings_of(tmp_path)] == [True, True, False]


@pytest.mark.parametrize("options", [(("bf", "0"),), (("bf", "3"), ("b-adapt", "0"))])
@pytest.mark.parametrize("gop", [1, 4, 250])
def test_stretches_are_found_in_any_video(tmp_path, gop, options):
    greys = [20 + 3 * t for t in range(60)]
    write_mp4(tmp_path / "x.mp4", greys, 30, gop, options=options)
    for begin in (0, 1, 29, 31, 33, 47, 59):
        for end in {begin + 1, min(begin + 9, 60)}:
            stretch = Stretch(tmp_path / "x.mp4", begin / 30, end / 30)
            np.testing.assert_allclose(greys_of(read_pictures(stretch, end - begin, 30)), greys[begin:end], atol=1.4)
    with pytest.raises(BadEpisodeError, match="has 10 frames for 15 rows"):
        read_pictures(Stretch(tmp_path / "x.mp4", 50 / 30, 65 / 30), 15, 30)


def test_a_video_with_any_byte_wrong_is_read_or_told(tmp_path):
    write_mp4(tmp_path / "x.mp4", range(40, 80, 4))
    whole, rng, told = (tmp_path / "x.mp4").read_bytes(), np.random.default_rng(0), 0
    for _ in range(200):
        content = bytearray(whole)
        for place in rng.integers(len(content), size=rng.integers(1, 4)):
            content[place] = rng.integers(256)
        (tmp_path / "y.mp4").write_bytes(content)
        try:
            assert len(read_pictures(Stretch(tmp_path / "y.mp4", 0.3), 7, FPS)) == 7
        except BadEpisodeError:
            told += 1
    assert 20 < told < 180


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_a_camera_without_videos_and_one_of_depth_are_told_once(tmp_path, version):
    absent, depth, seen = "observation.images.absent", "observation.images.depth", CAMERAS[0]
    dataset = Dataset(tmp_path, version, cameras=(seen, depth, absent))
    dataset.info["features"] = make_features(dataset.columns[0], dataset.cameras)
    dataset.info["features"][depth]["info"]["video.is_depth_map"] = True
    dataset.write()
    for folder in tmp_path.rglob(absent):
        shutil.rmtree(folder)
    readings = readings_of(tmp_path)
    assert [sorted(reading.episode.observation) for reading in readings] == [["images/top", "state"]] * 3
    no_video, no_colours = readings[0].problems
    assert f"{absent} is left out" in no_video and "has no video of it" in no_video
    assert f"{depth} is left out" in no_colours and "it is depth" in no_colours
    assert not readings[1].problems and not readings[2].problems


@pytest.mark.parametrize("version", ["v2.1", "v3.0"])
def test_rows_that_the_metadata_promise_and_the_table_lacks_are_told(tmp_path, version):
    dataset = Dataset(tmp_path, version, cameras=())
    dataset.columns[1] = {name: column[:6] for name, column in dataset.columns[1].items()}
    readings = readings_of(dataset.write())
    assert [reading.episode is None for reading in readings] == [False, True, False]
    assert "episode 1 has 6 rows of 7" in readings[1].problems[0]


def test_episodes_that_the_metadata_do_not_list(tmp_path):
    for version in ("v2.1", "v3.0"):
        dataset = Dataset(tmp_path / version, version)
        dataset.write()
    (lines := tmp_path / "v2.1/meta/episodes.jsonl").write_text("\n".join(lines.read_text().split("\n")[:2]))
    (tmp_path / "v3.0/meta/episodes/chunk-000/file-001.parquet").unlink()
    found = readings_of(tmp_path / "v2.1")
    assert len(found) == 3 and all(reading.episode for reading in found)  # the number says where its video is
    assert "tells of 3 episodes and 16 frames, but 2 and 12 are listed" in found[0].problems[0]
    first, second, third = readings_of(tmp_path / "v3.0")
    assert first.episode and second.episode and third.episode is None
    assert "no video of observation.images.top that the metadata tell of" in third.problems[0]


def test_rows_in_the_file_of_another_episode_are_told(tmp_path):
    dataset = Dataset(tmp_path, cameras=())
    dataset.write()
    shutil.copyfile(dataset.data(0), dataset.data(1))
    readings = readings_of(tmp_path)
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
    change(write_single(tmp_path))
    with pytest.raises(StoreError) as caught:
        open_logs(tmp_path)
    assert problem in str(caught.value) and str(tmp_path) in str(caught.value)


def _set(path, **info):
    file = path / "meta/info.json"
    file.write_text(json.dumps(json.loads(file.read_text()) | info))


@pytest.mark.parametrize("name", ["meta/tasks.parquet", "meta/episodes/chunk-000/file-000.parquet"])
def test_damaged_metadata_of_version_3_are_one_sentence(tmp_path, name):
    _truncate(Dataset(tmp_path, "v3.0", cameras=()).write() / name)
    with pytest.raises(StoreError, match=f"{name} cannot be read"):
        open_logs(tmp_path)


def test_an_info_of_something_else_is_no_dataset(tmp_path):
    (tmp_path / "meta").mkdir()
    (tmp_path / "meta/info.json").write_text('{"name": "x"}')
    with pytest.raises(StoreError, match="nor LeRobot datasets"):
        open_logs(tmp_path)
