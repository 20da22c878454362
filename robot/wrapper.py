"""An environment around another one, which shows through."""

from typing import Any

import dm_env
import numpy as np


class Wrapper(dm_env.Environment):
    """Whatever a subclass does not define is the inner environment's, what that has beyond `dm_env` included."""

    def __init__(self, env: dm_env.Environment):
        """`env`: closed by `close`."""
        self._env = env

    def __getattr__(self, name: str) -> Any:
        if name == "_env":  # before __init__, as in unpickling
            raise AttributeError(name)
        return getattr(self._env, name)

    def reset(self) -> dm_env.TimeStep:
        """Starts an episode."""
        return self._env.reset()

    def step(self, action: np.ndarray) -> dm_env.TimeStep:
        """Takes one step."""
        return self._env.step(action)

    def observation_spec(self) -> Any:
        """The environment's own."""
        return self._env.observation_spec()

    def action_spec(self) -> Any:
        """The environment's own."""
        return self._env.action_spec()

    def reward_spec(self) -> Any:
        """The environment's own."""
        return self._env.reward_spec()

    def discount_spec(self) -> Any:
        """The environment's own."""
        return self._env.discount_spec()

    def close(self) -> None:
        """Closes the environment."""
        self._env.close()
