"""What an arm may do, and the action nearest to a wanted one that keeps to it.

All limits hold at once because of one inequality, which `SafetyConfig` checks. Towards a wall at distance d the arm
moves with at most d / T, where T is `braking_time`; so within a control step of length h its speed must fall by the
part h / T at most, which the slew limit a h allows if a T is at least the greatest speed. The same holds of rotations.
"""

import dataclasses
import enum
import math
from typing import NamedTuple

import numpy as np

from datasets import schema
from datasets.errors import ArmchairError
from robot.rotations import Vector, rotate, tilt_and_turn

_TOLERANCE = 1e-6  # m/s or rad/s: what float32 actions lose is no intervention
_HALVINGS = 8  # until an angular velocity counts as what it is halved towards


class Reason(enum.StrEnum):
    """Why an executed action is not the commanded one. The last five stop the arm until a person clears it."""

    CLIP = "clip"  # outside the action's bounds
    SPEED = "speed"  # linear or angular velocity longer than its limit
    SLEW = "slew"  # a change of velocity faster than the limit
    WALL = "wall"  # too fast towards the workspace's walls or a keep-out box
    ROTATION = "rotation"  # too fast towards the greatest tilt or turn
    EXPIRED = "expired"  # none came in time for the action before it, and the arm had stopped by itself
    MALFORMED = "malformed"  # not seven finite numbers
    FORCE = "force"  # the wrist felt more than it may
    SENSOR = "sensor"  # the measured pose is not finite, or is frozen while the arm is to move
    PERSON = "person"  # somebody pressed the button
    FAILURE = "failure"  # the arm did not answer, or raised an error


@dataclasses.dataclass(frozen=True)
class Box:
    """A box along the axes of the arm's base."""

    low: tuple[float, float, float]  # m
    high: tuple[float, float, float]  # m

    def __post_init__(self) -> None:
        if not all(low < high for low, high in zip(self.low, self.high, strict=True)):
            raise ArmchairError(f"{self} is no box: each of low must be less than its fellow of high")


@dataclasses.dataclass(frozen=True)
class SafetyConfig:
    """Limits of one arm where it stands. The point that is kept in and out of boxes is the pinch point.

    Raises ArmchairError if the arm could not brake in front of a wall within its slew limit, or a limit is no limit.
    """

    workspace: Box
    """Where the pinch point may be: measure it on the arm, leaving room for the fingers and the hand."""
    keep_out: tuple[Box, ...] = ()
    """Where it may not be: things that stand in the workspace, larger by the size of the hand."""
    max_linear: float = schema.MAX_LINEAR
    """m/s, the length of the linear velocity, which is scaled and keeps its direction: what one axis may do."""
    max_angular: float = schema.MAX_ANGULAR
    """rad/s, the length of the angular velocity, likewise."""
    max_linear_acceleration: float = 1.0
    """m/s^2 along each axis: from rest to full speed in two control steps. A thirteenth of what libfranka allows."""
    max_angular_acceleration: float = 5.0
    """rad/s^2 about each axis: likewise. A fifth of what libfranka allows."""
    braking_time: float = 0.2
    """s: nearer to a wall than this at the present speed, the arm slows down. The cell's; twice a servo's usual lag."""
    max_tilt: float = math.radians(30)
    """rad, between the gripper's axis and straight down; the smallest of the three limits of the reward sketching
    work's Sawyer (30, 90 and 180 degrees)."""
    max_turn: float = math.radians(90)
    """rad, either way about the vertical from fingers that open along x: rgb_stacking's, and enough for any grasp."""
    max_force: float = 25.0
    """N at the wrist beyond what it read at the episode's start (the gripper's weight): grasping takes some 5, and what
    stands in the way is neither broken nor does it break. inf: an arm without such a sensor."""
    max_torque: float = 5.0
    """N m at the wrist, likewise: the greatest force at a lever of 20 cm, the length of a gripper."""
    debounce: int = 2
    """Observations in a row with too much force or torque that stop the arm: one alone is a tap, or noise."""
    frozen: int = 3
    """Observations in a row that are equal to the bit while the arm is to move: a sensor that is stuck, since real ones
    are noisy. Until then the arm has gone 4.5 cm at most."""

    def __post_init__(self) -> None:
        for speed, acceleration in (
            (self.max_linear, self.max_linear_acceleration),
            (self.max_angular, self.max_angular_acceleration),
        ):
            if not 0 < speed <= acceleration * self.braking_time:
                raise ArmchairError(
                    f"at a speed of {speed:g} and an acceleration of {acceleration:g} the arm could not brake within "
                    f"{self.braking_time:g} s: allow more acceleration or braking time, or less speed"
                )
        if not (0 < self.max_tilt < math.pi / 2 and 0 < self.max_turn < math.pi):
            raise ArmchairError("the limits of rotation are not within (0, 90) degrees of tilt and (0, 180) of turn")
        if not (self.max_force > 0 and self.max_torque > 0 and self.debounce >= 1 and self.frozen >= 1):
            raise ArmchairError("max_force, max_torque, debounce and frozen must be greater than 0")


