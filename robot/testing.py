"""A fake arm: a fast `dm_env` for tests and dry runs. No simulator, no files.

The fake arm is a point in the unit square that is to be driven onto a target. It has everything that recording, the
episode loop and evaluation ask of an environment: several dtypes, optional pictures, progress, a verdict, a time limit.
Its name for `make_env` is `robot.testing:FakeArm`.
"""

import itertools
from collections.abc import Mapping

import dm_env
import numpy as np
from dm_env import specs

from robot.campaign.operators import Question

_STEP = 0.1  # the farthest that the point moves in one step along each axis; the square has side 1
_CLOSE = 0.05  # solved within this distance of the target


class FakeArm(dm_env.Environment):
    """Drive a point onto a target; action float32[2] in [-1, 1] is its velocity.

    Args:
      seed: of the start and the target.
      image_size: (H, W) of `pixels/front`; None: no pictures.
      time_limit: steps until the episode is cut off, with discount 1.
      terminate: whether solving the task ends the episode, with discount 0.
    """

    task_id = "fake_reach"
    robot = "fake_arm"

    def __init__(
        self, seed: int = 0, image_size: tuple[int, int] | None = None, time_limit: int = 12, terminate: bool = False
    ):
        self._image_size = image_size
        self._time_limit = time_limit
        self._terminate = terminate
        self._steps = -1  # no episode yet
        self._position = self._target = self._start = np.zeros(2, np.float32)
        self._rng = np.random.default_rng(seed)

    def reset(self) -> dm_env.TimeStep:
        """Starts an episode at a random place."""
        self._start, self._target = self._rng.uniform(0, 1, (2, 2)).astype(np.float32)
        self._position, self._steps = self._start.copy(), 0
        return dm_env.restart(self._observation())

    def step(self, action: np.ndarray) -> dm_env.TimeStep:
        """Moves the point. The reward is 1 when it is on the target."""
        if self._steps < 0:
            return self.reset()
        self._position = np.clip(self._position + _STEP * np.asarray(action, np.float32), 0, 1)
        self._steps += 1
        reward, observation = float(self.is_success()), self._observation()
        if self._terminate and self.is_success():
            self._steps = -1
            return dm_env.termination(reward, observation)
        if self._steps == self._time_limit:
            self._steps = -1
            return dm_env.truncation(reward, observation, discount=1.0)
        return dm_env.transition(reward, observation, discount=1.0)

    def progress(self) -> float:
        """The part of the way that is done, in [0, 1]."""
        whole, left = (float(np.linalg.norm(self._target - place)) for place in (self._start, self._position))
        return min(max(1 - left / max(whole, _CLOSE), 0.0), 1.0)

    def is_success(self) -> bool:
        """Whether the point is on the target now."""
        return bool(np.linalg.norm(self._target - self._position) < _CLOSE)

    def observation_spec(self) -> dict[str, specs.Array]:
        """Position and target (float32), the target in 64 bits, whether the point is left of it, and pictures."""
        spec: dict[str, specs.Array] = {
            "arm/position": specs.BoundedArray((2,), np.float32, 0, 1, name="arm/position"),
            "arm/target": specs.BoundedArray((2,), np.float32, 0, 1, name="arm/target"),
            "arm/exact": specs.Array((2,), np.float64, name="arm/exact"),
            "arm/left": specs.BoundedArray((1,), np.int64, 0, 1, name="arm/left"),
        }
        if self._image_size is not None:
            spec["pixels/front"] = specs.BoundedArray((*self._image_size, 3), np.uint8, 0, 255, name="pixels/front")
        return spec

    def action_spec(self) -> specs.BoundedArray:
        """Velocity, as a part of the greatest."""
        return specs.BoundedArray((2,), np.float32, -1.0, 1.0, name="velocity")

    def _observation(self) -> dict[str, np.ndarray]:
        observation = {
            "arm/position": self._position.copy(),
            "arm/target": self._target.copy(),
            "arm/exact": self._target.astype(np.float64) / 3,  # needs its 64 bits
            "arm/left": np.array([self._position[0] < self._target[0]], np.int64),
        }
        if self._image_size is not None:
            observation["pixels/front"] = self._picture(self._image_size)
        return observation

    def _picture(self, size: tuple[int, int]) -> np.ndarray:
        """uint8[H, W, 3]: the target a green column, the point a red row and column, wide enough for JPEG."""
        height, width = size
        frame = np.zeros((height, width, 3), np.uint8)
        frame[:, _band(self._target[0], width), 1] = 200
        frame[:, _band(self._position[0], width), 0] = 200
        frame[_band(self._position[1], height), :, 0] = 200
        return frame


class FakeExpert:
    """Drives the fake arm straight to its target, `noise` (standard deviation, in actions) worse."""

    def __init__(self, seed: int = 0, noise: float = 0.0):
        self.policy_id = f"fake_expert_{noise:g}"
        self._noise = noise
        self.reset(seed)

    def reset(self, seed: int | None = None) -> None:
        """Starts an episode; a seed fixes its noise."""
        if seed is not None:
            self._rng = np.random.default_rng(seed)

    def act(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """float32[2] in [-1, 1]."""
        way = (observation["arm/target"] - observation["arm/position"]) / _STEP
        return np.clip(way + self._noise * self._rng.normal(size=2), -1, 1).astype(np.float32)


def fake_novice(seed: int) -> FakeExpert:
    """Ends on the target in about four of ten episodes: good for tests of rates."""
    return FakeExpert(seed, noise=0.5)


class FakeOperator:
    """Whoever says yes to everything, and judges episodes by turns. Remembers what was asked and told."""

    name = "ada"

    def __init__(self, verdicts: str = "s"):
        """`verdicts`: answers of `robot.campaign`, one a letter, over and over."""
        self._verdicts = itertools.cycle(verdicts)
        self.asked: list[Question] = []
        self.told: list[str] = []

    def ask(self, question: Question) -> str:
        """Yes, the next verdict, or the Enter key."""
        self.asked.append(question)
        if "yes" in question.answers:
            return "yes"
        return next(self._verdicts) if "s" in question.answers else ""

    def tell(self, text: str) -> None:
        """Listens."""
        self.told.append(text)


def _band(place: float, size: int) -> slice:
    middle = int(place * (size - 1))
    return slice(max(0, middle - size // 16), middle + size // 16 + 1)
