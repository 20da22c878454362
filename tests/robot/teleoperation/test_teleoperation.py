"""Teleoperation: the arm obeys fresh commands at its own pace, and only what was kept is in the store."""

import logging
import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from datasets import schema
from datasets.errors import ArmchairError, SpecMismatchError
from datasets.features import spec_of
from datasets.query import Query
from datasets.schema import Verdict
from datasets.shards import ShardDirectory
from datasets.store import Store
from robot.cell import rendering
from robot.env import CellConfig, make_env
from robot.record import record
from robot.teleoperation.teleoperation import Phase, TeleoperationError
from tests.robot.teleoperation.bench import RATE, RIGHT, STILL, QuickArm


def test_a_kept_episode_is_what_was_done_with_the_persons_verdict(bench):
    bench = bench()
    bench.drive(5)
    bench.teleoperation.stop()
    assert bench.teleoperation.status.phase == Phase.ENDED and bench.arms[0].closed == 1
    assert not bench.episodes()  # not before it is kept
    episode_id = bench.teleoperation.keep(Verdict.FAILURE)
    (episode,) = bench.episodes()
    assert episode.metadata.episode_id == episode_id
    assert episode.metadata.episode_type == schema.EpisodeType.TELEOPERATION
    assert (episode.metadata.operator, episode.metadata.policy_id) == ("ada", "teleop-ada")
    assert (episode.metadata.task_id, episode.metadata.seed) == ("fake_reach", 3)
    assert episode.metadata.verdict == Verdict.FAILURE and episode.metadata.control_rate_hz == RATE
    shown = [m.timestep for m in bench.moments if m.timestep is not None]
    assert episode.num_steps == len(shown) >= 7  # the first frame, at least five steps, and the stopping one
    np.testing.assert_array_equal(
        episode.observation["arm/position"], [t.observation["arm/position"] for t in shown]
    )  # [T, 2]
    np.testing.assert_array_equal(episode.action[0], RIGHT)
    np.testing.assert_array_equal(episode.action[-2], STILL)  # the arm stands still while it stops
    assert episode.is_last[-1] and not episode.is_terminal.any() and (episode.discount == 1).all()
    assert schema.IS_SUCCESS in episode.extras and schema.PROGRESS in episode.extras
    assert bench.store.query(Query())[0].dataset == "demonstrations_fake_reach"
    assert not bench.store.verify()


def test_time_starts_with_the_first_command(bench):
    bench = bench()
    bench.teleoperation.start("fake_reach", "ada")
    first = bench.wait(lambda m: m.status.phase == Phase.READY)
    assert first.pictures["pixels/front"].shape == (16, 16, 3) and first.status.seed >= 0
    time.sleep(10 / RATE)
    assert bench.teleoperation.status.phase == Phase.READY
    bench.teleoperation.command(STILL)
    assert bench.wait(lambda m: m.status.t == 1).status.phase == Phase.RUNNING


def test_without_a_fresh_command_the_arm_stands_still(bench):
    bench = bench(patience=0.1)
    bench.teleoperation.start("fake_reach", "ada")
    bench.teleoperation.command(RIGHT)
    bench.wait(lambda m: m.status.phase == Phase.RUNNING and m.status.acted_by == schema.ActedBy.NOBODY)
    time.sleep(5 / RATE)
    bench.teleoperation.stop()
    bench.teleoperation.keep(Verdict.UNKNOWN)
    (episode,) = bench.episodes()
    obeyed = int(episode.action.any(axis=1).sum())  # [T, A]
    assert 2 <= obeyed <= 0.1 * RATE + 2 and episode.action[:obeyed].any(axis=1).all()
    assert len(episode.action) >= obeyed + 4


def test_steps_keep_the_control_rate(bench):
    bench = bench()
    bench.drive(50)
    status = bench.teleoperation.status
    assert 0.98 * 49 / RATE < status.elapsed_s < 2 * 50 / RATE  # never faster; slower on a busy machine
    assert status.overruns < 25 and status.jitter_ms < 1000 / RATE


def test_slow_steps_are_counted_and_not_caught_up(bench):
    class SlowArm(QuickArm):
        work = 1.5 / RATE

    bench = bench(lambda task, seed: SlowArm())
    bench.drive(10)
    status = bench.teleoperation.status
    assert status.overruns >= 9 and status.elapsed_s >= 9 * SlowArm.work


