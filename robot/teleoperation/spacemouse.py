"""A SpaceMouse: a cap that is pushed, lifted and turned, and the arm does the same, seen from behind the arm.

```
with SpaceMouse(lambda action: teleoperation.command(action, "spacemouse")):
    ...
```
Its first button closes the gripper while it is held, its second opens it. A cap at rest commands nothing.
"""

import logging
import threading
from collections.abc import Callable, Sequence
from typing import Any, Protocol

import numpy as np

from datasets.errors import ArmchairError

_log = logging.getLogger(__name__)

_DEAD_ZONE = 0.1  # of an axis: a resting hand, and a cap that does not quite come back to its middle
_PERIOD = 0.05  # s between commands: two a control step, so that one may be late
_POLL = 0.002  # s between reads; the device tells a few hundred times a second at most


class CapState(Protocol):
    """What the device tells. Axes in [-1, 1]: x forward, y left, z up, and turns about them, right-handed."""

    x: float
    y: float
    z: float
    roll: float
    pitch: float
    yaw: float
    buttons: Sequence[int]


def to_action(state: CapState) -> np.ndarray | None:
    """The arm's action (`schema.ACTION_NAMES`), float32[7]; None for a cap at rest.

    The base frame is the cap's, for somebody who stands behind the arm: x is away, y to the left, z up.
    """
    axes = np.array([state.x, state.y, state.z, state.roll, state.pitch, state.yaw], np.float32)
    size = np.clip((np.minimum(np.abs(axes), 1) - _DEAD_ZONE) / (1 - _DEAD_ZONE), 0, 1)
    closes, opens = [bool(button) for button in (*state.buttons[:2], 0, 0)[:2]]
    action = np.append(np.sign(axes) * size**2, np.float32(closes) - np.float32(opens))  # finer about the middle
    return action.astype(np.float32) if action.any() else None


class SpaceMouse:
    """Commands as long as the cap is moved or a button is held, from a thread; a context manager.

    One that is unplugged commands nothing any more, and says so in the log.
    """

    def __init__(self, command: Callable[[np.ndarray], None]):
        """Opens the first SpaceMouse that is found.

        Args:
          command: gets float32[7] twenty times a second while there is something to command; what it refuses is lost.

        Raises:
          ArmchairError: there is none, it may not be opened, or the library for it is missing.
        """
        self._command = command
        self._device = _open()
        self._over = threading.Event()
        self._thread = threading.Thread(target=self._run, name="spacemouse", daemon=True)
        self._thread.start()

    def close(self) -> None:
        """Lets the device go; a second call does nothing."""
        self._over.set()
        self._thread.join()

    def __enter__(self) -> "SpaceMouse":
        return self

    def __exit__(self, *error: object) -> None:
        self.close()

    def _run(self) -> None:
        try:
            while not self._over.is_set():
                for _ in range(round(_PERIOD / _POLL)):
                    state = self._device.read()
                    self._over.wait(_POLL)
                if (action := to_action(state)) is not None and not self._over.is_set():
                    self._tell(action)
        except Exception:  # the library's, and those of the C library below it
            _log.warning("the SpaceMouse is gone: plug it in and start again", exc_info=True)
        finally:
            self._device.close()

    def _tell(self, action: np.ndarray) -> None:
        try:
            self._command(action)
        except ArmchairError as error:
            _log.warning("the SpaceMouse's command was refused: %s", error)


def _open() -> Any:
    try:
        import pyspacemouse  # finds the C library hidapi when it is imported
    except ModuleNotFoundError:
        raise ArmchairError(
            "a SpaceMouse wants its library: install it with `pip install 'armchair[spacemouse]'`"
        ) from None
    except Exception as error:
        raise ArmchairError(f"a SpaceMouse wants the C library hidapi ({error}): install libhidapi-hidraw0") from error
    try:
        return pyspacemouse.open(axis_convention=pyspacemouse.AxisConvention.ROS)
    except Exception as error:
        raise ArmchairError(
            f"no SpaceMouse can be opened ({error}): plug it in, and let this user read and write its /dev/hidraw*"
        ) from error
