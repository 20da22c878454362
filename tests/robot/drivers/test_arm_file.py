"""A file that describes an arm, and the environment that is made from it. The arm is a fake one behind its name."""

import re
import sys
import time
import types
from pathlib import Path

import pytest

from datasets.errors import ArmchairError
from robot.drivers import arm_file
from robot.drivers.arm_file import load_arm
from robot.drivers.cameras import CameraConfig
from robot.drivers.environment import RobotConfig
from robot.drivers.fake import FakeCamera, FakeDriver
from robot.drivers.franka_config import FrankaConfig
from robot.env import Safety, make_env
from robot.limits import Box, SafetyConfig
from robot.safety import SafeEnvironment

GUIDE = Path(__file__).parents[3] / "docs" / "your_own_arm.md"
READY = (0.307, 0.0, 0.487)  # m, the pinch point in the maker's ready pose, from its documentation
SHORT = """
task_id: stack
safety:
  workspace: {low: [0.3, -0.2, 0.1], high: [0.6, 0.2, 0.6]}
"""


@pytest.fixture
def guide(tmp_path):
    """The guide's own file."""
    (text,) = re.findall(r"```yaml\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    return write(tmp_path, text)


def write(folder, text):
    path = folder / "arm.yaml"
    path.write_text(text)
    return path


@pytest.fixture
def made(monkeypatch):
    """What was made of a fake arm and fake cameras in the place of real ones."""
    made = []

    def camera(config):
        made.append(FakeCamera(time, config.size))
        return made[-1]

    def driver(host, config):
        made.append((host, config, FakeDriver(time)))
        return made[-1][-1]

    monkeypatch.setattr(arm_file, "VideoCamera", camera)
    monkeypatch.setitem(sys.modules, "robot.drivers.franka", types.SimpleNamespace(FrankaDriver=driver))
    return made


def test_the_guide_s_file_says_what_it_seems_to_say(guide):
    config = load_arm(guide)
    assert config.task_id == "stack_cups"
    assert config.safety == SafetyConfig(
        Box((0.28, -0.2, 0.03), (0.65, 0.2, 0.6)), (Box((0.28, -0.2, 0.0), (0.36, -0.12, 0.25)),), max_linear=0.1
    )
    assert config.cameras == {
        "wrist": CameraConfig("/dev/v4l/by-id/usb-Example_Camera_A1-video-index0"),
        "basket_front_left": CameraConfig("/dev/video2", (64, 64), rate=15),
    }
    assert config.robot == RobotConfig(time_limit=200) and config.franka == FrankaConfig(dynamics=0.1)
    low, high = config.safety.workspace.low, config.safety.workspace.high
    assert all(a < b < c for a, b, c in zip(low, READY, high, strict=True))


def test_what_is_left_out_has_its_default(tmp_path):
    config = load_arm(write(tmp_path, SHORT))
    assert not config.cameras and config.robot == RobotConfig() and config.franka == FrankaConfig()


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("", r"task_id: Field required; safety: Field required"),
        ("task_id: stack", r"safety: Field required"),
        ("task_id: stack\nsafety: {}", r"safety.workspace: Field required"),
        (SHORT + "camera: {}", r"camera: Unexpected keyword"),
        (SHORT + "  speed: 1", r"safety.speed: Unexpected keyword"),
        (SHORT.replace("high:", "top:"), r"(?=.*workspace.high: Field required).*workspace.top: Unexpected keyword"),
        (SHORT.replace("0.1]", "oops]"), r"safety.workspace.low.2: Input should be a valid number"),
        (SHORT.replace("0.1]", "0.9]"), r"is no box"),
        (SHORT + "  max_linear: 3", r"could not brake"),
        (SHORT + "cameras: {wrist: {size: [64, 64]}}", r"cameras.wrist.device: Field required"),
        (SHORT + "cameras: {wrist: {device: /dev/video0, size: [64]}}", r"cameras.wrist.size.1: Field required"),
        (SHORT + "cameras: {wrist: {device: /dev/video0, rate: 0}}", r"camera /dev/video0 must be greater than 0"),
        (SHORT + "robot: {control_rate_hz: .nan}", r"control_rate_hz.* must be greater than 0"),
        (SHORT + "franka: {host: 172.16.0.2}", r"franka.host: Unexpected keyword"),
        (SHORT + "franka: {home: [0, 0]}", r"angles of 7 joints"),
        (SHORT + "franka: {dynamics: 15}", r"at most 1"),
        (SHORT + "franka: {max_force: -1}", r"max_force.* greater than 0"),
    ],
)
def test_what_is_wrong_is_told_in_one_sentence(tmp_path, text, told):
    with pytest.raises(ArmchairError, match=rf"^the arm's file .*arm.yaml cannot be used: .*?{told}") as raised:
        load_arm(write(tmp_path, text))
    assert "\n" not in str(raised.value)


def test_a_file_that_is_not_there_or_no_yaml_is_told(tmp_path):
    with pytest.raises(ArmchairError, match=r"arm.yaml cannot be read: No such file"):
        load_arm(tmp_path / "arm.yaml")
    with pytest.raises(ArmchairError, match=r"arm.yaml is not YAML"):
        load_arm(write(tmp_path, "a: ["))


def test_an_arm_by_its_address_is_what_its_file_says_behind_the_filter(guide, made):
    with make_env("franka:172.16.0.2", 0, arm=guide) as env:
        assert isinstance(env, SafeEnvironment) and env.is_hardware and env.task_id == "stack_cups"
        assert env.safety == load_arm(guide).safety
        assert env.observation_spec()["pixels/basket_front_left"].shape == (64, 64, 3)
        assert "pixels/wrist" in env.reset().observation
        host, config, driver = made[-1]
        assert host == "172.16.0.2" and config == FrankaConfig(dynamics=0.1)
    assert driver.is_closed and all(camera.is_closed for camera in made[:2])
    with make_env("franka:172.16.0.2", 0, safety=Safety.OFF, arm=guide) as env:
        assert not isinstance(env, SafeEnvironment)


def test_an_arm_that_does_not_answer_leaves_no_camera_open(guide, made, monkeypatch):
    def nobody(host, config):
        raise ArmchairError("nobody answers")

    monkeypatch.setitem(sys.modules, "robot.drivers.franka", types.SimpleNamespace(FrankaDriver=nobody))
    with pytest.raises(ArmchairError, match="nobody answers"):
        make_env("franka:172.16.0.2", 0, arm=guide)
    assert len(made) == 2 and all(camera.is_closed for camera in made)


def test_without_the_maker_s_library_it_is_told_what_to_install(tmp_path, monkeypatch):
    monkeypatch.delitem(sys.modules, "robot.drivers.franka", raising=False)
    monkeypatch.setitem(sys.modules, "franky", None)
    with pytest.raises(ArmchairError, match=r"pip install 'armchair\[franka\]'"):
        make_env("franka:172.16.0.2", 0, arm=write(tmp_path, SHORT))