@pytest.mark.parametrize("when", ["ready", "running", "ended"])
def test_discard_leaves_nothing(bench, when):
    bench = bench()
    if when == "ready":
        bench.teleoperation.start("fake_reach", "ada")
    else:
        bench.drive(3)
    if when == "ended":
        bench.teleoperation.stop()
    bench.teleoperation.discard()
    assert bench.teleoperation.status.phase == Phase.IDLE and bench.arms[0].closed == 1
    assert not bench.episodes() and not list((bench.store.root / "episodes").glob("*"))
    bench.drive(1)  # the arm is free again


def test_an_episode_ends_by_itself(bench):
    bench = bench(max_seconds=0.2)
    bench.drive(1)
    bench.wait(lambda m: m.status.phase == Phase.ENDED)
    bench.teleoperation.keep(Verdict.SUCCESS)
    (episode,) = bench.episodes()
    assert 3 <= episode.num_steps <= 0.2 * RATE + 3 and not episode.is_terminal.any()


def test_an_environment_may_end_it_for_good(bench):
    bench = bench(lambda task, seed: QuickArm(time_limit=4))
    bench.drive(4)
    bench.wait(lambda m: m.status.phase == Phase.ENDED)
    assert bench.teleoperation.status.is_success is False
    with pytest.raises(TeleoperationError, match="no episode is running"):
        bench.teleoperation.stop()


def test_what_does_not_fit_the_moment_is_refused(bench):
    bench = bench()
    for refused in (
        bench.teleoperation.stop, bench.teleoperation.discard, lambda: bench.teleoperation.keep(Verdict.SUCCESS)
    ):  # fmt: skip
        with pytest.raises(TeleoperationError, match="start one"):
            refused()
    bench.teleoperation.command(RIGHT)  # nobody listens
    bench.drive(1)
    with pytest.raises(TeleoperationError, match="episode in hand"):
        bench.teleoperation.start("fake_reach", "bob")
    for bad in ([0.1], [0.1, float("nan")], [0, 1.01], [[0, 0]], [-float("inf"), 0]):
        with pytest.raises(TeleoperationError, match="2 numbers"):
            bench.teleoperation.command(np.array(bad))
    assert bench.teleoperation.status.phase == Phase.RUNNING
    bench.teleoperation.close()
    with pytest.raises(TeleoperationError, match="closed"):
        bench.teleoperation.start("fake_reach", "ada")


def test_an_arm_that_cannot_be_had_is_one_sentence(bench):
    def make(task, seed):
        raise ArmchairError("there is no arm")

    bench = bench(make)
    with pytest.raises(ArmchairError, match="there is no arm"):
        bench.teleoperation.start("fake_reach", "ada")
    assert bench.teleoperation.status.phase == Phase.IDLE


def test_an_arm_that_fails_loses_its_episode_only(bench, caplog):
    class Frail(QuickArm):
        def step(self, action):
            if self._steps == 3 and self._seed == 1:
                raise OSError("the cable came off")
            return super().step(action)

        def __init__(self, seed):
            super().__init__(seed)
            self._seed = seed

    bench = bench(lambda task, seed: Frail(1 if not bench.arms else 0))
    bench.teleoperation.start("fake_reach", "ada")
    bench.teleoperation.command(RIGHT)
    lost = bench.wait(lambda m: m.status.error)
    assert "the cable came off" in lost.status.error and lost.status.phase == Phase.IDLE
    assert bench.arms[0].closed == 1 and any("dropped an unfinished" in r.message for r in caplog.records)
    bench.drive(5)
    bench.teleoperation.stop()
    bench.teleoperation.keep(Verdict.SUCCESS)
    assert len(bench.episodes()) == 1


def test_another_arm_than_the_datasets_is_refused_before_it_moves(bench):
    bench = bench(lambda task, seed: QuickArm(image_size=(16, 16) if len(bench.arms) == 0 else (32, 32)))
    bench.drive(2)
    bench.teleoperation.stop()
    bench.teleoperation.keep(Verdict.SUCCESS)
    with pytest.raises(SpecMismatchError, match=r"uint8\[32, 32, 3\] in the environment"):
        bench.teleoperation.start("fake_reach", "ada")
    assert bench.arms[1].closed == 1


