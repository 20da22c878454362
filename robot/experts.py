"""Scripted controllers that make data: an expert for each task, worse experts by noise, and the random watcher.

An expert is a function of the observation alone: it keeps no clock and no phase, so it recovers from whatever
happens, can be put into any task's environment, and a memoryless policy can imitate it. Each is a vector field that
funnels the gripper over its target and down on it. Noise is an Ornstein-Uhlenbeck process added to the action:
correlated over about half a second, it makes an expert miss, fumble and drop as an unskilled operator does.
"""

import math
from collections.abc import Callable, Mapping

import numpy as np

from datasets import schema
from datasets.errors import ArmchairError
from robot.cell import tasks
from robot.types import Actor

GAIN = 1 / (0.15 * 0.35)  # 1/m: distances shrink with a time constant of 0.35 s (action 1 is 0.15 m/s)
TURN_GAIN = 1 / (0.8 * 0.4)  # 1/rad: angles shrink with a time constant of 0.4 s (action 1 is 0.8 rad/s)
OU_DECAY = 0.85  # of the noise per control step: a correlation time of 0.6 s
# Where the random watcher goes, m: over and between the objects, down to where it can grasp and push them.
WATCH_LOW, WATCH_HIGH = (0.47, -0.13, 0.022), (0.73, 0.13, 0.25)
PEG_GRIP = 0.020  # m over the peg's centre: where the insert expert takes it, so that the fingers clear the socket

_UP = np.array([0.0, 0.0, 1.0])


class Seen:
    """What an expert makes of an observation: positions in m, angles in rad, base frame."""

    def __init__(self, observation: Mapping[str, np.ndarray]):
        pinch = observation["sawyer/pinch/pose"].astype(float)
        self.pinch = pinch[:3]
        self.x_axis, self.z_axis = _axes(*pinch[3:].tolist())
        self.opening = float(observation["gripper/opening"][0])
        self.grasp = bool(observation["gripper/grasp"][0])
        green, red = (observation[f"objects/{name}/pose"].astype(float) for name in ("green", "red"))
        self.green, self.red = green[:3], red[:3]
        self._yaw = math.atan2(self.x_axis[1], self.x_axis[0])
        self.green_turn, self.red_turn = self._turn_to(green), self._turn_to(red)

    def _turn_to(self, pose: np.ndarray) -> float:
        """Smallest turn (rad, about z) that aligns the fingers with two of a square object's sides."""
        w, x, y, z = pose[3:].tolist()
        yaw = math.atan2(2 * (w * z + x * y), 1 - 2 * (y * y + z * z))
        return (yaw - self._yaw + math.pi / 4) % (math.pi / 2) - math.pi / 4


def _axes(w: float, x: float, y: float, z: float) -> tuple[np.ndarray, np.ndarray]:
    """The x and the z axis of a frame, from its quaternion."""
    x_axis = np.array([1 - 2 * (y * y + z * z), 2 * (x * y + w * z), 2 * (x * z - w * y)])
    z_axis = np.array([2 * (x * z + w * y), 2 * (y * z - w * x), 1 - 2 * (x * x + y * y)])
    return x_axis, z_axis


def _action(z_axis: np.ndarray, linear: np.ndarray, turn: float, gripper: float) -> np.ndarray:
    """Moves at `linear` (fractions of the limit), turns by `turn` (rad), and keeps the gripper pointing down."""
    zx, zy, _ = z_axis
    tilt = (-zy, zx, turn)  # z_axis x (0, 0, -1) in the first two
    return np.array([*linear, *(min(max(TURN_GAIN * angle, -1.0), 1.0) for angle in tilt), gripper])


def _straight(linear: np.ndarray) -> np.ndarray:
    """Scales a velocity into the limits, keeping its direction."""
    return linear / max(1.0, float(np.abs(linear).max()))


def _clip(value: float, low: float, high: float) -> float:
    return min(max(value, low), high)


def _let_go(seen: Seen, wide: float) -> np.ndarray:
    """Opens, and rises once the opening exceeds `wide` (m)."""
    return _action(seen.z_axis, np.array([0.0, 0.0, _clip(30 * (seen.opening - wide), 0.0, 0.6)]), 0.0, -1.0)


def _take_green(seen: Seen, height: float) -> np.ndarray | None:
    """Grasps green `height` (m) over its centre; None once it is held."""
    offset = seen.green + height * _UP - seen.pinch
    distance = float(np.linalg.norm(offset))
    if seen.grasp and distance < 0.022:
        return None
    # A funnel: the further off to the side, the higher; straight down within 12 mm.
    offset[2] += _clip(5 * (math.hypot(offset[0], offset[1]) - 0.012), 0.0, 0.09)
    close = math.tanh(250 * (0.014 - distance))  # closes within 14 mm, and opens again if the object is lost
    return _action(seen.z_axis, _straight(GAIN * offset), seen.green_turn, close)


def _reach(seen: Seen) -> np.ndarray:
    offset = seen.green + tasks.REACH_HEIGHT * _UP - seen.pinch
    return _action(seen.z_axis, _straight(GAIN * offset), 0.0, -1.0)


def _lift(seen: Seen) -> np.ndarray:
    take = _take_green(seen, 0.003)
    if take is not None:
        return take
    rise = GAIN * (tasks.GREEN_HALF + tasks.LIFT_HEIGHT + 0.03 - seen.green[2])
    return _action(seen.z_axis, np.array([0.0, 0.0, _clip(rise, -1.0, 1.0)]), 0.0, 1.0)


