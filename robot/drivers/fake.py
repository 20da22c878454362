"""A fake arm behind the driver's protocol: CI's robot, with the troubles of real ones. No simulator, no files.

    armchair collect --out runs/fake --robot robot.drivers.fake:make_robot --policies random_watcher --episodes 5

Its pinch point goes exactly where it is told, over a floor that pushes back; its joints are invented. Time is simulated
unless it is given the module `time` as its clock.
"""

import dataclasses
import math

import numpy as np

from robot.drivers.base import Frame, State
from robot.drivers.environment import RobotConfig, RobotEnvironment
from robot.limits import Box, SafetyConfig
from robot.pacing import Clock
from robot.rotations import rotate

CAMERAS = ("basket_front_left", "basket_front_right", "wrist")  # the simulated cell's
SAFETY = SafetyConfig(workspace=Box((0.43, -0.17, 0.02), (0.77, 0.17, 0.30)))  # about the simulated cell's
HOME = np.array([0.6, 0.0, 0.2, 0.0, 1.0, 0.0, 0.0])  # pinch pose, m and quaternion wxyz: pointing down
STROKE = 0.085  # m
GRIPPER_SPEED = 0.12  # m/s of the opening
WEIGHT = 12.0  # N, of the gripper, which the wrist feels
STIFFNESS = 5000.0  # N/m, of the floor at height 0
NOISE = 1e-5  # m, rad, ...: of every sensor, so that two measurements are never equal

_JOINTS = np.random.default_rng(0).uniform(-2, 2, (7, 6))  # joint velocities of a twist: invented


class FakeClock:
    """Time that passes only while somebody sleeps."""

    def __init__(self) -> None:
        self._now = 0.0

    def monotonic(self) -> float:
        """Seconds since it was made."""
        return self._now

    def sleep(self, seconds: float, /) -> None:
        """Lets time pass."""
        self._now += max(seconds, 0.0)


@dataclasses.dataclass(frozen=True)
class Faults:
    """What is wrong with a fake arm or camera; nothing by default."""

    latency: float = 0.0  # s that every call takes
    dropouts: float = 0.0  # probability that a call is lost: the arm goes on as before, the newest answer is the last
    stuck_after: float = math.inf  # s after `home` from which on the sensors tell the same, as if it were new
    lost_after: float = math.inf  # s after `home` from which on every call but `stop` raises ConnectionError


