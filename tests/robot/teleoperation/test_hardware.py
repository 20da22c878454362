"""Teleoperation of an arm of metal: it keeps its own pace, stays connected, and a stop is cleared by a person only."""

import concurrent.futures
import threading
import time

import numpy as np
import pytest

from datasets import schema
from datasets.errors import ArmchairError
from datasets.schema import Verdict
from robot.drivers.environment import RobotConfig, RobotEnvironment
from robot.drivers.fake import SAFETY, FakeCamera, FakeClock, FakeDriver, Faults
from robot.env import Safety
from robot.safety import EmergencyStopError, protect
from robot.teleoperation.teleoperation import Phase, TeleoperationError
from tests.robot.teleoperation.bench import Counter

SIDEWAYS = np.array([0, 1, 0, 0, 0, 0, 0], np.float32)


class Room:
    """A fake arm in simulated time, and a person who commands it before every step."""

    def __init__(self, bench, **config):
        self.clock, self.drivers, self.faults = FakeClock(), [], Faults()
        self.pause, self.has_hands = 0.0, True
        self._config = RobotConfig(**{"time_limit": 100_000} | config)
        self.bench = bench(self._make, self._hands, self.clock)
        self.teleoperation = self.bench.teleoperation

    def _make(self, task, seed):
        self.drivers.append(FakeDriver(self.clock, 0, self.faults))
        cameras = {"wrist": FakeCamera(self.clock, (16, 16))}
        return protect(
            RobotEnvironment(self.drivers[-1], cameras, SAFETY, "cups", self._config, self.clock), Safety.AUTO
        )

    def _hands(self, moment):
        if moment.status.phase is Phase.READY:
            self.clock.sleep(self.pause)
        if moment.status.phase in (Phase.READY, Phase.RUNNING) and self.has_hands:
            self.teleoperation.command(SIDEWAYS)
            time.sleep(0.001)  # as others want to run, too

    def drive(self, steps=3):
        self.teleoperation.start("lab:make", "ada")
        self.wait(lambda status: status.t >= steps)

    def wait(self, condition):
        """Until the present status fulfils it."""
        deadline = time.monotonic() + 20
        while not condition(self.teleoperation.status):
            assert time.monotonic() < deadline, self.teleoperation.status
            time.sleep(0.002)
        return self.teleoperation.status

    def assert_still(self):
        driver = self.drivers[-1]
        before = driver.state().pinch_pose
        self.clock.sleep(1.0)
        np.testing.assert_allclose(driver.state().pinch_pose, before, atol=1e-3)


@pytest.fixture
def room(bench):
    return lambda **config: Room(bench, **config)


def test_the_arm_keeps_its_own_pace_and_nobody_else_sleeps(room):
    room = room(time_limit=20)
    room.pause = 5.0  # s that the person takes before the first command: no overrun
    started = time.monotonic()
    room.teleoperation.start("lab:make", "ada")
    status = room.wait(lambda status: status.phase is Phase.ENDED)
    assert time.monotonic() - started < 2.0  # simulated time passes without waiting
    assert status.t == 20 and status.elapsed_s == pytest.approx(2.0)
    assert status.overruns == 0 and status.jitter_ms == pytest.approx(0, abs=1e-6)
    room.teleoperation.keep(Verdict.SUCCESS)
    (episode,) = room.bench.episodes()
    assert episode.metadata.tags == "overruns:0,jitter_ms:0" and episode.metadata.robot == "fake_robot"
    (row,) = room.bench.store.query(room.bench.store.parse(""))
    assert row.dataset == "demonstrations_fake_robot_cups" and row.task_id == "cups"
    assert "slew" in episode.extras[schema.INTERVENTION][0]  # the filter is on


def test_the_pictures_are_those_of_the_observation_where_nothing_can_be_drawn(bench):
    room = Room(lambda *parts: bench(*parts, live_cameras=("basket_front_left",)))
    room.drive()
    assert {name for moment in room.bench.moments for name in moment.pictures} == {"pixels/wrist"}


def test_the_arm_stays_connected_and_stands_still_between_episodes(room):
    room = room()
    for end in (room.teleoperation.discard, room.teleoperation.stop):
        room.drive()
        end()
        room.assert_still()
    room.teleoperation.keep(Verdict.SUCCESS)
    room.drive()
    assert len(room.drivers) == 1 and not room.drivers[0].is_closed
    room.teleoperation.close()
    assert room.drivers[0].is_closed


