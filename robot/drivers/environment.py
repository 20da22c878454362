"""A driver and its cameras as an environment with the simulated cell's observations and actions."""

import contextlib
import dataclasses
import time
from collections.abc import Iterator, Mapping

import dm_env
import numpy as np
from dm_env import specs

from datasets import schema
from datasets.errors import ArmchairError, SpecMismatchError
from robot.drivers.base import OBSERVATIONS, Camera, Driver, DriverError, take
from robot.drivers.exits import StopOnExit
from robot.limits import SafetyConfig
from robot.pacing import Clock, Pace

_UNITS = np.array([schema.MAX_LINEAR] * 3 + [schema.MAX_ANGULAR] * 3)  # m/s, rad/s at |action| = 1
_COMMAND = "gripper/command"


@dataclasses.dataclass(frozen=True)
class RobotConfig:
    """How an arm is driven."""

    time_limit: int = 100
    """Control steps an episode."""
    control_rate_hz: float = schema.CONTROL_RATE_HZ
    """Set-points a second."""
    dead_man: float = 0.3
    """s after which a set-point expires: three control steps, so that a late one does not make the arm stutter, and
    never more than 5 cm at 0.15 m/s. Teleoperation's patience, too."""
    max_age: float = 0.3
    """s that a measurement or a picture may be old: what is older was lost on the way, and the arm is stopped."""

    def __post_init__(self) -> None:
        if not all(value > 0 for value in (self.time_limit, self.control_rate_hz, self.dead_man, self.max_age)):
            raise ArmchairError("time_limit, control_rate_hz, dead_man and max_age must be greater than 0")


