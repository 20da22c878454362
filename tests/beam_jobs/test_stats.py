import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from armchair import cli
from beam_jobs.config import StatsConfig
from beam_jobs.options import beam_options
from beam_jobs.stats import stats
from datasets import testing
from datasets.errors import ArmchairError
from datasets.query import Query
from datasets.shards import read_record
from datasets.store import Store
from datasets.writers import statistics

COUNT = 7


@pytest.fixture
def store(tmp_path):
    store = Store.create(tmp_path / "store")
    for seed in range(COUNT):
        episode = testing.make_episode(seed, 3 + seed % 3)
        words = np.array(["lift it"] * episode.num_steps, object)
        store.add(dataclasses.replace(episode, extras={**episode.extras, "language_instruction": words}), "some")
    store.publish()
    return store


@pytest.fixture
def small_parts(monkeypatch):
    """Three episodes a part, so that there are several."""
    monkeypatch.setattr(statistics.StatisticsWriter.__init__, "__defaults__", (3,))


def files(root):
    return {p.name: p.read_bytes() for p in root.iterdir() if p.name in ("stats.json", "armchair.json")}


def all_rows(store, name):
    """Every number of a field that counts, by a plain reading."""
    episodes = list(store.read_many(store.query(Query())))
    arrays = [dict(e.step_fields())[name].reshape(e.num_steps, -1) for e in episodes]
    return np.concatenate([a[:-1] for a in arrays] if name in ("action", "reward") else arrays).astype(np.float64)


def test_numbers_are_those_of_all_frames(store, tmp_path, small_parts):
    stats(StatsConfig(store.root, tmp_path / "out"))
    told, sample = statistics.read_statistics(tmp_path / "out")
    assert (told["episodes"], told["frames"]) == (COUNT, sum(r.num_steps for r in store.query(Query())))
    assert told["verdicts"] == {"success": 4, "failure": 3}
    assert "language_instruction" not in told["fields"] and "observation/pixels/wrist" not in told["fields"]
    for name in ("observation/sawyer/joints/angle", "action", "reward", "progress", "is_success"):
        rows, found = all_rows(store, name), told["fields"][name]
        assert found["count"] == len(rows)
        np.testing.assert_allclose(found["mean"], rows.mean(0), atol=1e-9)
        np.testing.assert_allclose(found["std"], rows.std(0), atol=1e-9)
        np.testing.assert_array_equal([found["low"], found["high"]], [rows.min(0), rows.max(0)])
        np.testing.assert_array_equal(sample[name], rows)  # so few frames are all in the sample
        np.testing.assert_allclose(found["quantiles"], np.quantile(rows, told["quantiles"], axis=0))


def test_the_sample_is_bounded(store, tmp_path, monkeypatch):
    monkeypatch.setattr(statistics, "_SAMPLE", 10)
    stats(StatsConfig(store.root, tmp_path / "out"))
    _, sample = statistics.read_statistics(tmp_path / "out")
    assert 2 <= len(sample["progress"]) <= 20
    assert len(sample["action"]) <= len(sample["progress"])


def test_every_runner_says_the_same(store, tmp_path, small_parts):
    stats(StatsConfig(store.root, tmp_path / "one"))
    flags = ["--direct_num_workers", "2", "--direct_running_mode", "multi_threading"]
    stats(StatsConfig(store.root, tmp_path / "two"), beam_options(flags))
    assert files(tmp_path / "one") == files(tmp_path / "two")


def test_a_stopped_one_goes_on_and_says_the_same(store, tmp_path, small_parts, monkeypatch):
    stats(StatsConfig(store.root, tmp_path / "whole"))
    write = statistics.StatisticsWriter.write

    def stop(self, out, part, parts, episodes):
        if part.number == 1:
            raise RuntimeError("pulled the plug")
        return write(self, out, part, parts, episodes)

    monkeypatch.setattr(statistics.StatisticsWriter, "write", stop)
    with pytest.raises(RuntimeError, match="plug"):
        stats(StatsConfig(store.root, tmp_path / "out"))
    monkeypatch.setattr(statistics.StatisticsWriter, "write", write)
    stats(StatsConfig(store.root, tmp_path / "out"))
    assert files(tmp_path / "out") == files(tmp_path / "whole")
    assert not list((tmp_path / "out").glob("sample-*"))


def test_the_page_has_plots_and_videos(store, tmp_path, capsys):
    out = tmp_path / "card"
    assert cli.main(["stats", "--store", str(store.root), "--out", str(out), "--query", "limit=5"]) == 0
    assert str(out / "card.html") in capsys.readouterr().out
    page = (out / "card.html").read_text()
    assert page.count("<video") == 3 and page.count("image/svg") == 2
    assert "5 episodes" in page and "observation/sawyer/joints/angle" in page


def test_a_damaged_episode_is_left_out_and_told(store, tmp_path, small_parts):
    row = store.query(Query())[1]
    row.path.write_bytes(row.path.read_bytes()[:-20])
    summary = stats(StatsConfig(store.root, tmp_path / "out"))
    assert [episode_id for episode_id, _ in summary.problems] == [row.episode_id]
    assert json.loads((tmp_path / "out" / "stats.json").read_text())["episodes"] == COUNT - 1


def test_a_broken_picture_costs_a_video_and_is_told(store, tmp_path):
    row = store.query(Query())[-1]
    episode = store.read(row)
    record = read_record(row.path)
    start = record.index(episode.observation["pixels/basket_front_left"][1])
    row.path.unlink()
    with tf.io.TFRecordWriter(str(row.path)) as writer:
        writer.write(record[:start] + bytes(20) + record[start + 20 :])
    assert stats(StatsConfig(store.root, tmp_path / "out")).problems == ()
    page = (tmp_path / "out" / "card.html").read_text()
    assert page.count("<video") == 2 and f"Of {row.episode_id} there is no video: the picture of frame" in page


def test_several_kinds_of_episodes_are_told(store, tmp_path):
    store.add(testing.make_episode(50, cameras=()), "blind")
    with pytest.raises(ArmchairError, match="datasets blind and some have different"):
        stats(StatsConfig(store.root, tmp_path / "out"))
