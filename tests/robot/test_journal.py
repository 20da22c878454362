"""What a real arm did is on disk, step by step, whatever becomes of its recorder."""

import dataclasses
import fcntl
import os
import shutil
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from armchair.cli import main
from datasets import schema
from datasets.episode import Episode
from datasets.query import Query
from datasets.store import Store
from datasets.validate import validate
from robot import record as record_module
from robot.drivers.environment import RobotConfig, RobotEnvironment
from robot.drivers.fake import SAFETY, FakeCamera, FakeClock, FakeDriver
from robot.env import Safety
from robot.record import EpisodeBackend, record, recorded
from robot.safety import protect
from robot.testing import FakeArm

STEPS = 8


def arm(safety=Safety.ON):
    clock = FakeClock()
    cameras = {"wrist": FakeCamera(clock, (16, 16))}
    return protect(RobotEnvironment(FakeDriver(clock), cameras, SAFETY, "cups", RobotConfig(STEPS), clock), safety)


def actions(count):
    return np.random.default_rng(0).uniform(-1, 1, (count, 7)).astype(np.float32)


def play(env, count):
    env.reset()
    for action in actions(count):
        env.step(action)


def journals(folder) -> list[Path]:
    return sorted((folder / "arm" / "journal").glob("*"))


def episodes(folder) -> list[Episode]:
    return list(recorded(folder, "arm"))


def assert_begins_alike(part: Episode, whole: Episode, steps: int):
    """`part` is the first steps of `whole`, as far as they are known by then."""
    assert part.num_steps == steps
    assert (set(part.observation), set(part.extras)) == (set(whole.observation), set(whole.extras))
    for name, values in part.observation.items():
        np.testing.assert_array_equal(values, whole.observation[name][:steps], name)
    for name in ("action", "reward"):
        np.testing.assert_array_equal(getattr(part, name)[:-1], getattr(whole, name)[: steps - 1], name)
    for name, values in part.extras.items():
        np.testing.assert_array_equal(values[:-1], whole.extras[name][: steps - 1], name)


def left_by(recorder, tmp_path, cut=0) -> tuple[str, Path]:
    """(an episode's id, a folder where its recorder has died): the last `cut` bytes were not written any more."""
    (journal,) = journals(tmp_path)
    copy = tmp_path / "left" / "arm" / "journal" / journal.name  # nobody holds a copy
    copy.parent.mkdir(parents=True)
    copy.write_bytes(journal.read_bytes()[: -cut or None])
    recorder.close()
    return journal.stem, tmp_path / "left"


@pytest.mark.parametrize("safety", [Safety.ON, Safety.OFF])
def test_a_journal_tells_what_the_recording_would_have(tmp_path, safety):
    with record(arm(safety), tmp_path / "whole", "arm", operator="ada", seed=3) as env:
        play(env, STEPS)
    recorder = record(arm(safety), tmp_path, "arm", operator="ada", seed=3, tags="first")
    play(recorder, STEPS - 2)
    episode_id, left = left_by(recorder, tmp_path)
    EpisodeBackend(left, "arm")
    (whole,), (part,) = recorded(tmp_path / "whole", "arm"), episodes(left)
    assert_begins_alike(part, whole, STEPS - 1)
    assert not validate(part).errors and journals(left) == []
    expected = dataclasses.replace(
        whole.metadata, episode_id=episode_id, tags="first,interrupted", timestamp=part.metadata.timestamp
    )
    assert part.metadata == expected


@pytest.mark.parametrize("cut", [1, 100, 5_000])
def test_a_step_that_was_half_written_is_left_out(tmp_path, cut):
    recorder = record(arm(), tmp_path, "arm")
    play(recorder, 5)
    _, left = left_by(recorder, tmp_path, cut)
    EpisodeBackend(left, "arm")
    (part,) = episodes(left)
    assert 2 <= part.num_steps < 6 and part.metadata.tags == "interrupted" and not validate(part).errors


def test_a_journal_of_a_recorder_that_lives_is_left_alone(tmp_path):
    with record(arm(), tmp_path, "arm") as env:
        play(env, 3)
        before = journals(tmp_path)
        EpisodeBackend(tmp_path, "arm")
        assert journals(tmp_path) == before and len(before) == 1 and episodes(tmp_path) == []


