"""The safety filter: what it changes, what it stops for, who clears it, what is recorded, and what it costs."""

import dataclasses
import math
import time

import dm_env
import numpy as np
import pytest
from dm_env import specs

from datasets import schema
from datasets.errors import ArmchairError, SpecMismatchError
from datasets.validate import validate
from robot.cell import arm
from robot.env import CellConfig, make_env
from robot.experts import make_expert
from robot.limits import Box, Reason, SafetyConfig
from robot.record import record, recorded
from robot.safety import EmergencyStopError, SafeEnvironment, Safety, protect
from robot.testing import FakeArm

CONFIG = SafetyConfig(Box((0.4, -0.2, 0.0), (0.8, 0.2, 0.3)))
STILL = np.zeros(7, np.float32)
SIDEWAYS = np.array([0, 0.5, 0, 0, 0, 0, 0], np.float32)


class PointArm(dm_env.Environment):
    """A point that goes where it is told, at 10 Hz, and feels what a test makes it feel."""

    robot = "point"
    safety = CONFIG

    def __init__(self, time_limit=20):
        self.time_limit = time_limit
        self.force, self.torque, self.stuck, self.broken = np.zeros(3), np.zeros(3), False, False
        self.set_point_expired = False
        self.obeyed, self.halts, self.recoveries = [], 0, 0

    def reset(self):
        self.pose = np.array([0.6, 0, 0.2, 0, 1, 0, 0], np.float32)
        self.obeyed = []
        return dm_env.restart(self._observation())

    def step(self, action):
        if self.broken:
            raise ConnectionError("no answer")
        self.obeyed.append(action)
        if not self.stuck:
            self.pose[:3] += action[:3] * schema.MAX_LINEAR / schema.CONTROL_RATE_HZ
        over = len(self.obeyed) == self.time_limit
        return (dm_env.truncation if over else dm_env.transition)(0.0, self._observation(), 1.0)

    def halt(self):
        self.halts += 1

    def recover(self):
        self.recoveries += 1

    def observation_spec(self):
        return {name: specs.Array(value.shape, np.float32, name) for name, value in self._observation().items()}

    def action_spec(self):
        return specs.BoundedArray((7,), np.float32, -1, 1, "action")

    def _observation(self):
        pose = getattr(self, "pose", np.zeros(7))
        values = {"sawyer/pinch/pose": pose, "wrist/force": self.force, "wrist/torque": self.torque}
        return {name: np.array(value, np.float32) for name, value in values.items()}


@pytest.fixture
def point():
    return PointArm()


@pytest.fixture
def safe(point):
    env = SafeEnvironment(point, CONFIG)
    env.reset()
    return env


def assert_stopped(env, point, timestep, reason):
    """Stopped, the episode over, and nothing but a person makes it move again."""
    assert timestep.last() and timestep.discount == 1
    assert reason in env.executed.reasons
    assert point.halts and env.latched.startswith(reason)
    moved = len(point.obeyed)
    for _ in range(2):
        with pytest.raises(EmergencyStopError, match=f"stopped .{reason}"):
            env.step(SIDEWAYS)
        with pytest.raises(EmergencyStopError, match="look after it"):
            env.reset()
    assert len(point.obeyed) == moved
    assert point.recoveries == 0
    env.clear("ada")
    assert point.recoveries == 1 and env.latched == ""
    assert env.reset().first()
    assert env.step(SIDEWAYS).mid()


def test_the_arm_does_what_is_limited_and_the_filter_tells_both(safe, point):
    wanted = np.array([0, 1, 0, 0, 0, 0, 0], np.float32)
    safe.step(wanted)
    assert safe.executed.reasons == (Reason.SLEW,)
    np.testing.assert_array_equal(safe.executed.commanded, wanted)
    np.testing.assert_allclose(point.obeyed[0][1] * schema.MAX_LINEAR, 1.0 * 0.1)  # a * h
    np.testing.assert_array_equal(safe.executed.action, point.obeyed[0])
    safe.step(wanted)
    assert safe.executed.reasons == ()
    np.testing.assert_array_equal(point.obeyed[1], wanted)


