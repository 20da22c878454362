"""Real LeRobot datasets, compared with PyArrow and PyAV alone."""

import json
import os
import shutil
from pathlib import Path

import av
import numpy as np
import pytest
import tensorflow as tf
from pyarrow import parquet

from beam_jobs.config import IngestConfig
from beam_jobs.ingest import ingest
from datasets.query import Query
from datasets.readers.base import Defaults
from datasets.store import Store
from tests.datasets.readers.lerobot_files import (
    readings_of,
)


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
    readings = readings_of(source)
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
    readings = readings_of(source)
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
    readings = readings_of(source)
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
