"""The arm between episodes: connected once, at rest, and refused after an emergency stop until a person clears that."""

import logging
from collections.abc import Callable
from typing import Any

import dm_env

from datasets.errors import ArmchairError
from robot.safety import EmergencyStopError

_log = logging.getLogger(__name__)

MakeEnv = Callable[[str, int], dm_env.Environment]
"""From a task and a seed to an environment; called in the thread that drives it."""


class KeptArm:
    """The environment of the latest episode, for one thread, save where something else is said.

    One with a method `seed(int)` is kept from episode to episode, as in `robot.plan`; any other is made anew for each.
    Whatever was stopped in an emergency is kept, too, so that the stop cannot be forgotten.
    """

    def __init__(self, make_env: MakeEnv):
        """Makes nothing yet."""
        self._make_env, self._task = make_env, ""
        self._env: Any = None

    @property
    def latched(self) -> str:
        """Why the arm was stopped, if nobody has cleared it since; from any thread."""
        return str(getattr(self._env, "latched", ""))

    def take(self, task_id: str, seed: int) -> dm_env.Environment:
        """The environment for an episode, which its `reset` begins.

        Raises:
          EmergencyStopError: the arm was stopped, and nobody has cleared that.
          ArmchairError: the environment cannot be made.
        """
        if self.latched:
            raise EmergencyStopError(f"the arm was stopped ({self.latched}): look after it, then clear the stop")
        if self._env is not None and task_id == self._task:
            self._env.seed(seed)  # or `rest` would have closed it
        else:
            self.close()
            self._env, self._task = self._make_env(task_id, seed), task_id
        env: dm_env.Environment = self._env
        return env

    def rest(self) -> None:
        """The episode is over, in whatever way: the arm stands still, or is let go."""
        if not self.latched and not callable(getattr(self._env, "seed", None)):
            self.close()
        elif hasattr(self._env, "rest"):
            self._env.rest()

    def emergency_stop(self, why: str) -> None:
        """Stops the arm now, and latches; from any thread. Raises ArmchairError if it has no safety filter."""
        if not hasattr(self._env, "emergency_stop"):
            raise ArmchairError("there is no arm here with an emergency stop: stop the episode")
        self._env.emergency_stop(why)

    def clear(self, person: str) -> None:
        """Lets the arm move again in the next episode.

        Args:
          person: the name of whoever has looked at the arm and says that it may move.

        Raises:
          ArmchairError: it was not stopped.
          Exception: the arm does not recover. It is disconnected, as its connection may be what is wrong; the next
            episode makes a new one, and is refused by an arm that is still in error.
        """
        if self._env is None or not self.latched:
            raise ArmchairError("the arm was not stopped: there is nothing to clear")
        try:
            self._env.clear(person)
        except Exception:
            _log.warning("%s cleared the stop (%s), but the arm does not recover", person, self.latched)
            self.close()
            raise
        self.rest()

    def close(self) -> None:
        """Stops the arm and lets it go."""
        env, self._env = self._env, None
        if env is not None:
            env.close()
