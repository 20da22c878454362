"""The victim of `test_exits.py`: `python driven_process.py WAY` drives a fake arm in real time, and ends in some way.

It prints `moving` once the arm moves, and what the arm is told at the end.
"""

import os
import signal
import sys
import threading
import time

import numpy as np

from robot.drivers.environment import RobotEnvironment
from robot.drivers.fake import SAFETY, FakeDriver
from robot.safety import SafeEnvironment


def say(line: str) -> None:
    """At once and whole, whichever thread says it."""
    os.write(1, f"{line}\n".encode())


class ToldArm(FakeDriver):
    def stop(self) -> None:
        super().stop()
        say(f"stopped with {self.stops}")

    def close(self) -> None:
        say("closed")


def drive(way: str) -> None:
    env = SafeEnvironment(RobotEnvironment(ToldArm(time), {}, SAFETY, "task"), SAFETY)
    env.reset()
    for t in range(1000):
        env.step(np.array([0, 0, 0.1 * (-1) ** t, 0, 0, 0.1, 0], np.float32))
        if t == 2:
            say("moving")
            if way == "exception":
                raise RuntimeError("a bug in the actor")
            if way == "end":
                return
            if way == "thread":
                threading.Thread(target=env.emergency_stop, args=("button",)).start()
        if way == "thread" and env.latched:
            say("latched")
            return


if __name__ == "__main__":
    signal.signal(signal.SIGHUP, signal.SIG_DFL)  # `nohup` lets it be ignored, and what is ignored stays so
    drive(sys.argv[1])