class RobotEnvironment(dm_env.Environment):
    """One arm at its own pace: an action is sent, and a control step later the observation is taken.

    Actions are float32[7] in [-1, 1] (`schema.ACTION_NAMES`); observations have the names, shapes and units of
    `schema.OBSERVATIONS`. The reward is 0 and the discount 1: people, or a reward model, will rate the episode.

    Whatever goes wrong, here or in the driver, stops the arm, and so does the end of the program. After that nothing
    moves until `recover`. Not to be used without `robot.safety.SafeEnvironment` around it (`make_env` sees to that).
    """

    is_hardware = True

    def __init__(
        self,
        driver: Driver,
        cameras: Mapping[str, Camera],
        safety: SafetyConfig,
        task_id: str,
        config: RobotConfig | None = None,
        clock: Clock = time,
    ):
        """Moves nothing.

        Args:
          driver: closed by `close`, as are the cameras.
          cameras: by their names in the vocabulary without `pixels/`, e.g. "wrist".
          safety: the limits that the filter is to keep.
          task_id: what is to be done, for the episodes' metadata.
          config: see there.
          clock: of the driver's and the cameras' moments.
        """
        self._driver, self._cameras, self._clock = driver, dict(cameras), clock
        self._config = config or RobotConfig()
        self.safety, self.task_id, self.robot = safety, task_id, driver.name
        self.control_rate_hz = self._config.control_rate_hz
        self._over = True
        self._halted = self._closed = False
        self._steps, self._opening, self._sent = 0, driver.stroke, 0.0
        self.pace = Pace(1 / self.control_rate_hz, clock)  # kept by `step`; who lets the first step wait starts it anew
        self._exit = StopOnExit(self.halt)

    @property
    def set_point_expired(self) -> bool:
        """Whether the arm has stopped by itself since the last step, because this one is late."""
        return self._steps > 0 and self._clock.monotonic() - self._sent > self._config.dead_man

    @property
    def tags(self) -> str:
        """How well the pace was kept in this episode: steps that came too late, and 95 % of them at most how late."""
        return f"overruns:{self.pace.overruns},jitter_ms:{self.pace.jitter_ms():.0f}" if self._steps else ""

    def seed(self, seed: int) -> None:
        """An arm has none; that there is this method keeps the arm connected from episode to episode."""

    def halt(self) -> None:
        """Stops the arm now, and sends nothing to it before `recover`. From any thread, at any moment, ever again."""
        self._halted = True  # first: a step that is under way looks at it after sending
        if not self._closed:
            self._driver.stop()

    def rest(self) -> None:
        """Stops the arm between two episodes. It is not halted: the next `reset` moves it again."""
        self._over = True
        if not self._closed:
            self._driver.stop()

    def recover(self) -> None:
        """Makes the arm ready again. To be called by a person's wish only (`SafeEnvironment.clear`)."""
        self._driver.recover()
        self._halted, self._over = False, True

    def reset(self) -> dm_env.TimeStep:
        """Moves the arm to where episodes begin, and begins one.

        Raises:
          DriverError: the arm was stopped and did not recover since, or it does not answer.
        """
        if self._halted:
            raise DriverError(f"{self.robot} was stopped: look after it, then let it recover")
        with self._halting():
            self._driver.home()
            self._opening = float(self._driver.state().opening)
            self.pace.start()
            self._steps, self._over = 0, False
            return dm_env.restart(self._observe())

    def look(self) -> dict[str, np.ndarray]:
        """What is measured and seen at this moment, as an observation; nothing moves.

        Raises:
          DriverError: the arm or a camera does not answer.
        """
        with self._halting():
            return self._observe()

    def step(self, action: np.ndarray) -> dm_env.TimeStep:
        """Takes one control step; the episode's last if the arm has been halted.

        Raises:
          SpecMismatchError: the action is not seven finite numbers; the arm has been stopped.
          DriverError: the arm or a camera failed; the arm has been stopped.
        """
        if self._over:
            return self.reset()
        with self._halting():
            self.pace.begin()
            if not self._halted:
                self._send(action)
            if self._halted:  # while it was sent
                self._driver.stop()
            self.pace.wait()
            observation = self._observe()
        self._steps += 1
        self._over = self._halted or self._steps >= self._config.time_limit
        return (dm_env.truncation if self._over else dm_env.transition)(0.0, observation, 1.0)

    def action_spec(self) -> specs.BoundedArray:
        """float32[7] in [-1, 1]: see `schema.ACTION_NAMES`."""
        return specs.BoundedArray((len(schema.ACTION_NAMES),), np.float32, -1, 1, "action")

    def observation_spec(self) -> dict[str, specs.Array]:
        """The simulated cell's, without what only a simulator knows, and with these cameras."""
        spec: dict[str, specs.Array] = {}
        for name in (*OBSERVATIONS.values(), _COMMAND):
            feature = schema.OBSERVATIONS[name]
            spec[name] = specs.Array(feature.shape, feature.dtype, name)
        spec["gripper/grasp"] = specs.BoundedArray((1,), np.int64, 0, 1, "gripper/grasp")
        for camera, device in self._cameras.items():
            spec[f"pixels/{camera}"] = specs.BoundedArray(device.shape, np.uint8, 0, 255, f"pixels/{camera}")
        return spec

    def close(self) -> None:
        """Stops the arm and disconnects; a second call does nothing."""
        if self._closed:
            return
        with contextlib.ExitStack() as stack:  # each of these, whatever fails
            stack.callback(self._exit.close)
            stack.callback(self._driver.close)
            for camera in self._cameras.values():
                stack.callback(camera.close)
            self.halt()
            self._closed = True

    def _send(self, action: np.ndarray) -> None:
        action = np.asarray(action, float)
        if action.shape != (len(schema.ACTION_NAMES),) or not np.isfinite(action).all():
            raise SpecMismatchError(f"{self.robot} cannot act on {action.tolist()}: give it 7 numbers in [-1, 1]")
        action = np.clip(action, -1.0, 1.0)
        opening = self._opening - action[6] * schema.MAX_GRIPPER / self.control_rate_hz
        self._opening = min(max(opening, 0.0), self._driver.stroke)
        self._driver.move(action[:6] * _UNITS, self._opening, self._config.dead_man)
        self._sent = self._clock.monotonic()

    def _observe(self) -> dict[str, np.ndarray]:
        state = self._driver.state()
        self._check_age(state.time, self.robot)
        observation = state.observation()
        observation[_COMMAND] = np.array([self._opening], np.float32)
        return observation | self._pictures()

    def _pictures(self) -> dict[str, np.ndarray]:
        pictures = {}
        for name, camera in self._cameras.items():
            frame = take(camera, name)
            self._check_age(frame.time, f"the camera {name!r}")
            pictures[f"pixels/{name}"] = frame.picture
        return pictures

    def _check_age(self, moment: float, who: str) -> None:
        age = self._clock.monotonic() - moment
        if not age <= self._config.max_age:
            raise DriverError(
                f"what {who} told last is {age:.2f} s old, more than {self._config.max_age:g} s: "
                "look after its connection"
            )

    @contextlib.contextmanager
    def _halting(self) -> Iterator[None]:
        """Stops the arm when something goes wrong, and says what: the driver's exceptions become DriverErrors."""
        try:
            yield
        except BaseException as error:
            with contextlib.suppress(Exception):  # of an arm that cannot be reached; the dead man's rule stops it
                self.halt()
            if isinstance(error, ArmchairError) or not isinstance(error, Exception):
                raise
            raise DriverError(f"{self.robot} failed ({type(error).__name__}: {error}): look after the arm") from error
