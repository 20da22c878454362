import os
from pathlib import Path

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st
from tensorflow_datasets.rl_unplugged.rlu_control_suite import rlu_control_suite

from beam_jobs.config import IngestConfig
from beam_jobs.ingest import ingest
from datasets import validate
from datasets.query import Query
from datasets.readers.base import Defaults
from datasets.readers.logs import open_logs
from datasets.store import Store
from tests.datasets.readers import tfds_steps

_WIDTHS = {"observation/position": 3, "observation/velocity": 2, "action": 2}


def _episode(seed, num_steps=6, terminal=False, widths=_WIDTHS):
    """Features of an episode of so many observations, aligned as in the layout of sequences."""
    rng = np.random.default_rng(seed)
    steps = {name: rng.normal(size=(num_steps, width)).astype(np.float32) for name, width in widths.items()}
    steps["reward"] = rng.random((num_steps, 1), np.float32)
    steps["discount"] = np.ones((num_steps, 1), np.float32)
    if terminal:
        steps["discount"][-2:] = 0
    steps["step_type"] = np.float32([[0], *[[1]] * (num_steps - 2), [2]])
    steps["episodic_reward"] = np.full((num_steps, 1), steps["reward"][:-1].sum())
    return steps


def _arrivals(steps):
    """The same, aligned as in the layout of episodes."""
    moved = {k: np.concatenate([np.zeros_like(steps[k][:1]), steps[k][:-1]]) for k in ("reward", "discount")}
    moved["discount"][0] = 1
    return {k: v for k, v in (steps | moved).items() if k not in ("step_type", "episodic_reward")}


def _record(steps, **once):
    feature = {k: tf.train.Feature(float_list=tf.train.FloatList(value=v.ravel())) for k, v in steps.items()}
    feature |= {k: tf.train.Feature(int64_list=tf.train.Int64List(value=[v])) for k, v in once.items()}
    return tf.train.Example(features=tf.train.Features(feature=feature)).SerializeToString()


def _stretches(steps, length=2, stride=1):
    """Of so many steps each; the last one ends where the episode does."""
    last = len(steps["action"]) - length
    starts = [*range(0, last, stride), last]
    return [_record({k: v[s : s + length] for k, v in steps.items()}) for s in starts]


def _write(folder: Path, shards, compression="GZIP"):
    folder.mkdir(parents=True)
    for number, records in enumerate(shards):
        path = folder / f"train-{number:05d}-of-{len(shards):05d}"
        with tf.io.TFRecordWriter(os.fspath(path), compression) as writer:
            for record in records:
                writer.write(record)
    return folder


def _readings(path):
    (log,) = open_logs(path)
    assert log.name == "rlu_walker_walk"
    return [reading for file in log.files() for reading in log.read(file)]


def _episodes(path):
    readings = _readings(path)
    assert not [problem for reading in readings for problem in reading.problems]
    return [reading.episode for reading in readings]


def _assert_same(episode, steps, begin=0, end=None):
    """The steps [begin, end) of an episode, so far as they mean something."""
    part = {k: v[begin:end] for k, v in steps.items()}
    assert not validate.validate(episode).errors
    assert sorted(episode.observation) == ["position", "velocity"]
    for name, values in episode.observation.items():
        np.testing.assert_array_equal(values, part[f"observation/{name}"])
    np.testing.assert_array_equal(episode.action[:-1], part["action"][:-1])
    np.testing.assert_array_equal(episode.reward[:-1], part["reward"][:-1, 0])
    np.testing.assert_array_equal(episode.discount[:-1], part["discount"][:-1, 0])
    assert episode.is_terminal[-1] == (part["discount"][-2, 0] == 0) and not episode.is_terminal[:-1].any()