class FakeDriver:
    """A `robot.drivers.base.Driver`. `stops` counts the calls of `stop`, `is_closed` tells of `close`."""

    name = "fake_robot"
    stroke = STROKE

    def __init__(self, clock: Clock, seed: int = 0, faults: Faults | None = None):
        """Connects: the arm is at home. The seed is of its noise and its dropouts."""
        self._clock, self._faults = clock, faults or Faults()
        self._rng = np.random.default_rng(seed)
        self.stops, self.is_closed = 0, False
        self._told: State
        self._place()

    def home(self) -> None:
        """At once."""
        self._call()
        self._place()

    def state(self) -> State:
        """The present one, or the last if this call was lost."""
        if not self._call():
            return self._told
        now = self._clock.monotonic()
        if now - self._started > self._faults.stuck_after:
            return dataclasses.replace(self._told, time=now)
        self._told = self._measure()
        return self._told

    def move(self, twist: np.ndarray, opening: float, seconds: float) -> None:
        """Obeyed from now on, unless it is lost."""
        if self._call():
            self._advance()
            self._twist, self._wanted, self._expires = np.array(twist), opening, self._clock.monotonic() + seconds

    def stop(self) -> None:
        """At once, and never lost."""
        self.stops += 1
        self._advance()
        self._twist = np.zeros(6)

    def recover(self) -> None:
        """Nothing to be done."""
        self._call()

    def close(self) -> None:
        """Nothing to be done."""
        self.is_closed = True

    def _place(self) -> None:
        self._started = self._now = self._expires = self._clock.monotonic()
        self._pose, self._joints, self._twist = HOME.copy(), np.zeros(7), np.zeros(6)
        self._opening = self._wanted = STROKE
        self._told = self._measure()

    def _call(self) -> bool:
        """Whether a call gets through."""
        self._clock.sleep(self._faults.latency)
        if self._clock.monotonic() - self._started > self._faults.lost_after:
            raise ConnectionError("the fake arm is gone")
        return bool(self._rng.random() >= self._faults.dropouts)

    def _advance(self) -> None:
        """Moves the arm to the present moment; a set-point that has expired moves it no further."""
        now = self._clock.monotonic()
        moving, reach = max(min(now, self._expires) - self._now, 0.0), GRIPPER_SPEED * (now - self._now)  # s, m
        self._pose[:3] += self._twist[:3] * moving
        self._pose[3:] = rotate(self._pose[3:].tolist(), (self._twist[3:] * moving).tolist())
        self._joints += _JOINTS @ self._twist * moving
        self._opening += min(max(self._wanted - self._opening, -reach), reach)
        self._now = now
        if now >= self._expires:
            self._twist = np.zeros(6)

    def _measure(self) -> State:
        self._advance()
        tool = _matrix(self._pose[3:])  # its axes in the base frame, in columns
        force = STIFFNESS * max(-float(self._pose[2]), 0.0) - WEIGHT  # N, upwards
        return State(
            time=self._now,
            joint_angle=self._noisy(self._joints),
            joint_velocity=self._noisy(_JOINTS @ self._twist),
            joint_torque=self._noisy(np.zeros(7)),
            pinch_pose=self._noisy(self._pose),
            tool_velocity=self._noisy((self._twist.reshape(2, 3) @ tool).reshape(6)),
            wrist_force=self._noisy(force * tool[2]),
            wrist_torque=self._noisy(np.zeros(3)),
            opening=self._opening,
            grasp=False,
        )

    def _noisy(self, values: np.ndarray) -> np.ndarray:
        return values + self._rng.normal(0, NOISE, values.shape)


class FakeCamera:
    """A `robot.drivers.base.Camera` of a bar that walks across the picture once a second."""

    def __init__(self, clock: Clock, size: tuple[int, int] = (64, 64), seed: int = 0, faults: Faults | None = None):
        """`size`: height and width in pixels. Only latency and dropouts of the faults count."""
        self._clock, self._faults = clock, faults or Faults()
        self._rng = np.random.default_rng(seed)
        self.shape = (*size, 3)
        self.is_closed = False
        self._frame = self._take()

    def read(self) -> Frame:
        """The present picture, or the last if this call was lost."""
        self._clock.sleep(self._faults.latency)
        if self._rng.random() >= self._faults.dropouts:
            self._frame = self._take()
        return self._frame

    def close(self) -> None:
        """Nothing to be done."""
        self.is_closed = True

    def _take(self) -> Frame:
        now = self._clock.monotonic()
        picture = np.zeros(self.shape, np.uint8)
        picture[:, int(now % 1 * self.shape[1])] = 255
        return Frame(now, picture)


def make_robot(seed: int = 0) -> RobotEnvironment:
    """A fake arm without faults, whose time is simulated: an episode takes milliseconds."""
    clock = FakeClock()
    cameras = {name: FakeCamera(clock) for name in CAMERAS}
    return RobotEnvironment(FakeDriver(clock, seed), cameras, SAFETY, "fake_task", RobotConfig(time_limit=50), clock)


def _matrix(quaternion: np.ndarray) -> np.ndarray:
    """The rotation matrix, [3, 3], of a unit quaternion (wxyz)."""
    w, x, y, z = quaternion.tolist()
    return np.array([
        [1 - 2 * (y * y + z * z), 2 * (x * y - w * z), 2 * (x * z + w * y)],
        [2 * (x * y + w * z), 1 - 2 * (x * x + z * z), 2 * (y * z - w * x)],
        [2 * (x * z - w * y), 2 * (y * z + w * x), 1 - 2 * (x * x + y * y)],
    ])  # fmt: skip
