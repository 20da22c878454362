import functools
import itertools
import json
import os
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path

import envlogger
import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_jobs.config import IngestConfig
from beam_jobs.ingest import ingest
from datasets import features, inspection, validate
from datasets.errors import StoreError
from datasets.readers import riegeli
from datasets.readers.base import Defaults
from datasets.readers.envlogger import EnvloggerLog
from datasets.readers.logs import open_logs
from tests.datasets.readers.envlogger_logs import LENGTHS, Env, at_end, logged, play, write

ROOT = Path(__file__).parents[3]


def _readings(folder):
    (log,) = open_logs(folder)
    assert isinstance(log, EnvloggerLog)
    return [reading for file in log.files() for reading in log.read(file)]


def _check(episode, number, length, finished=True):
    """Against what the environment is known to give: `length` actions of episode `number`."""
    state = [[number, t] for t in range(length + 1)]
    np.testing.assert_array_equal(episode.observation["arm/state"], np.float64(state))
    assert episode.observation["arm/state"].dtype == np.float64
    actions = np.float32([*([t, number] for t in range(length)), [0, 0]]) / 100
    np.testing.assert_allclose(episode.action[:-1], actions[:-1], rtol=1e-6)
    assert not episode.action[-1].any() and episode.action.dtype == np.float32
    np.testing.assert_array_equal(episode.reward, [*(10 * number + t + 1 for t in range(length)), 0])
    is_terminal = finished and number % 2 == 0
    last = (0.0 if is_terminal else 1.0) if finished else 0.5
    np.testing.assert_array_equal(episode.discount[:-1], [0.5] * (length - 1) + [last])
    assert episode.is_terminal[-1] == is_terminal and not validate.validate(episode).errors
    np.testing.assert_array_equal(episode.extras["lamp"], np.arange(length + 1))


def _numbers(readings):
    """(episode of the environment, actions) of each that can be read; checks that they are as they were logged."""
    found = []
    for reading in readings:
        if reading.episode is not None:
            number, length = int(reading.episode.observation["arm/state"][0, 0]), reading.episode.num_steps - 1
            finished = not any(told in _kept(reading) for told in ("It was left", "kept up to there"))
            _check(reading.episode, number, length, finished)
            found.append((number, length))
    return found


def _kept(reading):
    return reading.episode.metadata.repairs


def test_a_log_with_pictures(tmp_path):
    write(tmp_path / "deep" / "my-log")
    (log,) = open_logs(tmp_path, Defaults("wipe", "ur5", control_rate_hz=5.0))
    assert log.name == "envlogger_my_log" and [log.count(file) for file in log.files()] == [3]
    readings = list(log.read(log.files()[0]))
    assert _numbers(readings) == [*enumerate(LENGTHS)] and not any(r.problems for r in readings)
    episode = readings[1].episode
    said = episode.metadata
    assert (said.task_id, said.robot, said.control_rate_hz) == ("wipe", "ur5", 5.0)
    assert said.source == f"{log.files()[0]}#1; arm=ur5; seed=8; who=anna"
    assert said.repairs == "observation/camera was raw pixels and is now JPEG."
    wanted = Env(LENGTHS)
    frames = [wanted.reset() and wanted.reset(), *(wanted.step(None) for _ in range(2))]
    for encoded, frame in zip(episode.observation["camera"], frames, strict=True):
        error = features.decode_image(encoded).astype(int) - frame.observation["camera"]
        assert np.abs(error).mean() < 10  # JPEG blurs edges of colour; of another frame, 85
    assert len({reading.episode.metadata.episode_id for reading in readings}) == 3


@settings(max_examples=15)
@given(
    lengths=st.lists(st.integers(1, 9), min_size=1, max_size=7),
    shard=st.integers(1, 4),
    flush=st.sampled_from([None, at_end, lambda data: True]),
    options=st.sampled_from(["transpose,brotli:6,chunk_size:1M", "uncompressed", "zstd:3,chunk_size:20K"]),
)
def test_any_episodes_come_back_as_envloggers_own_reader_has_them(lengths, shard, flush, options):
    with tempfile.TemporaryDirectory() as name:
        folder = write(Path(name) / "log", lengths, flush=flush, max_episodes_per_file=shard, writer_options=options)
        readings = _readings(folder)
        assert _numbers(readings) == [*enumerate(lengths)] and not any(r.problems for r in readings)
        (log,) = open_logs(folder)
        assert sum(map(log.count, log.files())) == len(lengths)
        with envlogger.Reader(str(folder)) as reader:
            said = list(reader.episode_metadata())
            for reading, theirs, told in zip(readings, reader.episodes, said, strict=True):
                episode, steps = reading.episode, list(theirs)
                assert f"seed={told['seed']}" in episode.metadata.source
                for t, (one, after) in enumerate(itertools.pairwise(steps)):
                    np.testing.assert_array_equal(
                        episode.observation["arm/state"][t], one.timestep.observation["arm"]["state"]
                    )
                    np.testing.assert_array_equal(episode.action[t], after.action)
                    assert episode.reward[t] == after.timestep.reward
                    assert episode.discount[t] == after.timestep.discount
                    assert episode.extras["lamp"][t] == one.custom_data["lamp"]
                assert episode.num_steps == len(steps)


