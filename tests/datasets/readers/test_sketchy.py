import contextlib
import json
import os
import shutil
import sqlite3
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf

from datasets import validate, video
from datasets.errors import StoreError
from datasets.readers.logs import open_logs

ID = "10000313341320364033"  # exceeds 64 bits, as real ones do
FILE = f"{ID}_b615a417-ce34-41a8-8411-2a1ce3f3bd07"

# The published schema.
SCHEMA = """
CREATE TABLE "Episodes"("EpisodeId" VARCHAR NOT NULL, "TaskId" VARCHAR, "DataPath" VARCHAR,
  "Timestamp" INTEGER, "EpisodeType" VARCHAR, PRIMARY KEY("EpisodeId"));
CREATE TABLE "Tags"("Name" VARCHAR NOT NULL, PRIMARY KEY("Name"));
CREATE TABLE "EpisodeTags"("EpisodeId" VARCHAR NOT NULL, "Tag" VARCHAR NOT NULL, PRIMARY KEY("EpisodeId","Tag"));
CREATE TABLE "RewardSequences"("EpisodeId" VARCHAR NOT NULL, "RewardSequenceId" VARCHAR NOT NULL,
  "RewardTaskId" VARCHAR, "Type" VARCHAR, "User" VARCHAR, "Values" BLOB, PRIMARY KEY("EpisodeId","RewardSequenceId"));
CREATE TABLE "ArchiveFiles"("EpisodeId" VARCHAR NOT NULL, "ArchiveFile" VARCHAR, PRIMARY KEY("EpisodeId"));
"""


def _floats(*values):
    return tf.train.Feature(float_list=tf.train.FloatList(value=values))


def _write_episode(path: Path, num_steps=4, **without):
    pixels = tf.io.encode_jpeg(np.full((8, 10, 3), 120, np.uint8)).numpy()
    with tf.io.TFRecordWriter(os.fspath(path)) as writer:
        for t in range(num_steps):
            feature = {
                "actions": _floats(*[t / 10] * 7),
                "sawyer/joints/angle": _floats(*[t / 4] * 7),
                "gripper/grasp": tf.train.Feature(int64_list=tf.train.Int64List(value=[1])),
                "pixels/basket_front_left": tf.train.Feature(bytes_list=tf.train.BytesList(value=[pixels])),
                "sawyer/joints/arrival_time": _floats(1561731200.0),
            }
            for name in without.get(f"without_at_{t}", ()):
                del feature[name]
            writer.write(tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString())


def _write_database(path: Path, sketches):
    with contextlib.closing(sqlite3.connect(path)) as connection:
        connection.executescript(SCHEMA)
        row = [ID, "lift_green", FILE, 1561731200, "EPISODE_ROBOT_TELEOPERATION"]
        connection.execute('INSERT INTO "Episodes" VALUES (?,?,?,?,?)', row)
        for tag in ("rgb30", "lift_green__demos"):
            connection.execute('INSERT INTO "EpisodeTags" VALUES (?,?)', [ID, tag])
        for number, values in enumerate(sketches):
            row = [ID, f"s{number}", "stack_green_on_red", "REWARD_SKETCH", "anna", np.array(values, "<f4").tobytes()]
            connection.execute('INSERT INTO "RewardSequences" VALUES (?,?,?,?,?,?)', row)
        connection.commit()


def _readings(path):
    (log,) = open_logs(path)
    assert log.name == "sketchy"
    return [reading for file in log.files() for reading in log.read(file)]


def test_an_episode_with_its_database(tmp_path):
    _write_episode(tmp_path / FILE)
    _write_database(tmp_path / "metadata.sqlite", [[0, 0.2, 0.6, 1.0], [0, 0.1]])
    (reading,) = _readings(tmp_path)
    said = reading.episode.metadata
    assert (said.episode_id, said.task_id, said.timestamp) == (ID, "lift_green", 1561731200)
    assert said.episode_type == "EPISODE_ROBOT_TELEOPERATION" and said.tags == "lift_green__demos,rgb30"
    (sketch,) = reading.sketches
    assert (sketch.task_id, sketch.user, sketch.sequence_id) == ("stack_green_on_red", "anna", "s0")
    np.testing.assert_array_equal(sketch.values, np.float32([0, 0.2, 0.6, 1.0]))
    (problem,) = reading.problems  # the other sketch is too short, and the episode that it is for is named
    assert "'s1'" in problem and ID in problem and "2 values for 4 frames" in problem
    assert not validate.validate(reading.episode).errors


