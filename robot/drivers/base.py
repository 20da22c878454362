"""What an arm has to offer: the driver, its state, cameras. `docs/your_own_arm.md` leads through writing one."""

import dataclasses
from collections.abc import Mapping
from typing import Any, NamedTuple, Protocol

import numpy as np

from datasets import schema
from datasets.errors import ArmchairError


class DriverError(ArmchairError):
    """An arm or a camera that does not answer, answers with nonsense, or has stopped itself."""


@dataclasses.dataclass(frozen=True)
class State:
    """What an arm measures at one moment. Arrays of any floating type; frames and units are the vocabulary's."""

    time: float  # s, when it was measured, by the environment's clock
    joint_angle: np.ndarray  # [7], rad
    joint_velocity: np.ndarray  # [7], rad/s
    joint_torque: np.ndarray  # [7], N m
    pinch_pose: np.ndarray  # [7], m and quaternion wxyz: the point between the fingertips in the base frame
    tool_velocity: np.ndarray  # [6], m/s and rad/s: of the pinch point, in the tool's frame
    wrist_force: np.ndarray  # [3], N
    wrist_torque: np.ndarray  # [3], N m
    opening: float  # m between the finger pads
    grasp: bool  # whether the gripper holds something

    def observation(self) -> dict[str, np.ndarray]:
        """The vocabulary's observations, without the gripper's command, which the environment knows.

        Raises:
          DriverError: a value is not finite, or has another shape than the vocabulary says.
        """
        observation = {}
        for field, name in OBSERVATIONS.items():
            feature = schema.OBSERVATIONS[name]
            value = np.array(getattr(self, field), feature.dtype)  # a copy: drivers may reuse their arrays
            value = value.reshape(1) if value.ndim == 0 else value
            if value.shape != feature.shape or not np.isfinite(value).all():
                raise DriverError(
                    f"the driver's {field} is {value.tolist()}, not {feature.shape[0]} finite numbers: "
                    "look after the arm"
                )
            observation[name] = value
        return observation


OBSERVATIONS: Mapping[str, str] = {
    "joint_angle": "sawyer/joints/angle",
    "joint_velocity": "sawyer/joints/velocity",
    "joint_torque": "sawyer/joints/torque",
    "pinch_pose": "sawyer/pinch/pose",
    "tool_velocity": "sawyer/tcp/velocity",
    "wrist_force": "wrist/force",
    "wrist_torque": "wrist/torque",
    "opening": "gripper/opening",
    "grasp": "gripper/grasp",
}
"""Fields of `State` and their names in the vocabulary, which are those of its first robot, whatever the arm."""


class Driver(Protocol):
    """One arm with a gripper. Its constructor connects, and moves nothing.

    The loop that uses it (`robot.drivers.environment`), ten times a second:

        driver.home()
        while the episode lasts:
            driver.move(twist, opening, seconds)
            ...                                    # until the control step is over
            state = driver.state()

    A method that fails raises any exception, as do `home`, `state` and `move` of an arm whose controller is in error;
    the arm is then stopped, and the episode is lost. No method mends an error by itself, save `recover`, which only a
    person asks for.
    """

    name: str
    """For the episodes' metadata, e.g. "franka_fr3"."""
    stroke: float
    """m between the finger pads when the gripper is open."""

    def home(self) -> None:
        """Moves slowly to where episodes begin, gripper open and pointing down; returns when the arm stands still."""

    def state(self) -> State:
        """The newest measurement; does not wait for a newer one."""
        ...

    def move(self, twist: np.ndarray, opening: float, seconds: float) -> None:
        """A new set-point in place of the one before; returns at once.

        Args:
          twist: float64[6], the pinch point's velocity in the base frame, m/s and rad/s.
          opening: m between the finger pads, in [0, stroke].
          seconds: after which the arm stops by itself if no other set-point came: the dead man's rule. Best kept by
            the arm's controller, which goes on when this program has died.
        """

    def stop(self) -> None:
        """Stops the arm as fast as is good for it. Called from any thread, at any moment, ever again; never waits long.

        A `move` that comes later is obeyed: keeping it from coming is the environment's part.
        """

    def recover(self) -> None:
        """Makes the arm ready after a stop or an error of its controller; raises if it cannot. Nothing moves."""

    def close(self) -> None:
        """Disconnects; called once, after `stop`."""


class Frame(NamedTuple):
    """A picture and its moment."""

    time: float  # s, when it was taken, by the environment's clock
    picture: np.ndarray  # uint8[H, W, 3]


class Camera(Protocol):
    """A camera; its constructor connects. One that takes its time wants a thread of its own, and `read` the newest."""

    shape: tuple[int, int, int]
    """Height, width, 3."""

    def read(self) -> Frame:
        """The newest picture; does not wait for a newer one."""
        ...

    def close(self) -> None:
        """Disconnects."""


def take(camera: Camera, name: str) -> Frame:
    """A camera's newest picture. Raises DriverError if it is not what the camera says of its pictures."""
    frame = camera.read()
    picture: Any = np.array(frame.picture)
    if picture.shape != camera.shape or picture.dtype != np.uint8:
        raise DriverError(
            f"the camera {name!r} gave {picture.dtype}{list(picture.shape)}, not uint8{list(camera.shape)}: "
            "mend its driver"
        )
    return Frame(frame.time, picture)
