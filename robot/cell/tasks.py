"""The tasks: what the objects are, when a task is solved, and how far it has got.

All share one arm, basket and observation spec, so that one task's data is another's unlabelled data. A task is
judged from the true state (`State`), by plain functions of it, never from what happened before.
"""

import dataclasses
import math
from collections.abc import Callable, Mapping

Point = tuple[float, float, float]  # m, in the base frame: z is the height over the basket's floor

REACH_RADIUS = 0.03  # m: `reach_green` is solved within it of a point just above the green block
REACH_HEIGHT = 0.01  # m, of that point over the block's centre
LIFT_HEIGHT = 0.10  # m: how far the green block must leave the floor
GREEN_HALF, RED_HALF = 0.02, 0.025  # m, half the blocks' edges (blocks.xml)
STACKED_HEIGHT = GREEN_HALF + RED_HALF  # m, between the centres of two stacked blocks
INSERTED_HEIGHT = 0.016  # m, of the peg's centre over the socket's when it stands on the bottom (peg_and_socket.xml)
HELD_DISTANCE = 0.03  # m: an object this near the pinch point of a gripper that holds something is what it holds
FAR = 0.30  # m: distances beyond count as no progress at all; about the workspace's size


@dataclasses.dataclass(frozen=True, slots=True)
class State:
    """What tasks are judged by."""

    pinch: Point
    green: Point
    red: Point
    opening: float  # m, between the finger pads
    grasp: bool  # the gripper holds something

    @property
    def green_held(self) -> bool:
        """Whether the green object is what the gripper holds; a peg may be held well above its centre."""
        dx, dy, dz = (p - g for p, g in zip(self.pinch, self.green, strict=True))
        return self.grasp and math.hypot(dx, dy) < HELD_DISTANCE and abs(dz) < 2 * HELD_DISTANCE


@dataclasses.dataclass(frozen=True)
class Task:
    """One task. `progress` is in [0, 1] and at least 0.9 where `is_success` holds."""

    task_id: str
    model: str  # file in robot/cell/model
    time_limit: int  # control steps; about twice what the slowest noise-free expert needs
    green_rest: float  # m, height of the green object's centre on the floor
    red_rest: float  # m, of the red one's
    is_success: Callable[[State], bool]
    unsolved_progress: Callable[[State], float]

    def progress(self, state: State) -> float:
        """How far the task has got, for simulated annotators: 1 when solved, else what has been done towards it."""
        return 1.0 if self.is_success(state) else self.unsolved_progress(state)


def _nearness(distance: float, far: float = FAR) -> float:
    """1 at distance 0, falling linearly to 0 at `far`."""
    return max(0.0, 1.0 - distance / far)


def _above_green(state: State) -> Point:
    x, y, z = state.green
    return x, y, z + REACH_HEIGHT


def _reached(state: State) -> bool:
    return math.dist(state.pinch, _above_green(state)) < REACH_RADIUS


def _reach_progress(state: State) -> float:
    return 0.9 * _nearness(math.dist(state.pinch, _above_green(state)) - REACH_RADIUS)


def _lifted(state: State) -> bool:
    return state.green[2] > GREEN_HALF + LIFT_HEIGHT


def _lift_progress(state: State) -> float:
    """Approach up to 0.4, grasp 0.5, then height up to 0.95."""
    if not state.green_held:
        return 0.4 * _nearness(math.dist(state.pinch, state.green))
    height = max(0.0, state.green[2] - GREEN_HALF)
    return 0.5 + 0.45 * min(1.0, height / LIFT_HEIGHT)


def _stacked(state: State) -> bool:
    """Green rests on red and has been let go."""
    dx, dy, dz = (g - r for g, r in zip(state.green, state.red, strict=True))
    on_top = math.hypot(dx, dy) < 0.02 and abs(dz - STACKED_HEIGHT) < 0.008
    released = state.opening > 2 * GREEN_HALF + 0.006 or math.dist(state.green, state.pinch) > 0.05
    return on_top and released


def _inserted(state: State) -> bool:
    """The peg stands in the socket and has been let go."""
    dx, dy, dz = (g - r for g, r in zip(state.green, state.red, strict=True))
    return max(abs(dx), abs(dy)) < 0.012 and dz < INSERTED_HEIGHT + 0.012 and state.opening > 0.037


def _place_progress(goal_height: float) -> Callable[[State], float]:
    """Progress of bringing green to `goal_height` (m) above red: approach 0.3, grasp 0.4, carry 0.9, release 1."""

    def progress(state: State) -> float:
        x, y, z = state.red
        to_goal = math.dist(state.green, (x, y, z + goal_height))
        if not state.green_held and to_goal > 0.015:
            return 0.3 * _nearness(math.dist(state.pinch, state.green))
        return 0.4 + 0.5 * _nearness(to_goal)

    return progress


_TASKS = (
    Task("reach_green", "blocks.xml", 30, GREEN_HALF, RED_HALF, _reached, _reach_progress),
    Task("lift_green", "blocks.xml", 80, GREEN_HALF, RED_HALF, _lifted, _lift_progress),
    Task("stack_green_on_red", "blocks.xml", 100, GREEN_HALF, RED_HALF, _stacked, _place_progress(STACKED_HEIGHT)),
    Task("insert_green", "peg_and_socket.xml", 110, 0.035, 0.025, _inserted, _place_progress(INSERTED_HEIGHT)),
)  # fmt: skip

TASKS: Mapping[str, Task] = {task.task_id: task for task in _TASKS}
"""Every task of the cell by its id."""
