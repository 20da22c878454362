"""The Franka driver against a controller that speaks the arm's own protocol, by the maker's own client library.

The controller is a simulation (`franka_server`), and as slow as the machine: times are its own, so tests measure ways,
by a trace of the simulation itself. Whatever happens, what was recorded of it is looked at in the end.
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
import tensorflow as tf

from armchair.cli import main
from armchair.commands import evaluate as evaluate_command
from datasets import schema
from datasets.errors import ArmchairError
from datasets.features import ArraySpec
from datasets.validate import validate
from pipeline import export
from robot.env import make_env
from robot.record import EpisodeBackend, record, recorded
from robot.testing import FakeOperator
from tests.robot.drivers.franka_server import HOST, SAFETY, controller, places, robot_at

franky = pytest.importorskip("franky", reason="NOT TESTED: the Franka driver wants `pip install 'armchair[franka]'`")

from robot.drivers.base import DriverError  # noqa: E402
from robot.drivers.environment import RobotConfig  # noqa: E402
from robot.drivers.franka import FrankaConfig, FrankaDriver  # noqa: E402
from robot.safety import EmergencyStopError, SafeEnvironment  # noqa: E402
from tests.robot.drivers import driven_franka  # noqa: E402

pytestmark = [pytest.mark.slow, pytest.mark.controller, pytest.mark.timeout(900)]  # the first one installs it

WORKSPACE = SAFETY.workspace
DEAD_MAN = RobotConfig.dead_man
POSE = "sawyer/pinch/pose"
ARM_FILE = f"""
task_id: stack_cups
safety:
  workspace: {{low: {list(WORKSPACE.low)}, high: {list(WORKSPACE.high)}}}
robot: {{time_limit: 10}}
franka: {{dynamics: 0.1}}
"""


@pytest.fixture
def log(tmp_path):
    """Where a controller of the test's own writes: some tests kill it."""
    return tmp_path / "controller.log"


@pytest.fixture
def server(log):
    with controller(log) as process:
        yield process


@pytest.fixture
def arm(server, tmp_path):
    """(the arm behind the safety filter, recorded; its driver)"""
    robot = robot_at(HOST, time_limit=400)
    with record(SafeEnvironment(robot, SAFETY), tmp_path / "log", "franka") as env:
        yield env, robot._driver


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


def _assert_rests(log, since: float, speed: float):
    """From a moment by `time.monotonic` on, the arm moves for the dead man's time at most, and then never again."""
    trace = places(log)
    before, after = trace[trace[:, 0] <= since], trace[trace[:, 0] > since]
    rest = after[after[:, 1] > before[-1, 1] + DEAD_MAN + 0.1][:, 2:]  # 0.1 s: to brake
    assert len(rest) > 20, "too short a trace to tell"
    assert np.ptp(rest, axis=0).max() < 1e-3
    assert np.linalg.norm(rest[0] - before[-1, 2:]) < speed * (DEAD_MAN + 0.1)


def _only_episode(tmp_path):
    (episode,) = recorded(tmp_path / "log", "franka")
    assert not validate(episode).errors
    return episode


def _push(env, action, reached):
    """Acts until the pinch point has reached something, and some steps more."""
    for _ in range(300):
        if reached(env.step(action).observation[POSE]):
            break
    else:
        pytest.fail("it never got there")
    for _ in range(10):
        env.step(action)


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


def _threads():
    return {int(task.name): os.sched_getscheduler(int(task.name)) for task in Path("/proc/self/task").iterdir()}


def _real_time():
    """What the machine lets a thread become."""
    try:
        os.sched_setscheduler(0, os.SCHED_FIFO, os.sched_param(99))
    except PermissionError:
        return os.SCHED_OTHER
    os.sched_setscheduler(0, os.SCHED_OTHER, os.sched_param(0))
    return os.SCHED_FIFO


def test_motions_alone_run_in_real_time(arm):
    env, driver = arm
    env.reset()
    before = _threads()
    assert set(before.values()) == {os.SCHED_OTHER}
    driver.move(np.array([0, 0, 0.01, 0, 0, 0]), driver.stroke, 2)
    time.sleep(0.5)
    during = _threads()
    assert {during[thread] for thread in during.keys() - before.keys()} == {_real_time()}
    assert {during[thread] for thread in before} == {os.SCHED_OTHER}
    driver.stop()


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


def test_the_controller_s_own_limits_are_set_with_each_connection_and_recovery(arm, monkeypatch):
    _, driver = arm
    assert driver._robot.relative_dynamics_factor.velocity == pytest.approx(FrankaConfig().dynamics)
    told = []
    original = franky.Robot.set_collision_behavior

    def noted(robot, torques, forces):
        told.append((torques, forces))
        original(robot, torques, forces)

    monkeypatch.setattr(franky.Robot, "set_collision_behavior", noted)
    limits = [FrankaConfig().max_torque] * 7, [FrankaConfig().max_force] * 6
    driver.recover()
    assert told == [limits]
    driver.close()
    driver._connected()
    assert told == [limits] * 2
    assert driver._robot.relative_dynamics_factor.velocity == pytest.approx(FrankaConfig().dynamics)