def test_an_emergency_stop_ends_the_episode_and_is_cleared_by_name(room, caplog):
    room = room()
    room.drive()
    room.teleoperation.emergency_stop("the cup fell over")
    status = room.wait(lambda status: status.phase is Phase.ENDED)
    assert "the cup fell over" in status.stopped
    room.assert_still()
    episode_id = room.teleoperation.keep(Verdict.FAILURE)
    (episode,) = room.bench.episodes()
    assert episode.metadata.episode_id == episode_id and "stopped" in episode.metadata.tags
    assert "person" in episode.extras[schema.INTERVENTION][-2]
    for task in ("lab:make", "another:arm"):
        with pytest.raises(EmergencyStopError, match="the cup fell over"):
            room.teleoperation.start(task, "ada")
    assert "the cup fell over" in room.teleoperation.status.stopped and len(room.drivers) == 1
    room.teleoperation.clear("bob")
    assert any("bob cleared the stop" in record.message for record in caplog.records)
    assert not room.teleoperation.status.stopped
    room.drive()
    assert len(room.drivers) == 1


def test_a_stop_may_be_cleared_while_its_episode_is_in_hand(room):
    room = room()
    room.drive()
    room.teleoperation.emergency_stop("stop")
    room.wait(lambda status: status.phase is Phase.ENDED)
    room.teleoperation.clear("ada")
    status = room.teleoperation.status
    assert status.phase is Phase.ENDED and not status.stopped
    room.teleoperation.discard()
    room.drive()


def test_a_stop_before_the_first_command_leaves_no_episode(room):
    room = room()
    room.has_hands = False
    room.teleoperation.start("lab:make", "ada")
    room.teleoperation.emergency_stop("not now")
    status = room.wait(lambda status: status.phase is Phase.IDLE)
    assert "not now" in status.stopped and "not now" in status.error
    with pytest.raises(EmergencyStopError):
        room.teleoperation.start("lab:make", "ada")


def test_a_stop_on_the_way_home(room, monkeypatch):
    is_under_way, was_stopped = threading.Event(), threading.Event()

    def home(self):
        is_under_way.set()
        assert was_stopped.wait(10)
        raise ConnectionError("the motion was stopped")

    monkeypatch.setattr(FakeDriver, "home", home)
    monkeypatch.setattr(FakeDriver, "stop", lambda self: was_stopped.set())
    room = room()
    with concurrent.futures.ThreadPoolExecutor() as pool:
        started = pool.submit(room.teleoperation.start, "lab:make", "ada")
        assert is_under_way.wait(10)
        room.teleoperation.emergency_stop("somebody is in the way")
        with pytest.raises(ArmchairError, match="the motion was stopped"):
            started.result()
    assert "somebody is in the way" in room.teleoperation.status.stopped
    with pytest.raises(EmergencyStopError, match="somebody is in the way"):
        room.teleoperation.start("lab:make", "ada")


def test_there_is_nothing_to_clear_or_stop_where_nothing_is_wrong(room):
    room = room()
    with pytest.raises(ArmchairError, match="no arm here"):
        room.teleoperation.emergency_stop("now")
    with pytest.raises(ArmchairError, match="nothing to clear"):
        room.teleoperation.clear("ada")
    room.drive()
    with pytest.raises(TeleoperationError, match="stop it first"):
        room.teleoperation.clear("ada")


def test_a_lost_arm_is_told_and_connected_anew_when_a_person_has_looked(room):
    room = room()
    room.faults = Faults(lost_after=0.5)
    room.teleoperation.start("lab:make", "ada")
    status = room.wait(lambda status: status.phase is Phase.IDLE)
    assert "the fake arm is gone" in status.error and "the fake arm is gone" in status.stopped
    room.faults = Faults()
    with pytest.raises(EmergencyStopError, match="clear the stop"):
        room.teleoperation.start("lab:make", "ada")
    with pytest.raises(TeleoperationError, match="the fake arm is gone"):
        room.teleoperation.clear("ada")  # it does not recover, so it is disconnected
    assert room.drivers[0].is_closed and not room.teleoperation.status.stopped
    room.drive()
    assert len(room.drivers) == 2


class Broken(Counter):
    """A policy that fails in the middle."""

    def act(self, observation):
        super().act(observation)
        if self.seen == 5:
            raise ValueError("no action")
        return SIDEWAYS


def test_a_policy_that_fails_stops_the_arm(room):
    room = room()
    room.teleoperation.start("lab:make", "ada", policy="tests.robot.teleoperation.test_hardware:Broken")
    status = room.wait(lambda status: status.phase is Phase.IDLE)
    assert "no action" in status.error and room.drivers[0].stops and room.drivers[0].is_closed
    room.drive()