def test_what_could_not_be_written_is_still_in_hand(bench, monkeypatch):
    bench = bench()
    bench.drive(2)
    bench.teleoperation.stop()

    def full(*args):
        raise OSError("no space left on device")

    monkeypatch.setattr(bench.store, "add", full)
    with pytest.raises(ArmchairError, match=r"no space left on device.*keep it again"):
        bench.teleoperation.keep(Verdict.SUCCESS)
    monkeypatch.undo()
    bench.teleoperation.keep(Verdict.SUCCESS)
    assert len(bench.episodes()) == 1


@pytest.mark.parametrize("ended", [False, True])
def test_closing_drops_what_was_not_kept_and_says_so(bench, ended, caplog):
    bench = bench()
    bench.drive(3)
    if ended:
        bench.teleoperation.stop()
    with caplog.at_level(logging.WARNING):
        bench.teleoperation.close()
    assert any("dropped an" in record.message for record in caplog.records)
    assert bench.arms[0].closed == 1 and not bench.episodes()
    bench.teleoperation.close()  # again: no matter


def test_killed_before_keeping_loses_that_episode_only(tmp_path):
    process = subprocess.Popen(
        [sys.executable, "-c", _VICTIM, tmp_path / "store"],
        stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": str(Path(__file__).parents[3])},
    )  # fmt: skip
    kept, ended = process.stdout.readline().split(), process.stdout.readline()
    os.kill(process.pid, signal.SIGKILL)
    process.communicate()
    store = Store.open(tmp_path / "store")
    assert [row.episode_id for row in store.query(Query())] == kept and ended == "ended\n"
    assert not store.verify()


_VICTIM = """
import sys, time
from datasets.schema import Verdict
from datasets.store import Store
from robot.teleoperation.teleoperation import Teleoperation
from robot.testing import FakeArm

teleoperation = Teleoperation(Store.create(sys.argv[1]), lambda task, seed: FakeArm(seed, image_size=(16, 16)))
for episode in range(2):
    teleoperation.start("fake_reach", "ada")
    while teleoperation.status.t < 2:
        teleoperation.command([0.1, 0])
        time.sleep(0.01)
    teleoperation.stop()
    print(teleoperation.keep(Verdict.SUCCESS) if episode == 0 else "ended", flush=True)
time.sleep(60)
"""


def test_the_recorder_of_scripts_and_this_one_make_the_same_features(bench, tmp_path):
    with record(QuickArm(time_limit=3), tmp_path / "log", "fake") as env:
        timestep = env.reset()
        while not timestep.last():
            timestep = env.step(STILL)
    bench = bench()
    bench.drive(2)
    bench.teleoperation.stop()
    bench.teleoperation.keep(Verdict.SUCCESS)
    assert bench.store.spec("demonstrations_fake_reach") == spec_of(
        ShardDirectory(tmp_path / "log" / "fake" / "1.0.0").features
    )


def test_the_cell_is_driven_and_shown_larger_than_it_is_recorded(bench):
    try:
        rendering.choose_backend()
    except ArmchairError as error:
        pytest.skip(f"nothing can be drawn on this machine: {error}")
    config = CellConfig(cameras=("wrist",), image_size=(32, 32))
    bench = bench(
        lambda task, seed: make_env(task, seed, config), live_cameras=("basket_front_left",), live_size=(120, 160)
    )
    bench.teleoperation.start("lift_green", "ada", seed=5)
    while bench.teleoperation.status.t < 5:
        bench.teleoperation.command(np.array([0, 0, -0.5, 0, 0, 0, 1], np.float32))
        time.sleep(0.02)
    shown = bench.wait(lambda m: m.status.t == 5)
    assert shown.pictures["basket_front_left"].shape == (120, 160, 3)
    assert 0 < shown.status.gripper_opening < 0.085
    bench.teleoperation.stop()
    bench.teleoperation.keep(Verdict.UNKNOWN)
    (episode,) = bench.episodes()
    assert "objects/green/pose" in episode.observation and episode.image_keys == ("pixels/wrist",)
    heights = episode.observation["sawyer/pinch/pose"][:, 2]  # [T]
    assert heights[5] < heights[0] - 0.02