def test_the_point_never_leaves_the_workspace_of_the_filter():
    point = PointArm(time_limit=200)
    env = SafeEnvironment(point, CONFIG)
    env.reset()
    rng = np.random.default_rng(0)
    for _ in range(10):
        for action in np.repeat(rng.normal(0, 2, (10, 7)), 20, axis=0).astype(np.float32):
            env.step(action)
            assert (point.pose[:3] >= np.subtract(CONFIG.workspace.low, 1e-6)).all()
            assert (point.pose[:3] <= np.add(CONFIG.workspace.high, 1e-6)).all()


@pytest.mark.parametrize("wrong", [np.full(7, np.nan), np.full(7, np.inf), np.zeros(6), 0.0, None, ["left"] * 7])
def test_an_action_that_is_none_stops_the_arm(safe, point, wrong):
    safe.step(SIDEWAYS)
    timestep = safe.step(wrong)
    np.testing.assert_array_equal(point.obeyed[-1], STILL)
    np.testing.assert_array_equal(safe.executed.commanded, STILL)
    assert_stopped(safe, point, timestep, Reason.MALFORMED)


@pytest.mark.parametrize(("name", "limit"), [("force", CONFIG.max_force), ("torque", CONFIG.max_torque)])
def test_force_that_lasts_stops_the_arm(safe, point, name, limit):
    setattr(point, name, np.array([0, 0.8, -0.6]) * limit * 1.01)
    assert safe.step(STILL).mid()  # a tap
    setattr(point, name, np.zeros(3))
    assert safe.step(STILL).mid()
    setattr(point, name, np.array([0, 0.8, -0.6]) * limit * 0.99)
    assert safe.step(STILL).mid() and safe.step(STILL).mid() and safe.step(STILL).mid()
    setattr(point, name, np.array([0, 0.8, -0.6]) * limit * 1.01)
    assert safe.step(STILL).mid()
    assert_stopped(safe, point, safe.step(STILL), Reason.FORCE)


def test_the_weight_of_the_gripper_is_no_force(point):
    point.force = np.array([0, 0, 2 * CONFIG.max_force])
    env = SafeEnvironment(point, CONFIG)
    env.reset()
    for _ in range(5):
        assert env.step(STILL).mid()


def test_a_force_that_is_no_number_stops_the_arm(safe, point):
    point.force = np.full(3, np.nan)
    safe.step(STILL)
    timestep = safe.step(STILL)
    point.force = np.zeros(3)
    assert_stopped(safe, point, timestep, Reason.FORCE)


def test_a_pose_that_is_frozen_while_the_arm_is_to_move_stops_it(safe, point):
    point.stuck = True
    assert all(safe.step(STILL).mid() for _ in range(5))  # standing still, it may well be
    assert safe.step(SIDEWAYS).mid() and safe.step(SIDEWAYS).mid()
    timestep = safe.step(SIDEWAYS)
    point.stuck = False
    assert_stopped(safe, point, timestep, Reason.SENSOR)


def test_a_pose_that_is_no_number_stops_the_arm(safe, point):
    point.pose[3] = np.nan
    assert_stopped(safe, point, safe.step(SIDEWAYS), Reason.SENSOR)


def test_the_button_stops_the_arm_at_once_and_ends_the_episode_with_the_next_step(safe, point):
    safe.step(SIDEWAYS)
    safe.emergency_stop("the cup fell over")
    assert point.halts == 1
    timestep = safe.step(SIDEWAYS)
    np.testing.assert_array_equal(point.obeyed[-1], STILL)
    assert_stopped(safe, point, timestep, Reason.PERSON)


