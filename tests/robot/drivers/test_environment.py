"""A driver as an environment: when it is told what, how old it may be, and that every way out stops the arm."""

import dataclasses
import threading
import time

import numpy as np
import pytest

from datasets import schema
from datasets.errors import ArmchairError, SpecMismatchError
from datasets.validate import validate
from robot.collect import CollectConfig, collect
from robot.drivers.base import DriverError
from robot.drivers.environment import RobotConfig, RobotEnvironment
from robot.drivers.fake import HOME, SAFETY, STROKE, FakeCamera, FakeClock, FakeDriver, Faults, make_robot
from robot.env import CellConfig, Safety, make_env
from robot.limits import Box, SafetyConfig
from robot.plan import PlanLine
from robot.record import record, recorded
from robot.safety import EmergencyStopError, SafeEnvironment
from robot.testing import FakeOperator

STILL = np.zeros(7, np.float32)
SIDEWAYS = np.array([0, 1, 0, 0, 0, 0, 0], np.float32)
NAME = "robot.drivers.fake:make_robot"


class Bench:
    """A fake arm with its environment, in simulated time."""

    def __init__(self, faults=None, camera_faults=None, clock=None, **config):
        self.clock = clock or FakeClock()
        self.driver = FakeDriver(self.clock, 0, faults)
        self.camera = FakeCamera(self.clock, (8, 12), 0, camera_faults)
        config = RobotConfig(**{"time_limit": 10_000} | config)
        self.env = RobotEnvironment(self.driver, {"wrist": self.camera}, SAFETY, "task", config, self.clock)

    def __enter__(self):
        self.env.reset()
        return self

    def __exit__(self, *error):
        self.env.close()

    def steps(self, action, count):
        for _ in range(count):
            self.env.step(action)


def test_an_action_is_seen_a_control_step_after_it_was_sent():
    with Bench() as bench:
        start = bench.clock.monotonic()
        timestep = bench.env.step(SIDEWAYS)
        assert bench.clock.monotonic() - start == pytest.approx(0.1)
        moved = timestep.observation["sawyer/pinch/pose"][:3] - HOME[:3]
        np.testing.assert_allclose(moved, [0, schema.MAX_LINEAR * 0.1, 0], atol=1e-4)
        turned = bench.env.step(np.array([0, 0, 0, 0, 0, 1, 0]))
        np.testing.assert_allclose(
            turned.observation["sawyer/tcp/velocity"], [0, 0, 0, 0, 0, -schema.MAX_ANGULAR], atol=1e-3
        )  # in the frame of a tool that points down


def test_the_gripper_follows_its_speed_within_its_stroke():
    with Bench() as bench:
        close = np.array([0, 0, 0, 0, 0, 0, 1])
        first = bench.env.step(close).observation
        assert first["gripper/command"] == pytest.approx(STROKE - 0.012)
        assert first["gripper/opening"] == pytest.approx(STROKE - 0.012, abs=1e-6)
        for _ in range(10):
            last = bench.env.step(close).observation
        assert last["gripper/command"] == 0 and last["gripper/opening"] == 0


def test_a_set_point_expires_when_no_other_comes():
    with Bench() as bench:
        bench.env.step(SIDEWAYS)
        assert not bench.env.set_point_expired
        bench.clock.sleep(5.0)
        assert bench.env.set_point_expired
        moved = bench.driver.state().pinch_pose[1]
        assert moved == pytest.approx(schema.MAX_LINEAR * bench.env._config.dead_man, abs=1e-4)


def test_the_pace_is_kept_and_a_late_step_is_counted():
    with Bench() as bench:
        for thinking in (0.02, 0.03, 0.25, 0.02, 0.02):
            bench.clock.sleep(thinking)
            before = bench.clock.monotonic()
            bench.env.step(STILL)
            # What was sent has a control step's time to act, at least what thinking left of it.
            assert bench.clock.monotonic() - before == pytest.approx(0.1 if thinking > 0.1 else 0.1 - thinking)
        assert bench.env.tags == "overruns:1,jitter_ms:206"  # 95th percentile of 20, 30, 250, 20, 20