def _killed(folder, **options):
    done = subprocess.run(
        [sys.executable, "-m", "tests.datasets.readers.envlogger_logs", str(folder), json.dumps(options)], cwd=ROOT,
        capture_output=True, check=False,
    )  # fmt: skip
    assert done.returncode == -9, done.stderr
    return folder


def test_a_logger_that_is_killed(tmp_path):
    """Flushed at each end, no finished episode is lost, though the index has not the last, and not its metadata."""
    readings = _readings(_killed(tmp_path / "a", flush="at_end"))
    assert _numbers(readings) == [*enumerate(LENGTHS)]
    assert ["seed=" in reading.episode.metadata.source for reading in readings] == [True, True, False]
    assert "The metadata of the episode, if there were any, are lost." in _kept(readings[-1])
    assert not any(reading.problems for reading in readings)


def test_a_logger_that_is_killed_within_an_episode(tmp_path):
    """EnvLogger's reader has the last two episodes as one."""
    folder = _killed(tmp_path / "a", flush="always")
    with envlogger.Reader(str(folder)) as reader:
        assert len(reader.episodes[-1]) != LENGTHS[-1] + 1
    readings = _readings(folder)
    assert _numbers(readings) == [*enumerate(LENGTHS), (3, 2)]
    assert "The log ends within it; it is kept up to there." in _kept(readings[-1])
    assert not readings[-1].episode.is_terminal.any() and readings[-1].episode.is_last[-1]


def test_a_logger_that_is_killed_and_never_flushed(tmp_path):
    """What is in the file can be read, though there is no index at all."""
    folder = _killed(tmp_path / "a", flush="never", writer_options="uncompressed,chunk_size:10K")
    (file,) = folder.glob("*/step_offsets.riegeli")
    assert file.stat().st_size == 0
    readings = _readings(folder)
    assert _numbers(readings)[:2] == [*enumerate(LENGTHS[:2])]
    (reading,) = _readings(_killed(tmp_path / "b", flush="never"))
    assert reading.episode is None and "holds no steps: its logger was killed" in reading.problems[0]


@pytest.mark.parametrize("lost", ["step_offsets.riegeli", "episode_index.riegeli", "episode_metadata.riegeli"])
@pytest.mark.parametrize("damage", [os.remove, lambda file: os.truncate(file, 100), lambda file: os.truncate(file, 0)])
def test_without_an_index(tmp_path, lost, damage):
    (file,) = write(tmp_path / "log").glob(f"*/{lost}")
    damage(file)
    readings = _readings(tmp_path)
    assert _numbers(readings) == [*enumerate(LENGTHS)] and not any(r.problems for r in readings)
    for reading in readings:
        assert "seed=" not in reading.episode.metadata.source and "arm=ur5" in reading.episode.metadata.source
        assert "The metadata of the episode, if there were any, are lost." in _kept(reading)


def test_without_the_metadata_of_the_log(tmp_path):
    os.truncate(write(tmp_path / "log") / "metadata.riegeli", 70)
    for reading in _readings(tmp_path):
        assert "seed=" in reading.episode.metadata.source and "The metadata of the log" in _kept(reading)


@functools.cache
def _long_log():
    """A log of several blocks and chunks: the bytes of its steps, and the lengths of its episodes."""
    lengths = (5, 1, 8, 3, 4)
    with tempfile.TemporaryDirectory() as name:
        (file,) = write(Path(name), lengths, writer_options="uncompressed,chunk_size:30K").glob("*/steps.riegeli")
        return file.read_bytes(), lengths


def _damaged(content):
    with tempfile.TemporaryDirectory() as name:
        file = Path(name) / "log" / "shard" / "steps.riegeli"
        file.parent.mkdir(parents=True)
        file.write_bytes(content)
        (log,) = open_logs(Path(name))
        log.count(file)
        return list(log.read(file))


@settings(max_examples=40)
@given(st.floats(0, 1))
def test_a_file_that_is_cut_keeps_what_is_before(place):
    content, lengths = _long_log()
    readings = _damaged(content[: int(place * len(content))])
    found = _numbers(readings)
    assert found[:-1] == [*enumerate(lengths)][: max(0, len(found) - 1)]
    if place < 1:
        assert any(r.problems for r in readings) or len(found) < len(lengths) or found[-1] != (4, 4)


@settings(max_examples=50)
@given(st.lists(st.floats(0, 1, exclude_max=True), min_size=1, max_size=3))
def test_bytes_that_are_flipped_are_told_and_the_rest_is_kept(places):
    whole, lengths = _long_log()
    content = bytearray(whole)
    for place in {int(place * len(whole)) for place in places}:
        content[place] ^= 0x5A
    readings = _damaged(content)
    found = dict(_numbers(readings))  # each is checked to be as it was logged, as far as it goes
    assert all(length <= lengths[number] for number, length in found.items())
    assert all("steps.riegeli" in problem for reading in readings for problem in reading.problems)
    if found != dict(enumerate(lengths)):
        assert any(reading.problems for reading in readings)


