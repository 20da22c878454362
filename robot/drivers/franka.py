"""A Franka FR3 or Panda with its hand, through `franky` and libfranka.

```
pip install 'armchair[franka]'
```
Set-points are Cartesian velocity motions of finite length: when no other comes, the maker's client brings the arm to
rest by itself; and when the client is silent, being killed or cut off, the controller does, after 20 ms. The controller
watches forces and joint limits at 1 kHz and stops the arm by its reflex; nothing here takes that back but `recover`.

Where the machine allows it, the client makes the thread that connects a real-time one, of the highest priority, and its
motions inherit that. It is for motions alone: what else the program does (a policy that thinks, encoding of pictures)
would at such a priority take turns with them, and be served before the network card.

The end effector must be set up in Desk so that its frame lies between the fingertips, as it is with the Franka Hand.
"""

import contextlib
import os
import threading
import time
from collections.abc import Iterator
from typing import Any

import franky
import numpy as np

from robot.drivers.base import DriverError, State
from robot.drivers.franka_config import FrankaConfig
from robot.pacing import Clock

_SETTLE = 5.0  # s that a motion may take to come to rest before another kind of motion
_POLL = 0.02  # s between two looks at the hand
_FINE = 2e-3  # m, less than which the hand does not bother to move


class FrankaDriver:
    """A `robot.drivers.base.Driver`."""

    name = "franka"
    stroke = 0.08  # m, the Franka Hand's

    def __init__(self, host: str, config: FrankaConfig | None = None, clock: Clock = time):
        """Connects to the controller at `host`, and sets its limits.

        Raises:
          DriverError: nobody answers at the address, or the controller is not ready (Desk: FCI must be on).
        """
        self._host, self._config, self._clock = host, config or FrankaConfig(), clock
        self._robot: Any = None  # as long as nobody answers
        self._real_time = _scheduling()
        self._hand: _Hand | None = None
        self._connected()
        self._opening = self.stroke
        self._told, self._measured = -1, clock.monotonic()  # ms of the controller's last measurement, and ours

    def home(self) -> None:
        """Opens the hand and goes to the ready pose along joints."""
        self._settle()
        if self._hand is not None:
            self._hand.open()
        self._opening = self.stroke
        with _scheduled(*self._real_time):
            self._robot.move(franky.JointMotion(franky.JointState(list(self._config.home))))

    def state(self) -> State:
        """Raises DriverError if the controller has stopped the arm."""
        state = self._robot.state
        if state.robot_mode in _STOPPED:
            raise DriverError(
                f"the controller has stopped the arm ({state.robot_mode.name}: {state.current_errors or 'no reason'}): "
                "look after it, then let it recover"
            )
        if (told := state.time.to_msec()) != self._told:  # else the controller has fallen silent
            self._told, self._measured = told, self._clock.monotonic()
        pose = state.O_T_EE
        rotation = np.asarray(pose.matrix)[:3, :3]
        twist = state.O_dP_EE_est
        velocity = np.zeros((2, 3)) if twist is None else np.array([twist.linear, twist.angular])
        wrench = np.asarray(state.K_F_ext_hat_K)
        width, grasp = (self._opening, False) if self._hand is None else self._hand.read()
        return State(
            time=self._measured,
            joint_angle=np.asarray(state.q),
            joint_velocity=np.asarray(state.dq),
            joint_torque=np.asarray(state.tau_J),
            pinch_pose=np.concatenate([pose.translation, np.roll(pose.quaternion, 1)]),  # x, y, z, w there
            tool_velocity=(velocity @ rotation).ravel(),
            wrist_force=wrench[:3],
            wrist_torque=wrench[3:],
            opening=width,
            grasp=grasp,
        )

    def move(self, twist: np.ndarray, opening: float, seconds: float) -> None:
        """Raises what ended the motion before, if that was an error."""
        motion = franky.CartesianVelocityMotion(
            franky.Twist(twist[:3].tolist(), twist[3:].tolist()), duration=franky.Duration(round(1000 * seconds))
        )
        with _scheduled(*self._real_time):
            self._robot.move(motion, asynchronous=True)
        self._opening = opening
        if self._hand is not None:
            self._hand.set(opening)

    def stop(self) -> None:
        """Brings the arm to rest within milliseconds. The hand keeps what it holds."""
        if (robot := self._robot) is None:
            return
        with contextlib.suppress(franky.Exception):  # the motion's own end, or a controller that is gone
            robot.stop()

    def recover(self) -> None:
        """Connects anew if need be. Raises DriverError if nobody answers, or the controller stays in its error."""
        try:
            self._connected().recover_from_errors()
        except franky.NetworkException:  # a cable was out for some time, even if it is in again
            self.close()
            self._connected().recover_from_errors()
        self._limit(self._robot)
        self._settle()
        if self._hand is not None:
            self._hand.recover()
        if self._robot.has_errors:
            raise DriverError(f"the arm does not recover ({self._robot.state.current_errors}): see Desk")

    def close(self) -> None:
        """Lets go of the controller, which serves one program at a time."""
        if self._hand is not None:
            self._hand.close()
        self._robot = self._hand = None

    def _connected(self) -> Any:
        """The arm, connected to if it is not."""
        if self._robot is not None:
            return self._robot
        config = self._config
        try:
            with _scheduled(*_scheduling()):
                robot = franky.Robot(self._host, realtime_config=franky.RealtimeConfig.Ignore)
                self._real_time = _scheduling()
            robot.relative_dynamics_factor = config.dynamics
            if robot.state.robot_mode not in _STOPPED:  # or it takes no limits before `recover`, and moves nothing
                self._limit(robot)
            hand = _Hand(franky.Gripper(self._host), config) if config.has_gripper else None
        except franky.Exception as error:
            raise DriverError(f"no Franka arm answers at {self._host} ({error}): is FCI on, in Desk?") from error
        self._robot, self._hand = robot, hand
        return robot

    def _limit(self, robot: Any) -> None:
        """Sets what the controller's reflex tolerates; its limits of joints it has by itself."""
        robot.set_collision_behavior([self._config.max_torque] * 7, [self._config.max_force] * 6)

    def _settle(self) -> None:
        """Ends the last motion, as another kind of motion may begin only then."""
        self.stop()
        with contextlib.suppress(franky.ControlException, franky.CommandException):  # it was stopped, or never began
            if not self._robot.join_motion(timeout=_SETTLE):
                raise DriverError(f"the arm does not come to rest within {_SETTLE:g} s: look after it")