def test_real_time_is_kept_to_some_milliseconds():
    with Bench(clock=time) as bench:
        start = time.monotonic()
        for _ in range(5):
            bench.env.step(STILL)
        assert time.monotonic() - start == pytest.approx(0.5, abs=0.15)


def test_an_episode_ends_at_its_time_limit():
    with Bench(time_limit=3) as bench:
        timesteps = [bench.env.step(STILL) for _ in range(3)]
        assert [t.last() for t in timesteps] == [False, False, True] and timesteps[-1].discount == 1


def test_latency_is_part_of_the_pace():
    with Bench(Faults(latency=0.015)) as bench:
        start = bench.clock.monotonic()
        for _ in range(10):
            bench.env.step(STILL)
        assert bench.clock.monotonic() - start == pytest.approx(1.0, abs=0.05)
        assert bench.env.tags.startswith("overruns:0")


def test_dropouts_are_borne_until_they_last():
    with Bench(Faults(dropouts=0.1)) as bench:
        for _ in range(50):
            bench.env.step(STILL)
    with Bench(Faults(dropouts=0.95)) as bench:
        with pytest.raises(DriverError, match=r"fake_robot told last is 0\.\d+ s old, more than 0\.3 s"):
            bench.steps(STILL, 100)
        assert_halted(bench)


def assert_halted(bench):
    """Stopped, and it does not recover by itself."""
    assert bench.driver.stops
    for _ in range(2):
        with pytest.raises(DriverError, match="was stopped"):
            bench.env.reset()
    there = bench.driver._pose.copy()
    bench.clock.sleep(1.0)
    bench.driver._advance()
    np.testing.assert_array_equal(bench.driver._pose, there)


def test_a_camera_that_has_stopped_stops_the_arm():
    with Bench(camera_faults=Faults(dropouts=1.0)) as bench:
        with pytest.raises(DriverError, match="the camera 'wrist' told last"):
            bench.steps(SIDEWAYS, 10)
        assert_halted(bench)


def test_a_lost_arm_is_stopped_and_told_in_one_sentence():
    with Bench() as bench:
        bench.driver._faults = Faults(lost_after=0.5)
        with pytest.raises(DriverError, match=r"fake_robot failed .ConnectionError: the fake arm is gone.*look after"):
            bench.steps(SIDEWAYS, 10)
        assert bench.driver.stops
        bench.driver._faults = Faults()
        with pytest.raises(DriverError, match="was stopped"):
            bench.env.reset()
        bench.env.recover()
        assert bench.env.reset().first()


@pytest.mark.parametrize("field", ["joint_angle", "pinch_pose", "wrist_force"])
@pytest.mark.parametrize("value", [np.full(7, np.nan), np.zeros(2)])
def test_nonsense_from_the_arm_stops_it(field, value):
    with Bench() as bench:
        measure = bench.driver.state
        bench.driver.state = lambda: dataclasses.replace(measure(), **{field: value})
        with pytest.raises(DriverError, match=f"driver's {field} is .* not [37] finite numbers"):
            bench.env.step(STILL)
        assert bench.driver.stops


def test_pictures_of_another_size_stop_the_arm():
    with Bench() as bench:
        read = bench.camera.read
        bench.camera.read = lambda: read()._replace(picture=np.zeros((8, 8, 3), np.uint8))
        with pytest.raises(DriverError, match=r"gave uint8\[8, 8, 3\], not uint8\[8, 12, 3\]"):
            bench.env.step(STILL)
        assert bench.driver.stops


@pytest.mark.parametrize("wrong", [np.zeros(6), np.full(7, np.nan)])
def test_without_a_filter_an_action_that_is_none_stops_the_arm_too(wrong):
    with Bench() as bench:
        with pytest.raises(SpecMismatchError, match="give it 7 numbers"):
            bench.env.step(wrong)
        assert bench.driver.stops