def _stack(seen: Seen) -> np.ndarray:
    offset = seen.red - seen.green
    aside = math.hypot(offset[0], offset[1])
    height = -offset[2] - tasks.STACKED_HEIGHT  # of green over its place on red
    if aside < 0.016 and -0.010 < height < 0.006:
        return _let_go(seen, 0.050)
    take = _take_green(seen, 0.003)
    if take is not None:
        return take
    # Another funnel, over red: up first, sideways once high enough, down within 10 mm.
    up = _clip(4 * (aside - 0.010), 0.0, 0.06) - 0.003 - height
    sideways = offset[:2] * _clip(1 - 25 * (up - 0.02), 0.0, 1.0)
    limit = 1.0 if up > -0.01 else 0.7
    return _action(seen.z_axis, np.clip(GAIN * np.array([*sideways, up]), -limit, limit), 0.0, 1.0)


def _insert(seen: Seen) -> np.ndarray:
    offset = seen.red - seen.green
    aside = math.hypot(offset[0], offset[1])
    height = -offset[2]
    if aside < 0.010 and height < 0.026:
        return _let_go(seen, 0.040)
    take = _take_green(seen, PEG_GRIP)
    if take is not None:
        return take
    in_mouth = height < 0.052 and aside < 0.012
    aligned = in_mouth or (aside < 0.005 and abs(seen.red_turn) < 0.12)
    goal = 0.012 if aligned else 0.066 + _clip(4 * (aside - 0.006), 0.0, 0.05)
    up = goal - height
    sideways = offset[:2] * _clip(1 - 25 * (up - 0.01), 0.0, 1.0)
    return _action(seen.z_axis, np.clip(GAIN * np.array([*sideways, up]), -0.8, 0.8), seen.red_turn, 1.0)


_EXPERTS: Mapping[str, Callable[[Seen], np.ndarray]] = {
    "reach_green": _reach,
    "lift_green": _lift,
    "stack_green_on_red": _stack,
    "insert_green": _insert,
}


class Expert(Actor):
    """Acts by a task's vector field plus noise. See `make_expert`."""

    def __init__(self, policy_id: str, field: Callable[[Seen], np.ndarray], seed: int, noise: float, speed: float):
        self.policy_id = policy_id
        self._field, self._noise_scale, self._speed = field, noise, speed
        self.reset(seed)

    def reset(self, seed: int | None = None) -> None:
        """Begins an episode without noise; it builds up over half a second."""
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        self._noise = np.zeros(len(schema.ACTION_NAMES))

    def act(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """float32[7] in [-1, 1], for an observation that includes the privileged object poses."""
        action = self._field(Seen(observation))
        action[:6] *= self._speed
        kick = math.sqrt(1 - OU_DECAY**2) * self._noise_scale * self._rng.standard_normal(len(action))
        self._noise = OU_DECAY * self._noise + kick  # standard deviation: noise
        return np.clip(action + self._noise, -1, 1).astype(np.float32)


def make_expert(task: str, seed: int, noise: float = 0.0, speed: float = 1.0) -> Expert:
    """The scripted expert of a task.

    Args:
      task: whose expert, one of `robot.env.TASKS`; it may act in another task's environment.
      seed: of the noise.
      noise: standard deviation of the noise on each action. Measured over 50 to 60 episodes, lift_green succeeds in
        1.00, 0.92, 0.47, 0.20 of them at noise 0, 0.2, 0.3, 0.5; stacking in 0.72 and inserting in 0.32 at 0.2.
      speed: factor on all velocities but the gripper's.

    Raises:
      ArmchairError: there is no such task.
    """
    if task not in _EXPERTS:
        raise ArmchairError(f"There is no expert for {task!r}: choose one of {', '.join(_EXPERTS)}.")
    pace = "" if speed == 1 else f"/speed={speed:.2f}"
    return Expert(f"expert/{task}/noise={noise:.2f}{pace}", _EXPERTS[task], seed, noise, speed)


class RandomWatcher(Actor):
    """Moves to random places over the basket and opens or closes there, for diverse task-agnostic data.

    As the random watcher of the reward sketching work: it also stirs the scene. A place is given up after
    `PATIENCE` steps; the gripper, kept pointing down but turning freely, opens or closes on the way to the next.
    """

    PATIENCE = 25  # control steps: the workspace's diagonal takes about as long

    policy_id = "random_watcher"

    def __init__(self, seed: int):
        self.reset(seed)

    def reset(self, seed: int | None = None) -> None:
        """Begins an episode."""
        if seed is not None:
            self._rng = np.random.default_rng(seed)
        self._choose()

    def act(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """float32[7] in [-1, 1]; needs no privileged observation."""
        pinch = observation["sawyer/pinch/pose"].astype(float)
        offset = self._place - pinch[:3]
        if self._left == 0 or np.linalg.norm(offset) < 0.02:
            self._choose()
        self._left -= 1
        _, z_axis = _axes(*pinch[3:].tolist())
        action = _action(z_axis, _straight(GAIN * offset), self._turn, self._gripper)
        return np.clip(action, -1, 1).astype(np.float32)

    def _choose(self) -> None:
        self._place = self._rng.uniform(WATCH_LOW, WATCH_HIGH)
        self._turn = self._rng.uniform(-0.3, 0.3)  # rad
        self._gripper = self._rng.choice((-1.0, 1.0))
        self._left = self.PATIENCE


def random_watcher(seed: int) -> RandomWatcher:
    """The random watcher; `seed` is of its places and grips."""
    return RandomWatcher(seed)