def test_the_button_during_a_step_ends_the_episode_with_that_step(safe, point):
    obey = point.step

    def step(action):
        timestep = obey(action)
        safe.emergency_stop("in the way")
        return timestep

    point.step = step
    timestep = safe.step(SIDEWAYS)
    point.step = obey
    assert_stopped(safe, point, timestep, Reason.PERSON)


def test_only_a_person_with_a_name_clears_a_stop(safe):
    safe.emergency_stop("try")
    with pytest.raises(ArmchairError, match="only a person"):
        safe.clear("  ")
    assert safe.latched


def test_an_arm_that_cannot_recover_stays_stopped(safe, point):
    safe.emergency_stop("try")
    point.recover = lambda: 1 / 0
    with pytest.raises(ZeroDivisionError):
        safe.clear("ada")
    with pytest.raises(EmergencyStopError):
        safe.reset()


def test_an_arm_that_fails_is_stopped_and_the_error_is_its_own(safe, point):
    point.broken = True
    with pytest.raises(ConnectionError):
        safe.step(SIDEWAYS)
    assert point.halts == 1
    point.broken = False
    with pytest.raises(EmergencyStopError, match="no answer"):
        safe.step(SIDEWAYS)
    assert not point.obeyed


def test_an_arm_that_does_not_even_answer_to_the_stop_is_latched_all_the_same(safe, point, caplog):
    point.halt = lambda: 1 / 0
    safe.emergency_stop("now")
    assert "did not answer" in caplog.text
    assert safe.step(SIDEWAYS).last()
    with pytest.raises(EmergencyStopError):
        safe.reset()


def test_after_a_set_point_has_expired_the_arm_starts_from_rest(safe, point):
    wanted = np.array([0, 1, 0, 0, 0, 0, 0], np.float32)
    for _ in range(3):
        safe.step(wanted)
    point.set_point_expired = True
    safe.step(wanted)
    assert safe.executed.reasons == (Reason.EXPIRED, Reason.SLEW)
    np.testing.assert_allclose(point.obeyed[-1][1] * schema.MAX_LINEAR, 0.1)


def test_what_the_arm_has_besides_shows_through(safe):
    assert safe.robot == "point" and not hasattr(safe, "is_success")


def test_an_environment_that_the_filter_does_not_know_is_refused(point):
    with pytest.raises(SpecMismatchError, match="sawyer/pinch/pose"):
        SafeEnvironment(FakeArm(), CONFIG)
    point.observation_spec = lambda: {"sawyer/pinch/pose": specs.Array((7,), np.float32)}
    with pytest.raises(SpecMismatchError, match="wrist/force"):
        SafeEnvironment(point, CONFIG)
    SafeEnvironment(point, dataclasses.replace(CONFIG, max_force=math.inf, max_torque=math.inf))
    point.action_spec = lambda: specs.BoundedArray((4,), np.float32, -1, 1)
    with pytest.raises(SpecMismatchError, match="knows the 7 actions"):
        SafeEnvironment(point, dataclasses.replace(CONFIG, max_force=math.inf, max_torque=math.inf))


def test_real_arms_have_a_filter_and_simulated_ones_do_if_they_are_asked_to(point):
    assert protect(point, Safety.AUTO) is point
    assert isinstance(protect(point, Safety.ON), SafeEnvironment)
    point.is_hardware = True
    assert isinstance(protect(point, Safety.AUTO), SafeEnvironment)
    assert protect(point, Safety.OFF) is point
    with pytest.raises(ArmchairError, match="fake_arm.*has no safety limits"):
        protect(FakeArm(), Safety.ON)