def test_a_damaged_chunk_costs_the_episodes_that_it_holds(tmp_path):
    content, lengths = _long_log()
    middle = bytearray(content)
    middle[len(content) // 2] ^= 1
    readings = _damaged(middle)
    found = dict(_numbers(readings))
    assert found[0] == lengths[0] and found[4] == lengths[4]
    problems = [problem for reading in readings for problem in reading.problems]
    assert len(problems) == 2
    assert "is damaged: " in problems[0] and "records in its bytes" in problems[0]
    assert "steps whose episode's beginning is lost" in problems[1]
    summary = inspection.report(inspection.look(open_logs(write(tmp_path / "log"))[0]))
    assert ("kind", "EnvloggerLog") in summary and ("files", "1 with some 3 episodes") in summary


def test_episodes_that_are_left_and_episodes_without_an_action(tmp_path):
    with logged(tmp_path / "log", (5, 5, 5)) as env:
        play(env, (2, 0, 5))
    readings = _readings(tmp_path)
    assert _numbers(readings) == [(0, 2), (2, 5)]
    assert "It was left before its end, for a new one." in _kept(readings[0])
    assert "no other, so that there is no action" in readings[1].problems[0]


def _first(tmp_path, **options):
    return _readings(write(tmp_path / "log", **options))[0]


def test_custom_data_of_every_form(tmp_path):
    def custom(timestep, action, env):
        jpeg = features.tf.io.encode_jpeg(np.full((8, 8, 3), env.t, np.uint8)).numpy()
        return {
            "word": "grüße", "wrist": jpeg, "nested": {"pair": (env.t, 0.5)}, "bytes": b"text", "reward": 3.0,
            "some": None if env.t else 1.0, "words": np.array(["a", "b"]), "grows": np.zeros(env.t + 1),
            "rgbd": np.zeros((4, 4, 4), np.uint8), "binary": b"\xff\x00", "mixed": env.t if env.t else "a",
        }  # fmt: skip

    reading = _first(tmp_path, step_fn=custom, episode_fn=lambda *_: {"list": [[1, 2], [3]], "text": "just"})
    extras = reading.episode.extras
    assert sorted(extras) == ["bytes", "nested/pair/0", "nested/pair/1", "word", "wrist"]
    assert list(extras["word"]) == ["grüße"] * 5 and list(extras["bytes"]) == ["text"] * 5
    assert list(extras["nested/pair/0"]) == [0, 1, 2, 3, 4]
    assert features.decode_image(extras["wrist"][3]).max() == 3
    told = "\n".join(reading.problems)
    assert f"custom reward of {reading.where} are left out: every step has such a field" in told
    for name in ("some", "words", "grows", "rgbd", "binary", "mixed"):
        assert f"{name} of {reading.where} is left out: " in told
    assert "list/0/0=1; list/0/1=2; list/1/0=3; text=just" in reading.episode.metadata.source
    assert (
        list(
            _first(tmp_path / "b", step_fn=lambda *_: 2.5, episode_fn=lambda *_: "words").episode.extras["custom_data"]
        )
        == [2.5] * 5
    )


def test_a_folder_of_many_logs_goes_into_a_store(tmp_path):
    write(tmp_path / "in" / "a", max_episodes_per_file=2)
    write(tmp_path / "in" / "b", (7,))
    write(tmp_path / "in" / ".hidden")
    assert [len(log.files()) for log in open_logs(tmp_path / "in")] == [2, 1]
    (shard, _) = open_logs(tmp_path / "in")[0].files()
    (alone,) = open_logs(shard.parent)
    assert alone.files() == [shard] and len(list(alone.read(shard))) == 2
    summary = ingest(IngestConfig((tmp_path / "in",), tmp_path / "store", dataset="arm"))
    assert (summary.added, summary.problems) == (4, ())
    again = ingest(IngestConfig((tmp_path / "in",), tmp_path / "store", dataset="arm"))
    assert (again.added, again.duplicates) == (0, 4)
    shutil.rmtree(tmp_path / "in" / "a")
    shutil.rmtree(tmp_path / "in" / "b")
    with pytest.raises(StoreError, match="nor EnvLogger's logs"):
        open_logs(tmp_path / "in")


def test_a_record_that_is_no_step(tmp_path):
    (file,) = write(tmp_path / "log").glob("*/step_offsets.riegeli")
    shutil.copy(file, file.with_name("steps.riegeli"))
    (reading,) = _readings(tmp_path)
    assert reading.episode is None and "has a record at 64 that is no" in reading.problems[0]


def test_a_file_that_is_not_there(tmp_path):
    (record,) = riegeli.read_all(tmp_path / "none")
    assert record.problem == f"{tmp_path / 'none'} is not there: restore it from a copy"