class Limited(NamedTuple):
    """An action that may be executed."""

    action: np.ndarray  # float32[7], as `schema.ACTION_NAMES`
    reasons: tuple[Reason, ...]  # in the order of the rules; (): it is what was wanted, to the bit


class Limiter:
    """The rules that need no memory: a function of the action, the one before, and where the arm is."""

    def __init__(self, config: SafetyConfig, period: float):
        """`period`: s, of a control step.

        Raises:
          ArmchairError: a control step is longer than the braking time.
        """
        if period > config.braking_time:
            raise ArmchairError(
                f"within a control step of {period:g} s the arm would go through a wall: "
                f"set braking_time, now {config.braking_time:g} s, to more"
            )
        self._config, self._period = config, period
        self._linear_step = config.max_linear_acceleration * period  # m/s
        self._angular_step = config.max_angular_acceleration * period  # rad/s

    def limit(self, action: np.ndarray, previous: np.ndarray, pose: np.ndarray) -> Limited:
        """The action that is executed in place of another; applied to its own result, it changes nothing.

        Args:
          action: float[7], finite: what is wanted.
          previous: float[7]: what was executed last; 0 if the arm stood still.
          pose: float[7]: of the pinch point in the base frame, m and quaternion wxyz.
        """
        action = np.asarray(action, np.float32)
        reasons: list[Reason] = []
        wanted: list[float] = action.tolist()
        clipped = _note([min(max(x, -1.0), 1.0) for x in wanted], wanted, Reason.CLIP, reasons)
        before, place = previous.tolist(), pose.tolist()
        linear, angular = schema.MAX_LINEAR, schema.MAX_ANGULAR  # m/s, rad/s
        moved = self._linear(_times(clipped[:3], linear), _times(before[:3], linear), place[:3], reasons)
        turned = self._angular(_times(clipped[3:6], angular), _times(before[3:6], angular), place[3:], reasons)
        if not reasons:
            return Limited(action, ())
        executed = [*_times(moved, 1 / linear), *_times(turned, 1 / angular), clipped[6]]
        return Limited(np.array(executed, np.float32), tuple(dict.fromkeys(reasons)))

    def _linear(self, wanted: Vector, before: Vector, place: Vector, reasons: list[Reason]) -> Vector:
        """m/s; walls come before the slew limit, should the arm not be where it was to be."""
        step, limit = self._linear_step, self._config.max_linear
        braking = _towards_rest(before, step)
        low, high = self._walls(place)
        scaled = _note(_scale(wanted, limit), wanted, Reason.SPEED, reasons)
        walled = _note(_clip(scaled, low, high), scaled, Reason.WALL, reasons)
        slewed = _note(_slew(walled, before, step), walled, Reason.SLEW, reasons)
        kept = _note(_clip(slewed, low, high), slewed, Reason.WALL, reasons)
        return _note(_shorten(kept, _clip(braking, low, high), limit), kept, Reason.SPEED, reasons)

    def _walls(self, place: Vector) -> tuple[Vector, Vector]:
        """The lowest and highest velocity along each axis, m/s, that leave time to brake. Neither ever pulls.

        Outside of a keep-out box the arm is beyond at least one of its faces and has to stay so: beyond the one from
        which it is farthest. Another face becomes that one only if the arm came near it more slowly than a wall allows,
        so that it can always brake.
        """
        workspace, time = self._config.workspace, self._config.braking_time
        low = [min(wall - x, 0.0) / time for wall, x in zip(workspace.low, place, strict=True)]
        high = [max(wall - x, 0.0) / time for wall, x in zip(workspace.high, place, strict=True)]
        for box in self._config.keep_out:
            gaps = [wall - x for wall, x in zip(box.low, place, strict=True)]  # m before the low faces
            gaps += [x - wall for wall, x in zip(box.high, place, strict=True)]  # and beyond the high ones
            face = max(range(6), key=gaps.__getitem__)
            if gaps[face] < 0:  # inside: out through the nearest face, and no other way
                for axis in {0, 1, 2} - {face % 3}:
                    low[axis] = high[axis] = 0.0
            limit = max(gaps[face], 0.0) / time
            if face < 3:
                high[face] = min(high[face], limit)
            else:
                low[face - 3] = max(low[face - 3], -limit)
        return low, high

    def _angular(self, wanted: Vector, before: Vector, turned: Vector, reasons: list[Reason]) -> Vector:
        """rad/s; the slew limit comes before those of rotation, which break nothing if they are passed by a degree."""
        config, step = self._config, self._angular_step
        scaled = _note(_scale(wanted, config.max_angular), wanted, Reason.SPEED, reasons)
        slewed = _note(_slew(scaled, before, step), scaled, Reason.SLEW, reasons)
        braking = _towards_rest(before, step)
        kept = _note(self._turn_slower(slewed, braking, turned), slewed, Reason.ROTATION, reasons)
        return _note(_shorten(kept, braking, config.max_angular), kept, Reason.SPEED, reasons)

    def _turn_slower(self, wanted: Vector, braking: Vector, turned: Vector) -> Vector:
        """An angular velocity between that of braking and a wanted one, which leaves time to brake before the limits.

        The tilt depends on the horizontal part alone, so that who is tilted as far as may be can still turn about the
        vertical. Rates are not all, though: who goes straight on along the greatest tilt tilts further. So what follows
        from the rates is tried, and halved towards braking until it does keep to the limits.
        """
        config = self._config
        tilt, tilting, turn, turning = tilt_and_turn(turned)
        room = [max(x, 0.0) for x in (config.max_tilt - tilt, config.max_turn - turn, config.max_turn + turn)]  # rad

        def excess(velocity: Vector) -> float:
            """rad beyond the part of the room that may be used up within this control step."""
            later_tilt, _, later_turn, _ = tilt_and_turn(rotate(turned, _times(velocity, self._period)))
            change = math.remainder(later_turn - turn, 2 * math.pi)
            used = later_tilt - tilt, change, -change
            return max(x - part * self._period / config.braking_time for x, part in zip(used, room, strict=True))

        if excess(wanted) <= _TOLERANCE:
            return wanted
        limits = _times(room, 1 / config.braking_time)  # rad/s
        part = _part(_dot(tilting, wanted), _dot(tilting, braking), limits[0])
        level = [*_between(braking, wanted, part)[:2], 0.0]
        goal, start = (_dot(turning, level) + vertical for vertical in (wanted[2], braking[2]))
        part = min(_part(goal, start, limits[1]), _part(-goal, -start, limits[2]))
        slower = [*level[:2], braking[2] + part * (wanted[2] - braking[2])]
        for _ in range(_HALVINGS):
            if excess(slower) <= _TOLERANCE / 2:  # so that float32 changes nothing
                return slower
            slower = _between(braking, slower, 0.5)
        return braking


