"""One battery over every arm, simulated or not: what may be relied on wherever an action of the vocabulary goes.

A new arm joins by a line in `ARMS`. The cell's own battery is `test_env_contract.py`.
"""

import time

import dm_env
import numpy as np
import pytest
from absl.testing import absltest
from dm_env import test_utils

from datasets import schema
from datasets.errors import SpecMismatchError
from datasets.validate import validate
from robot.drivers.environment import RobotConfig, RobotEnvironment
from robot.drivers.fake import SAFETY, FakeCamera, FakeClock, FakeDriver
from robot.env import CellConfig, Safety, make_env
from robot.limits import Box, SafetyConfig
from robot.record import record, recorded
from robot.safety import protect
from tests.robot.drivers.franka_server import HOST, controller

STEPS = 8  # an episode


def cell():
    return make_env("lift_green", 0, CellConfig(cameras=(), time_limit=STEPS))


def fake():
    clock = FakeClock()
    cameras = {"wrist": FakeCamera(clock, (16, 16))}
    return RobotEnvironment(FakeDriver(clock), cameras, SAFETY, "task", RobotConfig(STEPS), clock)


def franka():
    """The maker's own client against a simulated controller: see `drivers/test_franka.py`."""
    franka = pytest.importorskip("robot.drivers.franka", reason="NOT TESTED: `pip install 'armchair[franka]'`")
    limits = SafetyConfig(Box((0.1, -0.3, 0.3), (0.5, 0.3, 0.9)))  # about the ready pose, without a hand's length
    driver = franka.FrankaDriver(HOST)
    return RobotEnvironment(driver, {"wrist": FakeCamera(time, (16, 16))}, limits, "task", RobotConfig(STEPS))


ARMS = {"cell": cell, "fake": fake, "franka": franka}
# A real controller's reflex stops what an actor without a filter does sooner or later.
WAYS = [(arm, safety) for arm in ARMS for safety in (Safety.ON, Safety.OFF) if (arm, safety) != ("franka", Safety.OFF)]
MARKS = {"franka": (pytest.mark.slow, pytest.mark.controller)}


@pytest.fixture(scope="module")
def franka_controller(tmp_path_factory):
    with controller(tmp_path_factory.mktemp("franka") / "log.txt"):
        yield


@pytest.fixture(
    params=[pytest.param((arm, safety), marks=MARKS.get(arm, ()), id=f"{arm}-{safety}") for arm, safety in WAYS]
)
def env(request):
    arm, safety = request.param
    if arm == "franka":
        request.getfixturevalue("franka_controller")
    with protect(ARMS[arm](), safety) as env:
        yield env


def _actions(seed, count):
    return np.random.default_rng(seed).uniform(-1, 1, (count, 7)).astype(np.float32)


def _life_cycle(arm, safety):
    """dm_env's own contract test, with action sequences that pass the end of an episode."""

    class Contract(test_utils.EnvironmentTestMixin, absltest.TestCase):
        def make_object_under_test(self):
            env = protect(ARMS[arm](), safety)
            self.addCleanup(env.close)
            return env

        def make_action_sequence(self):
            yield from _actions(0, 2 * STEPS + 4)

    Contract.__name__ = Contract.__qualname__ = f"Contract_{arm}_{safety}"
    return Contract


for _arm, _safety in WAYS:
    _contract = _life_cycle(_arm, _safety)
    if _arm == "franka":
        _contract.pytestmark = [*MARKS[_arm], pytest.mark.usefixtures("franka_controller")]
    globals()[_contract.__name__] = _contract
    del _contract  # or it would be collected twice


def test_actions_and_observations_are_the_vocabulary_s(env):
    spec = env.action_spec()
    assert spec.shape == (len(schema.ACTION_NAMES),) and spec.dtype == np.float32
    np.testing.assert_array_equal([spec.minimum, spec.maximum], [-1, 1])
    observed = env.observation_spec()
    for name, array in observed.items():
        feature = schema.OBSERVATIONS[name]
        assert array.name == name and array.dtype == feature.dtype
        assert all(k in (None, n) for k, n in zip(feature.shape, array.shape, strict=True))
    assert {n for n in cell().observation_spec() if not schema.is_privileged(n)} <= set(observed)


def test_it_says_who_and_what_it_is(env):
    assert env.robot and env.task_id and env.safety


def test_observations_are_finite_and_of_the_past_stay_as_they_were(env):
    first = env.reset().observation
    before = {name: value.copy() for name, value in first.items()}
    for action in _actions(1, STEPS):
        observation = env.step(action).observation
        assert all(np.isfinite(value).all() for value in observation.values())
        assert np.linalg.norm(observation["sawyer/pinch/pose"][3:]) == pytest.approx(1, abs=1e-3)
    for name, value in first.items():
        np.testing.assert_array_equal(value, before[name], name)


@pytest.mark.parametrize("axis", range(3))
def test_actions_move_the_pinch_point_along_the_axes_of_the_base(env, axis):
    start = env.reset().observation["sawyer/pinch/pose"][:3]
    middle = np.add(env.safety.workspace.low, env.safety.workspace.high) / 2
    direction = 0.5 if start[axis] < middle[axis] else -0.5
    action = direction * np.eye(7, dtype=np.float32)[axis]
    places = [env.step(action).observation["sawyer/pinch/pose"][:3] for _ in range(STEPS)]
    way = places[-1] - places[3]  # once the servos have caught up
    if env.robot == "franka":  # its simulated controller has a clock of its own, as slow as the machine
        assert np.sign(way[axis]) == np.sign(direction) and 3 * np.abs(np.delete(way, axis)).max() < abs(way[axis])
    else:
        assert way[axis] / (0.1 * (STEPS - 4)) == pytest.approx(direction * schema.MAX_LINEAR, rel=0.15)


def test_the_gripper_closes_with_a_positive_action(env):
    opening = env.reset().observation["gripper/opening"]
    for _ in range(4):
        observation = env.step(np.eye(7, dtype=np.float32)[6]).observation
    assert observation["gripper/opening"] < opening - 0.02
    assert observation["gripper/command"] < opening - 0.04


def test_an_episode_is_truncated_with_discount_one_and_the_next_step_begins_another(env):
    env.reset()
    timesteps = [env.step(action) for action in _actions(2, STEPS) * 0.1]
    assert [t.step_type for t in timesteps] == [dm_env.StepType.MID] * (STEPS - 1) + [dm_env.StepType.LAST]
    assert {t.discount for t in timesteps} == {1.0}
    assert env.step(np.zeros(7, np.float32)).first()


@pytest.mark.parametrize("wrong", [np.full(7, np.nan), np.zeros(6)])
def test_what_is_no_action_never_moves_the_arm(env, wrong):
    env.reset()
    before = env.step(np.zeros(7, np.float32)).observation["sawyer/pinch/pose"]
    if hasattr(env, "latched"):
        after = env.step(wrong).observation["sawyer/pinch/pose"]
        assert env.latched
        np.testing.assert_allclose(after, before, atol=2e-3)
    else:
        with pytest.raises(SpecMismatchError, match="7 numbers"):
            env.step(wrong)


def test_a_recorded_episode_is_valid(env, tmp_path):
    spec = env.observation_spec()
    with record(env, tmp_path, "conformance") as recorder:
        recorder.reset()
        for action in _actions(3, STEPS):
            recorder.step(action)
    (episode,) = recorded(tmp_path, "conformance")
    assert not validate(episode).errors
    assert episode.num_steps == STEPS + 1 and set(episode.observation) == set(spec)
    assert (schema.INTERVENTION in episode.extras) == hasattr(env, "executed")