def _scheduling() -> tuple[int, os.sched_param]:
    """Policy and priority of this thread."""
    return os.sched_getscheduler(0), os.sched_getparam(0)


@contextlib.contextmanager
def _scheduled(policy: int, priority: os.sched_param) -> Iterator[None]:
    """For the time of the block, this thread and those it starts run like that."""
    before = _scheduling()
    os.sched_setscheduler(0, policy, priority)
    try:
        yield
    finally:
        os.sched_setscheduler(0, *before)


_STOPPED = (franky.RobotMode.Reflex, franky.RobotMode.UserStopped)


class _Hand:
    """The gripper at its own pace: a command takes as long as its fingers move, so a thread gives them."""

    def __init__(self, gripper: Any, config: FrankaConfig):
        self._gripper, self._config = gripper, config
        self._wanted = self._given = float(gripper.width)
        self._closing = threading.Event()
        self._error: Exception | None = None
        self._width, self._grasp = self._wanted, False
        self._thread = threading.Thread(target=self._work, name="hand", daemon=True)
        self._thread.start()

    def read(self) -> tuple[float, bool]:
        """m between the fingertips, and whether they hold something; raises what went wrong in the thread."""
        if self._error is not None:
            raise DriverError(f"the hand failed ({self._error}): look after it, then let the arm recover")
        return self._width, self._grasp

    def set(self, opening: float) -> None:
        """The opening to go to, m; a newer one replaces it."""
        self._wanted = opening

    def open(self) -> None:
        """Returns when the fingers are open."""
        self._wanted = FrankaDriver.stroke
        end = time.monotonic() + _SETTLE
        while self.read()[0] < 0.95 * FrankaDriver.stroke:
            if time.monotonic() > end:
                raise DriverError(f"the hand does not open (it is at {1000 * self._width:.0f} mm): look after it")
            time.sleep(_POLL)

    def recover(self) -> None:
        """Forgets an error, and takes the fingers as they are."""
        self._wanted = self._given = float(self._gripper.width)
        self._error = None

    def close(self) -> None:
        self._closing.set()
        self._thread.join(_SETTLE)
        del self._gripper

    def _work(self) -> None:
        while not self._closing.wait(_POLL):
            if self._error is None:
                try:
                    self._follow()
                except Exception as error:  # told by `read`: there is nobody here to tell
                    self._error = error

    def _follow(self) -> None:
        wanted, speed = self._wanted, self._config.gripper_speed
        if wanted < self._given - _FINE:  # whatever is between the fingers may be thicker: they hold on to it
            self._gripper.grasp(wanted, speed, self._config.grasp_force, wanted, FrankaDriver.stroke)
            self._given = wanted
        elif wanted > self._given + _FINE:
            self._gripper.move(wanted, speed)
            self._given = wanted
        state = self._gripper.state
        self._width = float(state.width)
        self._grasp = bool(state.is_grasped)