class TestSequences:
    @settings(max_examples=25, deadline=None)
    @given(
        lengths=st.lists(st.integers(2, 9), min_size=1, max_size=5), length=st.integers(2, 5),
        shards=st.integers(1, 4), seed=st.integers(0, 99), data=st.data(),
    )  # fmt: skip
    def test_episodes_come_back_from_stretches_in_any_order(
        self, tmp_path_factory, lengths, length, shards, seed, data
    ):
        stride = data.draw(st.integers(1, length - 1))  # so that neighbours share a step
        episodes = [_episode(100 * seed + n, num_steps, terminal=n % 2 == 0) for n, num_steps in enumerate(lengths)]
        records = [r for e in episodes for r in _stretches(e, min(length, len(e["reward"])), stride)]
        order = np.random.default_rng(seed).permutation(len(records))
        folder = tmp_path_factory.mktemp("rlu") / "walker_walk"
        found = _episodes(_write(folder, [[records[i] for i in order[n::shards]] for n in range(shards)]))
        assert len(found) == len(episodes)
        for episode in found:
            _assert_same(episode, _match(episode, episodes))
            assert episode.metadata.repairs == ""

    def test_metadata(self, tmp_path):
        (episode,) = _episodes(_write(tmp_path / "walker_walk", [_stretches(_episode(0))]))
        assert (episode.metadata.task_id, episode.metadata.robot) == ("walker_walk", "walker")
        (log,) = open_logs(tmp_path, Defaults(task_id="stroll", robot="legs", control_rate_hz=40))
        (reading,) = log.read(log.files()[0])
        said = reading.episode.metadata
        assert (said.task_id, said.robot, said.control_rate_hz) == ("stroll", "legs", 40)
        assert said.episode_id == episode.metadata.episode_id  # of the steps alone

    def test_a_missing_stretch_cuts_an_episode_and_that_is_said(self, tmp_path):
        steps = _episode(0, 8)
        records = _stretches(steps)
        one, other = _episodes(_write(tmp_path / "walker_walk", [records[:3] + records[4:]]))
        _assert_same(one, steps, 0, 4)
        _assert_same(other, steps, 4)
        assert one.metadata.repairs.startswith("Its end is") and other.metadata.repairs.startswith("Its beginning is")

    def test_steps_that_are_alike_lose_no_transition(self, tmp_path):
        """A robot that stands still: steps 2 and 3 cannot be told apart."""
        steps = _episode(0, 7)
        for values in steps.values():
            values[3] = values[2]
        found = _episodes(_write(tmp_path / "walker_walk", [_stretches(steps)]))
        pairs = {(e.action[t].tobytes(), e.observation["position"][t + 1].tobytes())
                 for e in found for t in range(e.num_steps - 1)}  # fmt: skip
        wanted = {(steps["action"][t].tobytes(), steps["observation/position"][t + 1].tobytes()) for t in range(6)}
        assert pairs == wanted

    def test_two_ways_into_one_step_are_not_taken_for_one(self, tmp_path):
        one, other = _episode(0, 7), _episode(1, 7)
        for name, values in one.items():
            values[3] = other[name][3]
        records = [r for n, r in enumerate(_stretches(one)) if n != 3] + _stretches(other)  # how `one` goes on is lost
        for episode in _episodes(_write(tmp_path / "walker_walk", [records])):
            begins_as_one = np.isin(episode.action[:, 0], one["action"][:3, 0])
            ends_as_other = np.isin(episode.action[:, 0], other["action"][4:, 0])
            assert not (begins_as_one.any() and ends_as_other.any())

    def test_a_missing_feature_is_named(self, tmp_path):
        good, bad = _episode(0), _episode(1)
        del bad["reward"]
        *problems, reading = _readings(_write(tmp_path / "walker_walk", [_stretches(good), _stretches(bad)]))
        assert len(problems) == 5 and all("has no numbers of 'reward'" in p.problems[0] for p in problems)
        _assert_same(reading.episode, good)

    def test_other_features_than_before_are_refused(self, tmp_path):
        good, bad = _episode(0), _episode(1)
        bad["observation/height"] = bad["reward"]
        *problems, reading = _readings(_write(tmp_path / "walker_walk", [_stretches(good), _stretches(bad)]))
        assert len(problems) == 5 and all("observation/height" in p.problems[0] for p in problems)
        _assert_same(reading.episode, good)

    def test_numbers_that_do_not_go_into_the_steps_are_refused(self, tmp_path):
        steps = _episode(0)
        steps["action"] = np.zeros((1, 5), np.float32)
        (reading,) = _readings(_write(tmp_path / "walker_walk", [[_record(steps)]]))
        assert "5 numbers of 'action' for 6 steps" in reading.problems[0]

    @pytest.mark.parametrize("compression", ["GZIP", ""])
    def test_damage_costs_no_more_than_it_must(self, tmp_path, compression):
        steps = [_episode(n, 20) for n in range(3)]
        folder = _write(tmp_path / "walker_walk", [_stretches(s) for s in steps], compression)
        shard = folder / "train-00001-of-00003"
        os.truncate(shard, shard.stat().st_size - 30)
        (folder / "train-00002-of-00003").unlink()
        readings = _readings(folder)
        said = [p for r in readings for p in r.problems]
        assert len(said) == 2 and "restore it" in said[0] and "is not there" in said[1]
        whole, cut = [r.episode for r in readings if r.episode]
        _assert_same(whole, steps[0])
        _assert_same(cut, steps[1], 0, cut.num_steps)
        assert cut.num_steps >= 15

    def test_what_is_no_example_is_said(self, tmp_path):
        reading, _ = _readings(_write(tmp_path / "walker_walk", [[b"\xff\xff no", *_stretches(_episode(0))]]))
        assert "#0 is no tf.Example" in reading.problems[0]