@pytest.mark.parametrize(
    ("action", "reached"),
    [
        (_act(z=1), lambda pose: pose[2] > WORKSPACE.high[2] - 0.01),
        (_act(x=1, y=-1), lambda pose: pose[0] > WORKSPACE.high[0] - 0.01 and pose[1] < WORKSPACE.low[1] + 0.01),
        (_act(y=1, z=-1), lambda pose: pose[1] > WORKSPACE.high[1] - 0.01 and pose[2] < WORKSPACE.low[2] + 0.01),
    ],
    ids=["up", "away and right", "left and down"],
)
def test_the_workspace_s_walls_are_held_to_a_millimetre(arm, log, action, reached):
    env, _ = arm
    env.reset()
    began = time.monotonic()
    _push(env, action, reached)
    trace = places(log)
    way = trace[trace[:, 0] > began][:, 2:]
    assert (way <= np.array(WORKSPACE.high) + 1e-3).all() and (way >= np.array(WORKSPACE.low) - 1e-3).all()


def test_without_set_points_the_arm_stops_by_itself_and_the_episode_says_so(arm, log, tmp_path):
    env, driver = arm
    env.reset()
    for _ in range(10):
        env.step(_act(x=0.5))
    silent = time.monotonic()
    _still(driver)
    _assert_rests(log, silent, 0.5 * 0.15)
    env.step(_act(x=0.5))
    env.close()
    assert "expired" in ",".join(_only_episode(tmp_path).extras["intervention"])


def test_nan_stops_the_arm_until_a_person_clears_it(arm, log, tmp_path):
    env, driver = arm
    env.reset()
    env.step(_act(x=0.5))
    stopped = time.monotonic()
    assert env.step(np.full(7, np.nan)).last() and "malformed" in env.latched
    _still(driver)
    _assert_rests(log, stopped, 0.5 * 0.15)
    episode = _only_episode(tmp_path)
    assert "stopped" in episode.metadata.tags and episode.extras["intervention"][-2] == "malformed"
    with pytest.raises(EmergencyStopError, match="look after it"):
        env.reset()
    env.clear("ada")
    assert env.reset().first()
    assert not env.step(_act(x=0.5)).last()


def _reflex(driver):
    """What no limit of ours lets through: joint 4 cannot bend that way."""
    driver._settle()
    with pytest.raises(franky.ControlException):
        driver._robot.move(franky.JointMotion(franky.JointState([0, 0, 0, 3, 0, 0, 0])))
    assert driver._robot.state.robot_mode == franky.RobotMode.Reflex


def test_the_controller_s_reflex_is_told_and_never_taken_back_by_itself(arm, log, tmp_path):
    env, driver = arm
    env.reset()
    env.step(_act(x=0.1))
    _reflex(driver)
    stopped = time.monotonic()
    with pytest.raises(ArmchairError, match="Reflex|reflex"):
        env.step(_act(x=0.1))
    assert env.latched
    with pytest.raises(EmergencyStopError):
        env.reset()
    assert driver._robot.state.robot_mode == franky.RobotMode.Reflex
    time.sleep(2)
    _assert_rests(log, stopped, 0.15)
    assert "stopped" in _only_episode(tmp_path).metadata.tags
    env.clear("ada")
    assert env.reset().first()
    assert not env.step(_act(x=0.1)).last()


def test_another_connection_lets_it_recover_by_command(arm, tmp_path):
    """The simulated controller forgets its reflex with the connection; a real one is said not to."""
    env, driver = arm
    env.reset()
    _reflex(driver)
    env.close()
    file = tmp_path / "arm.yaml"
    file.write_text(ARM_FILE)
    name = ["--robot", f"franka:{HOST}", "--arm", str(file)]
    assert main(["robot", "clear", *name, "--operator", "ada"]) == 0
    with make_env(f"franka:{HOST}", 0, arm=file) as env:
        assert env.reset().first()


def _step_for_ever(env):
    while True:
        env.step(_act(z=0.1))


@pytest.mark.parametrize("how", [signal.SIGKILL, signal.SIGSTOP])
def test_a_controller_that_falls_silent_ends_the_episode_which_stays_readable(server, arm, log, tmp_path, how):
    """One that was killed takes its simulated arm with it; one that comes to again must leave it still."""
    env, _ = arm
    env.reset()
    for _ in range(10):
        env.step(_act(z=0.1))
    server.send_signal(how)
    silent = time.monotonic()
    with pytest.raises(ArmchairError):
        _step_for_ever(env)
    assert env.latched and time.monotonic() - silent < 10
    episode = _only_episode(tmp_path)
    assert "stopped" in episode.metadata.tags and episode.num_steps > 10
    if how == signal.SIGSTOP:
        server.send_signal(signal.SIGCONT)
        time.sleep(2)
        _assert_rests(log, silent, 0.1 * 0.15)
        with pytest.raises(EmergencyStopError):
            env.reset()


