"""Fake arms of metal in real time, for the tests of the page."""

import threading
import time

from robot.drivers.environment import RobotConfig, RobotEnvironment
from robot.drivers.fake import SAFETY, FakeCamera, FakeDriver

NAME, SLOW = (f"tests.pipeline.annotate.robots:{factory}" for factory in ("make_robot", "make_slow_robot"))


def make_robot():
    """Five times as fast as the cell."""
    cameras = {name: FakeCamera(time, (16, 16)) for name in ("wrist", "side")}
    return RobotEnvironment(FakeDriver(time), cameras, SAFETY, "stack_cups", RobotConfig(10_000, 50.0), time)


class SlowHome(FakeDriver):
    """Is on its way home until it is stopped."""

    is_under_way = threading.Event()

    def __init__(self):
        super().__init__(time)
        self._was_stopped = threading.Event()

    def home(self):
        self.is_under_way.set()
        assert self._was_stopped.wait(20)
        raise ConnectionError("the motion was stopped")

    def stop(self):
        super().stop()
        self._was_stopped.set()


def make_slow_robot():
    """Never at home."""
    return RobotEnvironment(SlowHome(), {}, SAFETY, "stack_cups")