class TestEpisodes:
    @pytest.mark.parametrize("compression", ["GZIP", ""])
    @pytest.mark.parametrize("terminal", [False, True])
    def test_rewards_move_to_the_step_that_earned_them(self, tmp_path, terminal, compression):
        steps = [_episode(n, 5 + n, terminal) for n in range(3)]
        records = [_record(_arrivals(s), episode_id=n, timestamp=7) for n, s in enumerate(steps)]
        found = _episodes(_write(tmp_path / "walker_walk", [records[:2], records[2:]], compression))
        for number, (episode, wanted) in enumerate(zip(found, steps, strict=True)):
            _assert_same(episode, wanted)
            assert episode.metadata.source.endswith(f"episode_id={number}; timestamp=7")

    @pytest.mark.parametrize("config", rlu_control_suite.RluControlSuite.BUILDER_CONFIGS, ids=lambda c: c.name)
    def test_tfds_reads_the_same(self, tmp_path, config):
        """By its builder of this suite, with its names and widths; nothing differs, not even at the last step."""
        widths = {f"observation/{name}": width for name, width in config.observation_size.items()}
        steps = [_episode(n, 5 + n, n != 1, widths | {"action": config.action_size}) for n in range(3)]
        records = [
            _record(_arrivals(s) | {"step_type": s["step_type"]}, episode_id=n, timestamp=7)
            for n, s in enumerate(steps)
        ]
        folder = _write(tmp_path / config.name, [records])
        builder = rlu_control_suite.RluControlSuite(config=config.name, data_dir=tmp_path / "tfds")
        theirs = list(builder.generate_examples_one_file(folder / "train-00000-of-00001"))
        (log,) = open_logs(folder)
        ours = [reading.episode for reading in log.read(folder / "train-00000-of-00001")]
        for episode, (key, told) in zip(ours, theirs, strict=True):
            assert episode.metadata.source.endswith(f"episode_id={key}; timestamp={told['timestamp']}")
            assert tfds_steps.differences(episode, told["steps"]) == {}

    def test_a_bad_one_does_not_stop_the_others(self, tmp_path):
        bad = _arrivals(_episode(0))
        del bad["discount"]
        records = [_record(bad, episode_id=0, timestamp=0), _record(_arrivals(_episode(1)), episode_id=1, timestamp=0)]
        bad_one, good = _readings(_write(tmp_path / "walker_walk", [records]))
        assert "has no numbers of 'discount'" in bad_one.problems[0] and bad_one.record == records[0]
        assert good.episode is not None


def test_ingest_takes_both_layouts(tmp_path):
    steps = {
        "walker_walk": [_episode(n, terminal=n == 0) for n in range(3)],
        "cartpole_swingup": [_episode(n, terminal=n == 3) for n in range(3, 6)],
    }
    _write(tmp_path / "rlu/dm_control_suite/walker_walk", [_stretches(s) for s in steps["walker_walk"]])
    summary = ingest(IngestConfig((tmp_path / "rlu",), tmp_path / "store"))
    assert (summary.added, summary.quarantined) == (3, 0)
    records = [_record(_arrivals(s), episode_id=n, timestamp=0) for n, s in enumerate(steps["cartpole_swingup"])]
    _write(tmp_path / "rlu/dm_control_suite_episodes/cartpole_swingup", [records])
    again = ingest(IngestConfig((tmp_path / "rlu",), tmp_path / "store"))
    assert (again.added, again.duplicates) == (3, 3)
    store = Store.open(tmp_path / "store")
    assert store.datasets() == ("rlu_cartpole_swingup", "rlu_walker_walk")
    for task, recorded in steps.items():
        for episode in store.read_many(store.query(Query(task_id=task))):
            _assert_same(episode, _match(episode, recorded))


def _match(episode, candidates):
    """The one that begins with the same action."""
    (found,) = [steps for steps in candidates if np.array_equal(steps["action"][0], episode.action[0])]
    return found