def test_a_sketch_outside_its_range_is_not_clipped(tmp_path):
    _write_episode(tmp_path / FILE)
    _write_database(tmp_path / "metadata.sqlite", [[0, 0.2, 1.5, 1.0]])
    (reading,) = _readings(tmp_path)
    assert reading.sketches == () and "1.5 at frame 2" in reading.problems[0] and ID in reading.problems[0]


def test_step_flags_are_made(tmp_path):
    _write_episode(tmp_path / FILE, 3)
    (reading,) = _readings(tmp_path)
    episode = reading.episode
    assert episode.metadata.episode_id == ID and episode.metadata.robot == "sawyer"
    assert list(episode.is_last) == [False, False, True] and list(episode.is_first) == [True, False, False]
    assert list(episode.discount) == [1] * 3 and list(episode.reward) == [0] * 3 and not episode.is_terminal.any()
    np.testing.assert_allclose(episode.action[:, 0], [0, 0.1, 0.2])
    assert sorted(episode.observation) == ["gripper/grasp", "pixels/basket_front_left", "sawyer/joints/angle"]
    assert video.decode_frames(episode.observation["pixels/basket_front_left"]).shape == (3, 8, 10, 3)


def test_bad_episodes_are_told_from_good_ones(tmp_path):
    names = [f"{n}_b615a417-ce34-41a8-8411-2a1ce3f3bd07" for n in range(4)]
    _write_episode(tmp_path / names[0])
    _write_episode(tmp_path / names[1], without_at_2=["sawyer/joints/angle"])
    _write_episode(tmp_path / names[2])
    os.truncate(tmp_path / names[2], (tmp_path / names[2]).stat().st_size - 20)
    with tf.io.TFRecordWriter(os.fspath(tmp_path / names[3])) as writer:
        writer.write(b"\xff\xffnot an example")
    readings = _readings(tmp_path)
    assert [reading.episode is not None for reading in readings] == [True, False, False, False]
    for reading, name, problem in zip(
        readings[1:], names[1:], ["the same features", "ends within record 3", "not steps"], strict=True
    ):
        assert name in reading.problems[0] and problem in reading.problems[0]


def test_a_damaged_database_is_said(tmp_path):
    _write_episode(tmp_path / FILE)
    (tmp_path / "metadata.sqlite").write_bytes(b"no database at all" * 100)
    with pytest.raises(StoreError, match=r"metadata\.sqlite cannot be read"):
        _readings(tmp_path)


@pytest.fixture
def real():
    if "ARMCHAIR_REAL_DATA" not in os.environ:
        pytest.skip("real recordings are read only where ARMCHAIR_REAL_DATA says where they are")
    return Path(os.environ["ARMCHAIR_REAL_DATA"]) / "sketchy"


def test_the_published_record(real, tmp_path):
    """Values and shapes of the paper's own Sawyer cell, as read by others."""
    (reading,) = _readings(real)
    episode = reading.episode
    assert episode.num_steps == 4 and not validate.validate(episode).errors
    small = [name for name, array in episode.observation.items() if array.dtype != object and array.ndim == 2]
    assert len(small) == 13
    for t, step in enumerate(json.loads((real / "example_values.json").read_text())):
        np.testing.assert_allclose(episode.action[t], step["actions"]["value"], rtol=1e-5, atol=1e-6)
        for name in small:
            np.testing.assert_allclose(episode.observation[name][t], step[name]["value"], rtol=1e-5, atol=1e-6)
    for camera in ("basket_front_left", "basket_back_left", "basket_front_right"):
        assert episode.observation[f"pixels/{camera}"][0] == (real / f"step0_{camera}.jpg").read_bytes()
    assert episode.observation["pixels/royale_camera_driver_depth"].shape == (4, 171, 224, 1)
    tcp, pinch = episode.observation["sawyer/tcp/pose"], episode.observation["sawyer/pinch/pose"]  # [T, 7]
    np.testing.assert_allclose(np.linalg.norm(tcp[:, 3:], axis=1), 1, atol=1e-3)
    np.testing.assert_allclose(np.linalg.norm(pinch[:, :3] - tcp[:, :3], axis=1), 0.2012, atol=1e-3)
    shutil.copy(real / "example_data.tfrecords", tmp_path / FILE)
    (tmp_path / FILE).chmod(0o600)
    _write_database(tmp_path / "metadata.sqlite", [[0, 0.1, 0.2, 0.3]])
    (named,) = _readings(tmp_path)
    assert named.episode.metadata.episode_id == ID and len(named.sketches) == 1
