"""The Franka driver against a controller that speaks the arm's own protocol, by the maker's own client library.

The controller is a simulation (`franka_server`), and as slow as the machine: times are its own, so tests measure ways.
What it cannot tell: contact forces, brakes, Desk, and the jitter of a real network card.
"""

import os
import signal
import subprocess
import sys
import time
from pathlib import Path

import numpy as np
import pytest

from datasets import schema
from datasets.errors import ArmchairError
from datasets.validate import validate
from robot.env import make_env
from robot.limits import Box, SafetyConfig
from robot.record import record, recorded
from tests.robot.drivers.franka_server import HOST, controller

franky = pytest.importorskip("franky", reason="NOT TESTED: the Franka driver wants `pip install 'armchair[franka]'`")

from robot.drivers.base import DriverError  # noqa: E402
from robot.drivers.environment import RobotConfig, RobotEnvironment  # noqa: E402
from robot.drivers.fake import FakeCamera  # noqa: E402
from robot.drivers.franka import FrankaConfig, FrankaDriver  # noqa: E402
from robot.safety import EmergencyStopError, SafeEnvironment  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.controller, pytest.mark.timeout(240)]

WORKSPACE = Box((0.25, -0.15, 0.45), (0.45, 0.15, 0.85))  # about where the ready pose is, without a hand's length
SAFETY = SafetyConfig(WORKSPACE)
POSE = "sawyer/pinch/pose"


@pytest.fixture
def server(tmp_path):
    """A controller of its own for each test: some kill it."""
    with controller(tmp_path / "controller.log") as process:
        yield process


@pytest.fixture
def arm(server):
    """(the arm behind the safety filter, its driver)"""
    driver = FrankaDriver(HOST)
    robot = RobotEnvironment(driver, {"wrist": FakeCamera(time, (16, 16))}, SAFETY, "task", RobotConfig(60))
    with SafeEnvironment(robot, SAFETY) as env:
        yield env, driver


def _act(**axes):
    action = np.zeros(7, np.float32)
    for name, value in axes.items():
        action["xyz".index(name)] = value
    return action


def _still(driver) -> np.ndarray:
    """The pinch point, once the arm stands still, which it must within a second or so."""
    end = time.monotonic() + 15
    while True:
        before = driver.state().pinch_pose[:3]
        time.sleep(0.5)
        after = driver.state().pinch_pose[:3]
        if np.abs(after - before).max() < 2e-4:
            return after
        assert time.monotonic() < end, "the arm moves on"


def test_it_goes_home_follows_and_stops(arm):
    env, driver = arm
    start = env.reset().observation
    assert set(start) == set(env.observation_spec()) and start["gripper/opening"] == pytest.approx(0.08, abs=1e-3)
    np.testing.assert_allclose(start["sawyer/joints/angle"], FrankaConfig().home, atol=5e-3)
    for _ in range(20):
        observation = env.step(_act(x=0.5)).observation
    way = observation[POSE][:3] - start[POSE][:3]
    assert way[0] > 0.02 and np.abs(way[1:]).max() < 0.005
    env.halt()
    before = driver.state().pinch_pose[:3]
    assert np.abs(_still(driver) - before).max() < 0.005


def test_the_hand_closes_and_opens(arm):
    env, driver = arm
    env.reset()
    for _ in range(8):
        env.step(np.eye(7, dtype=np.float32)[6])
    deadline = time.monotonic() + 10
    while driver.state().opening > 0.02 and time.monotonic() < deadline:
        time.sleep(0.1)
    assert driver.state().opening < 0.02
    env.reset()  # opens it
    assert driver.state().opening > 0.075


def test_the_workspace_s_wall_is_held_to_a_millimetre(arm):
    env, _ = arm
    env.reset()
    places = [env.step(_act(z=1)).observation[POSE][2] for _ in range(59)]
    assert max(places) <= WORKSPACE.high[2] + 1e-3
    env.reset()
    for _ in range(59):
        observation = env.step(_act(x=1, y=-1)).observation
        assert observation[POSE][0] <= WORKSPACE.high[0] + 1e-3 and observation[POSE][1] >= WORKSPACE.low[1] - 1e-3


