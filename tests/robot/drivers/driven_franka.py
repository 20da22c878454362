"""The victim of `test_franka.py`: `python driven_franka.py HOST FOLDER` drives and records an arm until it is ended.

It prints `homing` before each episode but the first, and `moving` after each step.
"""

import itertools
import sys

import numpy as np

from robot.record import record
from robot.safety import SafeEnvironment
from tests.robot.drivers.franka_server import SAFETY, robot_at

STEPS = 15  # of an episode
SPEED = 0.045  # m/s
FORWARD = np.array([SPEED / 0.15, 0, 0, 0, 0, 0, 0], np.float32)


def main(host: str, folder: str) -> None:
    with record(SafeEnvironment(robot_at(host, STEPS), SAFETY), folder, "franka") as env:
        for episode in itertools.count():
            if episode:
                print("homing", flush=True)
            timestep = env.reset()
            while not timestep.last():
                timestep = env.step(FORWARD)
                print("moving", flush=True)


if __name__ == "__main__":
    main(*sys.argv[1:])