@pytest.mark.parametrize("error", [KeyboardInterrupt, SystemExit])
def test_who_interrupts_a_step_stops_the_arm(error):
    with Bench() as bench:
        bench.driver.state = lambda: (_ for _ in ()).throw(error())
        with pytest.raises(error):
            bench.env.step(SIDEWAYS)
        assert bench.driver.stops


def test_halting_while_a_set_point_is_sent_stops_the_arm_after_it():
    with Bench() as bench:
        move = bench.driver.move

        def late(*order):
            bench.env.halt()  # as another thread might
            move(*order)

        bench.driver.move = late
        timestep = bench.env.step(SIDEWAYS)
        assert timestep.last() and bench.driver.stops == 2
        assert timestep.observation["sawyer/pinch/pose"][1] == pytest.approx(0, abs=1e-3)


def test_halting_from_another_thread_ends_the_episode():
    with Bench(clock=time) as bench:
        button = threading.Timer(0.15, bench.env.halt)
        button.start()
        timestep = bench.env.step(SIDEWAYS)
        while not timestep.last():
            timestep = bench.env.step(SIDEWAYS)
        assert timestep.observation["sawyer/pinch/pose"][1] < schema.MAX_LINEAR * 0.25
        with pytest.raises(DriverError, match="was stopped"):
            bench.env.step(SIDEWAYS)


def test_closing_stops_the_arm_and_disconnects_whatever_fails():
    bench = Bench()
    bench.driver.stop = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        bench.env.close()
    assert bench.driver.is_closed and bench.camera.is_closed


def test_a_stuck_sensor_stops_the_arm_behind_the_filter_within_five_centimetres():
    with Bench() as bench:
        env = SafeEnvironment(bench.env, SAFETY)
        env.reset()
        bench.driver._faults = Faults(stuck_after=0.5)
        timestep = env.step(SIDEWAYS)
        while not timestep.last():
            timestep = env.step(SIDEWAYS)
        assert env.latched.startswith("sensor") and bench.driver.stops
        reached = bench.driver._pose[1]
        bench.clock.sleep(1.0)
        bench.driver._advance()
        assert bench.driver._pose[1] == reached
        assert reached - timestep.observation["sawyer/pinch/pose"][1] < 0.05
        with pytest.raises(EmergencyStopError):
            env.reset()
        bench.driver._faults = Faults()
        env.clear("ada")
        assert env.reset().first()


def test_an_arm_that_presses_on_the_floor_is_stopped_by_the_force_that_it_feels():
    below = dataclasses.replace(SAFETY, workspace=Box((0.4, -0.2, -0.1), (0.8, 0.2, 0.3)))
    with Bench() as bench:
        env = SafeEnvironment(bench.env, below)
        timestep = env.reset()
        while not timestep.last():
            timestep = env.step(-np.eye(7, dtype=np.float32)[2])
        assert env.latched.startswith("force: the wrist feels")
        assert timestep.observation["sawyer/pinch/pose"][2] > -0.04


def test_the_arm_by_its_name_has_a_filter_unless_it_is_turned_off():
    with make_env(NAME, 0) as env:
        assert isinstance(env, SafeEnvironment)
    with make_env(NAME, 0, safety=Safety.OFF) as env:
        assert not isinstance(env, SafeEnvironment)


def test_its_observations_are_those_of_the_simulated_cell_without_what_only_a_simulator_knows():
    cell, robot = make_env("lift_green", 0, CellConfig()), make_env(NAME, 0)
    told = {name: spec for name, spec in cell.observation_spec().items() if not schema.is_privileged(name)}
    assert robot.observation_spec() == told
    assert robot.action_spec() == cell.action_spec()
    robot.close()