def test_finished_episodes_leave_no_journal_and_simulations_have_none(tmp_path):
    with record(arm(), tmp_path, "arm") as env:
        play(env, STEPS)
        assert journals(tmp_path) == [] and len(episodes(tmp_path)) == 1
    with record(FakeArm(), tmp_path, "simulated") as env:
        env.reset()
        env.step(np.zeros(env.action_spec().shape, np.float32))
        assert not (tmp_path / "simulated").exists()


@pytest.mark.parametrize("end", ["close", "reset", "exception"])
def test_an_interrupted_episode_is_kept(tmp_path, monkeypatch, end):
    with record(arm(Safety.OFF), tmp_path, "arm") as env:
        play(env, 3)
        if end == "reset":
            env.reset()
        elif end == "exception":
            monkeypatch.setattr(FakeDriver, "move", lambda *args: 1 / 0)
            with pytest.raises(Exception, match="division by zero"):
                env.step(actions(1)[0])
    (part,) = episodes(tmp_path)
    assert part.num_steps == 4 and part.metadata.tags.split(",")[-1] == "interrupted"
    assert part.metadata.verdict == schema.Verdict.UNKNOWN and journals(tmp_path) == []


def test_an_episode_without_a_step_is_none(tmp_path):
    with record(arm(), tmp_path, "arm") as env:
        env.reset()
        env.reset()
    assert episodes(tmp_path) == [] and journals(tmp_path) == []


def test_one_that_was_kept_before_its_recorder_died_is_not_kept_twice(tmp_path):
    with record(arm(), tmp_path, "arm") as env:
        play(env, STEPS - 1)
        (journal,) = journals(tmp_path)
        content = journal.read_bytes()
        env.step(actions(1)[0])
    journal.write_bytes(content)
    EpisodeBackend(tmp_path, "arm")
    assert len(episodes(tmp_path)) == 1 and journals(tmp_path) == []


def test_what_waits_for_a_verdict_is_kept_when_the_recorder_closes_and_not_when_a_person_drops_it(tmp_path):
    for is_dropped in (True, False):
        backend = EpisodeBackend(tmp_path, "arm", hold=True)
        env = record_module.RecordedEnvironment(arm(), backend, {})
        play(env, STEPS)
        if is_dropped:
            backend.drop()
        env.close()
        assert len(episodes(tmp_path)) == (not is_dropped) and journals(tmp_path) == []


_KILLED = """
import os, signal, sys
import numpy as np
from tests.robot.test_journal import arm, play
from robot.record import record
env = record(arm(), sys.argv[1], "arm", policy_id="doomed")
play(env, 8)
play(env, 5)
os.kill(os.getpid(), signal.SIGKILL)
"""


@pytest.mark.parametrize("below", ["", "arm", "arm/1.0.0"])
def test_ingesting_takes_in_what_was_left(tmp_path, below):
    for count in (STEPS, 3):
        recorder = record(arm(), tmp_path, "arm")
        play(recorder, count)
        if count == STEPS:
            recorder.close()
    _, left = left_by(recorder, tmp_path)
    shutil.copytree(tmp_path / "arm" / "1.0.0", left / "arm" / "1.0.0")
    assert main(["ingest", "--source", str(left / below), "--store", str(tmp_path / "store")]) == 0
    rows = Store.open(tmp_path / "store").query(Query())
    assert sorted(row.num_steps for row in rows) == [4, STEPS + 1] and journals(left) == []


def test_a_killed_recorder_loses_nothing(tmp_path):
    root = str(Path(__file__).parents[2])
    command = [sys.executable, "-c", _KILLED, tmp_path]
    ended = subprocess.run(command, check=False, env=os.environ | {"PYTHONPATH": root}, stderr=subprocess.DEVNULL)
    assert ended.returncode == -signal.SIGKILL
    (journal,) = journals(tmp_path)
    with journal.open("rb") as file:
        fcntl.flock(file, fcntl.LOCK_EX | fcntl.LOCK_NB)  # nobody holds it any more
    EpisodeBackend(tmp_path, "arm")
    whole, part = episodes(tmp_path)
    assert (whole.num_steps, whole.metadata.tags.split(",")[-1]) == (9, "jitter_ms:0") and part.num_steps == 6
    np.testing.assert_array_equal(part.extras[schema.COMMANDED_ACTION][:-1], actions(5))
    assert (part.metadata.policy_id, part.metadata.tags) == ("doomed", "interrupted") and not validate(part).errors