def _note(after: Vector, before: Vector, reason: Reason, reasons: list[Reason]) -> Vector:
    """What a rule made of a velocity, noted as a reason; the velocity as it was if that is no change to speak of."""
    if after == before or all(abs(a - b) <= _TOLERANCE for a, b in zip(after, before, strict=True)):
        return before
    reasons.append(reason)
    return after


def _times(vector: Vector, factor: float) -> Vector:
    return [x * factor for x in vector]


def _between(start: Vector, goal: Vector, part: float) -> Vector:
    return [a + part * (b - a) for a, b in zip(start, goal, strict=True)]


def _dot(one: Vector, other: Vector) -> float:
    return sum(a * b for a, b in zip(one, other, strict=True))


def _clip(velocity: Vector, low: Vector, high: Vector) -> Vector:
    return [min(max(x, a), b) for x, a, b in zip(velocity, low, high, strict=True)]


def _slew(velocity: Vector, before: Vector, step: float) -> Vector:
    return [min(max(x, b - step), b + step) for x, b in zip(velocity, before, strict=True)]


def _part(goal: float, start: float, limit: float) -> float:
    """The greatest part, in [0, 1], of the way from `start` to `goal` that is not over the limit."""
    return 1.0 if goal <= limit else max(limit - start, 0.0) / (goal - start) if goal > start else 0.0


def _towards_rest(velocity: Vector, step: float) -> Vector:
    """The velocity after braking as hard as the slew limit allows."""
    return [x - min(max(x, -step), step) for x in velocity]


def _scale(velocity: Vector, limit: float) -> Vector:
    length = math.hypot(*velocity)
    return _times(velocity, limit / length) if length > limit else velocity


def _shorten(velocity: Vector, braking: Vector, limit: float) -> Vector:
    """The velocity nearest to one, on the straight way from another that is within the limit, that is within it too."""
    if math.hypot(*velocity) <= limit:
        return velocity
    way = [x - start for x, start in zip(velocity, braking, strict=True)]
    square, product = _dot(way, way), _dot(braking, way)
    root = math.sqrt(max(product * product - square * (_dot(braking, braking) - limit * limit), 0.0))
    return [start + x * (root - product) / square for x, start in zip(way, braking, strict=True)]
