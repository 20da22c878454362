"""The victim of `test_franka.py`: `python driven_franka.py HOST FOLDER` drives and records an arm until it is ended.

It prints `homing` before each episode but the first, and `moving` after each step.
"""

import itertools
import sys
import time

import numpy as np

from robot.drivers.environment import RobotConfig, RobotEnvironment
from robot.drivers.fake import FakeCamera
from robot.drivers.franka import FrankaDriver
from robot.limits import Box, SafetyConfig
from robot.record import record
from robot.safety import SafeEnvironment

SAFETY = SafetyConfig(Box((0.25, -0.15, 0.45), (0.45, 0.15, 0.85)))
STEPS = 15  # of an episode
SPEED = 0.045  # m/s
FORWARD = np.array([SPEED / 0.15, 0, 0, 0, 0, 0, 0], np.float32)


def main(host: str, folder: str) -> None:
    robot = RobotEnvironment(
        FrankaDriver(host), {"wrist": FakeCamera(time, (16, 16))}, SAFETY, "task", RobotConfig(STEPS)
    )
    with record(SafeEnvironment(robot, SAFETY), folder, "franka") as env:
        for episode in itertools.count():
            if episode:
                print("homing", flush=True)
            timestep = env.reset()
            while not timestep.last():
                timestep = env.step(FORWARD)
                print("moving", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
