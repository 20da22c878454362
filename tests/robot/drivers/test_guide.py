"""The driver that `docs/your_own_arm.md` shows works as it stands, over a made-up maker's library."""

import re
import sys
import time
import types
from pathlib import Path

import numpy as np

from robot.drivers.fake import FakeDriver
from robot.env import make_env
from robot.safety import SafeEnvironment

GUIDE = Path(__file__).parents[3] / "docs" / "your_own_arm.md"


class VendorArm:
    def __init__(self):
        self._arm = FakeDriver(time)
        self.move_slowly_home, self.stop, self.disconnect = self._arm.home, self._arm.stop, self._arm.close

    def read(self):
        state = self._arm.state()
        return types.SimpleNamespace(
            time=state.time, q=state.joint_angle, dq=state.joint_velocity, tau=state.joint_torque, width=state.opening,
            pose=state.pinch_pose, velocity=state.tool_velocity, gripper_force=0.0,
            wrench=np.concatenate([state.wrist_force, state.wrist_torque]),
        )  # fmt: skip

    def move_velocity(self, twist, duration):
        self._arm.move(twist, 0.08, duration)

    def move_gripper(self, width):
        pass

    def clear_errors(self):
        pass


def test_the_guide_s_driver_drives(monkeypatch, tmp_path):
    camera = types.SimpleNamespace(
        newest=lambda: (time.monotonic(), np.zeros((64, 64, 3), np.uint8)), close=lambda: None
    )
    vendor = types.SimpleNamespace(connect=lambda host: VendorArm(), open_camera=lambda device: camera)
    monkeypatch.setitem(sys.modules, "vendor", vendor)
    code, *_ = re.findall(r"```python\n(.*?)```", GUIDE.read_text(), re.DOTALL)
    (tmp_path / "my_arm.py").write_text(code)
    monkeypatch.chdir(tmp_path)
    monkeypatch.syspath_prepend(str(tmp_path))
    with make_env("my_arm:make_robot", 0) as env:
        assert isinstance(env, SafeEnvironment) and env.robot == "my_arm" and env.task_id == "stack_cups"
        start = env.reset().observation
        for _ in range(3):
            timestep = env.step(np.array([0, 0.5, 0, 0, 0, 0, 0], np.float32))
        assert timestep.observation["sawyer/pinch/pose"][1] - start["sawyer/pinch/pose"][1] > 0.01
        env.clear("ada")
    assert len(code.splitlines()) < 150