def test_collected_episodes_have_verdict_pace_and_interventions(tmp_path):
    line = PlanLine(NAME, "random_watcher", episodes=2)
    summaries = collect(CollectConfig(tmp_path, (line,)), FakeOperator("u"))
    assert [s.length for s in summaries] == [50, 50] and summaries[0].success is None
    for episode in recorded(tmp_path, "recorded"):
        assert not validate(episode).errors
        meta = episode.metadata
        assert meta.robot == "fake_robot" and meta.task_id == "fake_task" and meta.verdict == schema.Verdict.UNKNOWN
        assert meta.tags == "overruns:0,jitter_ms:0"
        assert {"speed", "slew"} & set(",".join(episode.extras[schema.INTERVENTION]).split(","))
        assert (episode.action != episode.extras[schema.COMMANDED_ACTION]).any()


class Clumsy:
    """Means no harm for ten steps, and then nothing that an arm could do."""

    policy_id = "clumsy"

    def __init__(self, seed):
        self.reset()

    def reset(self, seed=None):
        self._steps = 0

    def act(self, observation):
        self._steps += 1
        return STILL if self._steps < 10 else np.full(7, np.nan)


def test_a_stop_ends_the_whole_plan_and_keeps_what_was_recorded(tmp_path):
    actor = "tests.robot.drivers.test_environment:Clumsy"
    plan = (PlanLine(NAME, actor, episodes=1), PlanLine(NAME, "random", episodes=1))
    with pytest.raises(EmergencyStopError, match="malformed.*look after it"):
        collect(CollectConfig(tmp_path, plan), FakeOperator())
    (episode,) = recorded(tmp_path, "recorded")
    assert episode.num_steps == 11 and "stopped" in episode.metadata.tags


def test_an_arm_that_fails_leaves_its_episode_up_to_the_step_before(tmp_path):
    with Bench() as bench, record(SafeEnvironment(bench.env, SAFETY), tmp_path, "broken") as recorder:
        recorder.reset()
        seen = [recorder.step(SIDEWAYS).observation["sawyer/pinch/pose"] for _ in range(5)]
        bench.driver._faults = Faults(lost_after=0.0)
        with pytest.raises(DriverError, match="the fake arm is gone"):
            recorder.step(SIDEWAYS)
        (episode,) = recorded(tmp_path, "broken")
        assert not validate(episode).errors
        assert episode.num_steps == 6 and episode.metadata.tags.endswith("stopped")
        np.testing.assert_array_equal(episode.observation["sawyer/pinch/pose"][1:], seen)
        assert episode.discount[-1] == 1 and not episode.is_terminal.any()
        bench.driver._faults = Faults()
        recorder.clear("ada")
        assert recorder.step(STILL).first()  # as after any episode's end
        recorder.step(STILL)
    failed, closed = recorded(tmp_path, "broken")
    assert failed.metadata.episode_id == episode.metadata.episode_id
    assert (closed.num_steps, closed.metadata.tags) == (2, "interrupted")  # what was closed was not finished


def test_an_arm_that_fails_before_it_has_moved_leaves_nothing(tmp_path):
    with Bench() as bench, record(SafeEnvironment(bench.env, SAFETY), tmp_path, "broken") as recorder:
        recorder.reset()
        bench.driver._faults = Faults(lost_after=0.0)
        with pytest.raises(DriverError):
            recorder.step(SIDEWAYS)
    assert not list(recorded(tmp_path, "broken"))


def test_limits_of_another_arm_are_its_own():
    config = SafetyConfig(Box((0.5, -0.1, 0.1), (0.7, 0.1, 0.3)))
    clock = FakeClock()
    env = RobotEnvironment(FakeDriver(clock), {}, config, "task", clock=clock)
    assert env.safety is config
    env.close()
    with pytest.raises(ArmchairError, match="through a wall"):
        SafeEnvironment(env, dataclasses.replace(config, braking_time=0.05, max_linear=0.05, max_angular=0.2))


def test_the_factory_takes_a_seed():
    with make_robot(0) as one, make_robot(1) as other:
        angle, another = (env.reset().observation["sawyer/joints/angle"] for env in (one, other))
    assert (angle != another).any()
