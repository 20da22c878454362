"""A teleoperation of quick fake arms, for the tests of what drives."""

import threading
import time
from pathlib import Path

import numpy as np

from datasets.query import Query
from datasets.store import Store
from robot.teleoperation.teleoperation import Teleoperation, TeleoperationConfig
from robot.testing import FakeArm

RATE = 50.0  # Hz: five times the cell's, for fast tests
STILL, RIGHT = np.zeros(2, np.float32), np.array([0.1, 0], np.float32)


class Counter:
    """A policy with a memory: its action tells how many observations it has seen in this episode."""

    policy_id = "counter"

    def __init__(self, seed):
        self.reset()

    def reset(self, seed=None):
        self.seen = 0

    def act(self, observation):
        self.seen += 1
        return np.array([-0.001 * self.seen, 0], np.float32)


class QuickArm(FakeArm):
    control_rate_hz = RATE
    work = 0.0  # seconds of a step

    def __init__(self, seed=0, **options):
        super().__init__(seed, **({"image_size": (16, 16), "time_limit": 10_000} | options))
        self.closed = 0

    def step(self, action):
        time.sleep(self.work)
        return super().step(action)

    def close(self):
        self.closed += 1


class Bench:
    """A teleoperation of quick arms on a store of its own, with all that it showed."""

    def __init__(self, root: Path, make_env=lambda task, seed: QuickArm(seed), watch=None, clock=time, **config):
        self.store = Store.create(root)
        self.moments, self.arms = [], []
        self._came = threading.Condition()
        self.teleoperation = Teleoperation(
            self.store, lambda *order: self._note(make_env(*order)), TeleoperationConfig(**config),
            [self._watch, *([watch] if watch else [])], clock,
        )  # fmt: skip

    def _note(self, arm):
        self.arms.append(arm)
        return arm

    def _watch(self, moment):
        with self._came:
            self.moments.append(moment)
            self._came.notify_all()

    def wait(self, condition, seconds=10):
        """Until some moment fulfils the condition; returns it."""
        with self._came:
            assert self._came.wait_for(lambda: any(map(condition, self.moments)), seconds), self.moments[-1].status
            return next(filter(condition, self.moments))

    def drive(self, steps, action=RIGHT, policy=""):
        """Starts an episode and commands until it has some steps."""
        self.teleoperation.start("fake_reach", "ada", 3, policy)
        while self.teleoperation.status.t < steps:
            self.teleoperation.command(action)
            time.sleep(0.2 / RATE)

    def episodes(self):
        return [self.store.read(row) for row in self.store.query(Query())]
