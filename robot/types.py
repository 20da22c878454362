"""The one noun that everything in this room shares."""

from collections.abc import Mapping
from typing import Protocol

import numpy as np


class Actor(Protocol):
    """Whoever chooses actions: a scripted expert, a loaded policy, a person at a device.

    The loop that uses it (`robot.loop`):

        actor.reset(seed)
        timestep = env.reset()
        while not timestep.last():
            timestep = env.step(actor.act(timestep.observation))
    """

    policy_id: str
    """Unique per behaviour, for provenance: the same id means the same distribution of actions."""

    def reset(self, seed: int | None = None) -> None:
        """Begins an episode. A seed restarts the actor's random numbers; None goes on with them."""

    def act(self, observation: Mapping[str, np.ndarray]) -> np.ndarray:
        """Returns float32[A] for one observation (no batch axis), within the bounds of the action spec."""