def test_without_set_points_the_arm_stops_by_itself(arm):
    env, driver = arm
    env.reset()
    for _ in range(10):
        observation = env.step(_act(x=0.5)).observation
    assert np.abs(_still(driver) - observation[POSE][:3]).max() < 0.5 * schema.MAX_LINEAR * 0.3 + 0.02


def test_nan_stops_the_arm_until_a_person_clears_it(arm):
    env, driver = arm
    env.reset()
    env.step(_act(x=0.5))
    assert env.step(np.full(7, np.nan)).last() and "malformed" in env.latched
    _still(driver)
    with pytest.raises(EmergencyStopError, match="look after it"):
        env.reset()
    env.clear("ada")
    assert env.reset().first()
    assert not env.step(_act(x=0.5)).last()


def test_the_controller_s_reflex_is_told_and_never_taken_back_by_itself(arm):
    env, driver = arm
    env.reset()
    with pytest.raises(franky.ControlException):  # joint 4 cannot bend that way
        driver._robot.move(franky.JointMotion(franky.JointState([0, 0, 0, 3, 0, 0, 0])))
    with pytest.raises(DriverError):
        env.step(_act(x=0.1))
    assert env.latched
    with pytest.raises(EmergencyStopError):
        env.reset()
    assert driver._robot.state.robot_mode == franky.RobotMode.Reflex
    env.clear("ada")
    assert env.reset().first()
    assert not env.step(_act(x=0.1)).last()


def _step_for_ever(env):
    while True:
        env.step(_act(z=0.1))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_controller_that_falls_silent_ends_the_episode_which_stays_readable(server, arm, tmp_path, how):
    env, _ = arm
    with record(env, tmp_path / "log", "franka") as recorder:
        recorder.reset()
        for _ in range(10):
            recorder.step(_act(z=0.1))
        server.send_signal(how)
        start = time.monotonic()
        with pytest.raises(ArmchairError):
            _step_for_ever(recorder)
        assert env.latched and time.monotonic() - start < 10
    (episode,) = recorded(tmp_path / "log", "franka")
    assert not validate(episode).errors
    assert "stopped" in episode.metadata.tags and episode.num_steps > 10


_CLIENT = """
import sys, time
import numpy as np
from robot.drivers.franka import FrankaDriver
driver = FrankaDriver(sys.argv[1])
driver.home()
while True:
    driver.move(np.array([0.05, 0, 0, 0, 0, 0]), 0.08, 0.3)
    print("moving", flush=True)
    time.sleep(0.1)
"""


def test_a_killed_client_leaves_the_arm_still(server):
    root = str(Path(__file__).parents[3])
    client = subprocess.Popen(
        [sys.executable, "-c", _CLIENT, HOST], stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": root}
    )
    with client:
        for _ in range(10):
            assert client.stdout.readline() == "moving\n"
        client.kill()
    time.sleep(2)
    driver = FrankaDriver(HOST)
    _still(driver)
    driver.close()


def test_an_arm_by_its_address_and_its_file_follows(server, tmp_path):
    file = tmp_path / "arm.yaml"
    file.write_text(f"""
        task_id: stack_cups
        safety:
          workspace: {{low: {list(WORKSPACE.low)}, high: {list(WORKSPACE.high)}}}
        robot: {{time_limit: 10}}
        franka: {{dynamics: 0.1}}
    """)
    with make_env(f"franka:{HOST}", 0, arm=file) as env:
        start = env.reset().observation[POSE]
        timesteps = [env.step(_act(x=0.5)) for _ in range(10)]
    assert timesteps[-1].last() and timesteps[-1].observation[POSE][0] > start[0] + 0.01
    assert env.task_id == "stack_cups" and env.tags.startswith("overruns:")


def test_nobody_at_the_address_is_told():
    with pytest.raises(DriverError, match=rf"no Franka arm answers at {HOST} .*: is FCI on"):
        FrankaDriver(HOST)
