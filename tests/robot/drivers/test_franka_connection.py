"""The maker's client and a simulated controller understand each other: what can be seen without any motion."""

import numpy as np
import pytest

from robot.env import make_env
from robot.safety import EmergencyStopError, SafeEnvironment
from tests.robot.drivers.franka_server import HOST, controller

pytest.importorskip("franky", reason="NOT TESTED: the Franka driver wants `pip install 'armchair[franka]'`")

pytestmark = [pytest.mark.slow, pytest.mark.controller]

FILE = """
task_id: stack_cups
safety:
  workspace: {low: [0.25, -0.15, 0.45], high: [0.45, 0.15, 0.85]}
"""


def test_it_connects_measures_stops_and_lets_go(tmp_path):
    (tmp_path / "arm.yaml").write_text(FILE)
    with controller(tmp_path / "controller.log"):
        for _ in range(2):  # the second one finds the controller free
            with make_env(f"franka:{HOST}", 0, arm=tmp_path / "arm.yaml") as env:
                assert isinstance(env, SafeEnvironment) and env.robot == "franka"
                pose = env._driver.state().observation()["sawyer/pinch/pose"]
                assert np.linalg.norm(pose[3:]) == pytest.approx(1, abs=1e-3) and 0 < pose[2] < 1.2
                env.emergency_stop("a test")
                with pytest.raises(EmergencyStopError, match="a test"):
                    env.reset()
                env.clear("ada")
                assert not env.latched