@pytest.fixture
def client(server, tmp_path):
    """`client(way)` starts a program that drives the arm; see `driven_franka`."""
    root = str(Path(__file__).parents[3])
    with subprocess.Popen(
        [sys.executable, driven_franka.__file__, HOST, tmp_path / "log"],
        stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONPATH": root},
    ) as process:  # fmt: skip
        yield process
        process.kill()


def _wait_for(client, line):
    while (told := client.stdout.readline().strip()) != line:
        assert told, "the client has died"


def test_a_killed_client_leaves_the_arm_still_and_what_it_did_on_disk(client, log, tmp_path):
    _wait_for(client, "homing")  # between the first episode and the second
    for _ in range(5):
        _wait_for(client, "moving")
    client.kill()
    killed = time.monotonic()
    client.wait()
    time.sleep(2)
    _assert_rests(log, killed, driven_franka.SPEED)
    EpisodeBackend(tmp_path / "log", "franka")  # as whoever records the next one
    first, second = recorded(tmp_path / "log", "franka")
    assert not validate(first).errors and not validate(second).errors
    assert first.num_steps == driven_franka.STEPS + 1 and "interrupted" not in first.metadata.tags
    assert 5 <= second.num_steps <= 7 and second.metadata.tags == "interrupted"


@pytest.mark.parametrize("moment", ["moving", "homing"])
def test_a_client_that_is_told_to_end_stops_the_arm(client, log, tmp_path, moment):
    _wait_for(client, moment)
    time.sleep(0.3)  # to be in the middle of it
    client.terminate()
    told = time.monotonic()
    assert client.wait(timeout=20) == 128 + signal.SIGTERM
    time.sleep(2)
    _assert_rests(log, told, driven_franka.SPEED if moment == "moving" else 0.5)
    EpisodeBackend(tmp_path / "log", "franka")
    assert all(not validate(episode).errors for episode in recorded(tmp_path / "log", "franka"))


def test_an_arm_by_its_address_and_its_file_follows(server, tmp_path):
    file = tmp_path / "arm.yaml"
    file.write_text(ARM_FILE)
    with make_env(f"franka:{HOST}", 0, arm=file) as env:
        start = env.reset().observation[POSE]
        timesteps = [env.step(_act(x=0.5)) for _ in range(10)]
    assert timesteps[-1].last() and timesteps[-1].observation[POSE][0] > start[0] + 0.01
    assert env.task_id == "stack_cups" and env.tags.startswith("overruns:")


INPUTS = {"sawyer/pinch/pose": ArraySpec((7,), "float32"), "gripper/opening": ArraySpec((1,), "float32")}


class Outwards(tf.Module):
    """Goes away from the base."""

    @tf.function(input_signature=[*export.input_signature(INPUTS), tf.TensorSpec((None, 0), tf.float32, "state")])
    def act(self, observation, state):
        return tf.one_hot(tf.zeros_like(observation["gripper/opening"][:, 0], tf.int32), 7, 0.3), state

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.int64, "seeds")])
    def initial_state(self, seeds):
        return tf.zeros((tf.size(seeds), 0))


def test_a_saved_policy_is_evaluated_in_the_cell_and_by_another_word_on_the_arm(
    server, log, tmp_path, monkeypatch, capsys
):
    card = {"kind": "policy", "policy_id": "outwards", "inputs": export.inputs_card(INPUTS),
            "action": {"shape": [7], "minimum": -1, "maximum": 1}}  # fmt: skip
    policy = export.save_model(tmp_path / "policy", Outwards(), card)
    file = tmp_path / "arm.yaml"
    file.write_text(ARM_FILE)
    monkeypatch.setattr(evaluate_command, "Terminal", lambda name: FakeOperator("sf"))
    for robot in (["sim:reach_green"], [f"franka:{HOST}", "--arm", str(file)]):
        options = ["--policies", str(policy), "--episodes", "2", "--out", str(tmp_path / robot[0][:3])]
        assert main(["evaluate", *options, "--robot", *robot]) == 0
    in_the_cell, on_the_arm = capsys.readouterr().out.splitlines()
    assert "/2, 95 % Wilson" in in_the_cell and on_the_arm.startswith("50.0 % (1/2, 95 % Wilson")
    episodes = list(recorded(tmp_path / "fra", "evaluation"))
    assert [e.metadata.verdict for e in episodes] == [schema.Verdict.SUCCESS, schema.Verdict.FAILURE]
    for episode in episodes:
        assert not validate(episode).errors and episode.metadata.robot == "franka"
        way = episode.observation[POSE][-1, :3] - episode.observation[POSE][0, :3]
        assert way[0] > 0.01 and np.abs(way[1:]).max() < 0.005


def test_nobody_at_the_address_is_told():
    with pytest.raises(DriverError, match=rf"no Franka arm answers at {HOST} .*: is FCI on"):
        FrankaDriver(HOST)
