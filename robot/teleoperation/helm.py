"""Who drives at this moment: a person, a policy by that person's leave, or nobody.

A wish is fresh for a while (the dead man's rule) and replaces the one before it from the same device; what several
devices command at once adds up. A person's command is obeyed; a person's leave lets the policy act. So a policy, too,
drives only as long as a person says so again and again: where nobody holds the connection, nothing moves.
"""

from typing import NamedTuple

import numpy as np

from datasets.errors import ArmchairError
from datasets.schema import ActedBy
from robot.pacing import Clock


class TeleoperationError(ArmchairError):
    """A wish that does not fit the moment, such as keeping an episode that is still running."""


class Choice(NamedTuple):
    """What the arm is to do in this step."""

    action: np.ndarray  # float32[A]
    by: ActedBy


class Helm:
    """The helm of one episode. Wishes may come from any thread."""

    def __init__(self, size: int, has_policy: bool, patience: float, clock: Clock):
        """`size`: A, the numbers of an action. `patience`: seconds for which a wish is fresh, by `clock`."""
        self._size, self._has_policy, self._patience, self._clock = size, has_policy, patience, clock
        self._wishes: dict[str, tuple[np.ndarray | None, float]] = {}  # device -> and when it came; replaced as a whole
        self._is_open = True

    @property
    def was_taken(self) -> bool:
        """Whether anybody has wished anything yet."""
        return bool(self._wishes)

    def command(self, action: np.ndarray, device: str = "") -> None:
        """The person drives, by this device. One that is at rest had better say nothing, unless it is the only one.

        Raises:
          TeleoperationError: the action is not float32[A] in [-1, 1]; it is as if it had not come.
        """
        action, size = np.asarray(action, np.float32), self._size
        if action.shape != (size,) or not (np.abs(action) <= 1).all():  # NaN is not <= 1
            raise TeleoperationError(f"a command is not {size} numbers in [-1, 1]: send {size} numbers in [-1, 1]")
        self._wishes[device] = action, self._clock.monotonic()

    def leave_to_policy(self) -> None:
        """The policy drives. Raises TeleoperationError if there is none."""
        if not self._has_policy:
            raise TeleoperationError("there is no policy that could drive: start an episode with one")
        self._wishes[""] = None, self._clock.monotonic()

    def close(self) -> None:
        """From now on nobody drives."""
        self._is_open = False

    def choose(self, proposed: np.ndarray | None) -> Choice:
        """What is to be done now. `proposed`: float32[A], the policy's action for this step, if there is a policy."""
        now = self._clock.monotonic()
        fresh = [wish for wish, moment in list(self._wishes.values()) if now - moment <= self._patience]
        if not self._is_open or not fresh:
            return Choice(np.zeros(self._size, np.float32), ActedBy.NOBODY)
        if commands := [wish for wish in fresh if wish is not None]:
            return Choice(np.clip(sum(commands), -1, 1), ActedBy.PERSON)
        assert proposed is not None  # or leave was not given
        return Choice(np.asarray(proposed, np.float32), ActedBy.POLICY)