def test_an_episode_is_recorded_with_what_was_executed_commanded_and_why(tmp_path):
    point = PointArm(time_limit=4)
    commands = [np.roll(np.array([1, 0, 0, 0, 0, 0, 0], np.float32), k % 3) for k in range(4)]
    with record(SafeEnvironment(point, CONFIG), tmp_path, "safe") as env:
        timesteps = [env.reset(), *(env.step(command) for command in commands)]
    (episode,) = recorded(tmp_path, "safe")
    assert not validate(episode).errors
    assert timesteps[-1].last() and episode.num_steps == 5
    np.testing.assert_array_equal(episode.action, [*point.obeyed, STILL])
    np.testing.assert_array_equal(episode.extras[schema.COMMANDED_ACTION], [*commands, STILL])
    assert episode.extras[schema.INTERVENTION].tolist() == ["slew", "slew", "slew", "slew", ""]
    # The alignment: a_t, in the units of m/s, is what led from o_t to o_{t+1}.
    moved = np.diff(episode.observation["sawyer/pinch/pose"][:, :3], axis=0)
    np.testing.assert_allclose(moved, episode.action[:-1, :3] * schema.MAX_LINEAR / 10, atol=1e-6)
    assert episode.metadata.tags == ""


def test_a_stopped_episode_is_recorded_and_tagged(tmp_path):
    with record(SafeEnvironment(PointArm(), CONFIG), tmp_path, "safe", tags="morning") as env:
        env.reset()
        env.step(SIDEWAYS)
        assert env.step(np.full(7, np.nan)).last()
    (episode,) = recorded(tmp_path, "safe")
    assert not validate(episode).errors
    assert episode.metadata.tags == "morning,stopped"
    np.testing.assert_array_equal(episode.action, [SIDEWAYS, STILL, STILL])
    assert episode.extras[schema.INTERVENTION].tolist() == ["", "malformed", ""]
    assert not episode.is_terminal.any() and (episode.discount == 1).all()


def test_a_dataset_has_episodes_with_a_filter_or_without(tmp_path):
    point = PointArm(time_limit=2)
    with record(SafeEnvironment(point, CONFIG), tmp_path, "safe") as env:
        env.reset(), env.step(STILL), env.step(STILL)
    with pytest.raises(SpecMismatchError, match="has no safety filter, unlike"):
        record(point, tmp_path, "safe")
    with record(point, tmp_path, "bare") as env:
        env.reset(), env.step(STILL), env.step(STILL)
    assert schema.INTERVENTION not in next(recorded(tmp_path, "bare")).extras
    with pytest.raises(SpecMismatchError, match="has a safety filter, unlike"):
        record(SafeEnvironment(point, CONFIG), tmp_path, "bare")


def test_the_simulated_cell_behind_the_filter_still_lifts_and_keeps_its_pace():
    env = make_env("lift_green", 0, CellConfig(cameras=()), Safety.ON)
    expert, timestep, before = make_expert("lift_green", 0), env.reset(), STILL
    while not timestep.last():
        timestep = env.step(expert.act(timestep.observation))
        executed, before = env.executed.action - before, env.executed.action
        assert np.linalg.norm(before[:3]) <= 1 + 1e-6
        assert np.abs(executed[:3]).max() * schema.MAX_LINEAR <= 0.1 + 1e-6
        pinch = timestep.observation["sawyer/pinch/pose"][:3]
        assert (pinch > arm.WORKSPACE_LOW - 0.01).all() and (pinch < arm.WORKSPACE_HIGH + 0.01).all()
    assert env.is_success() and not env.latched


def test_the_filter_costs_a_fraction_of_a_millisecond_a_step():
    posts = tuple(Box((x, 0, 0), (x + 0.05, 0.1, 0.1)) for x in (0.45, 0.55, 0.65))
    point = PointArm(time_limit=10_000)
    env = SafeEnvironment(point, dataclasses.replace(CONFIG, keep_out=posts))
    env.reset()
    actions = np.random.default_rng(0).normal(0, 1, (500, 7)).astype(np.float32)

    def seconds(step):
        start = time.thread_time()
        for action in actions:
            step(action)
        return time.thread_time() - start

    costs = [seconds(env.step) - seconds(point.step) for _ in range(5)]
    assert min(costs) / len(actions) < 0.4e-3  # 0.15e-3 by benchmarks/safety.py; a busy machine is slower
