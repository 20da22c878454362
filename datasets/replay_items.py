"""What the items of a replay can be: how an episode is cut into them, every frame being kept once."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from datasets import feeds, sequences
from datasets.feeds import Batch, Transitions
from datasets.sequences import SequenceBatch

Rows = Mapping[str, np.ndarray]
"""What is sent of an episode: columns, one value a step."""
Places = list[dict[str, tuple[str, int | list[int]]]]
"""Of each item: field -> its column, and where in that it lies; slices up to the end Reverb takes for empty."""


@dataclasses.dataclass(frozen=True)
class StepItems:
    """Each item is a transition that reaches n steps ahead; fewer at an episode's end (`feeds.n_step`)."""

    n_step: int = 5  # Acme's D4PG
    gamma: float = 0.99  # discount a step, the learner's

    def signature(self, observation_size: int, action_size: int) -> dict[str, tf.TensorSpec]:
        """Shapes of an item."""
        sizes = {"observation": [observation_size], "action": [action_size], "next_observation": [observation_size]}
        return {name: tf.TensorSpec(sizes.get(name, []), tf.float32) for name in Batch._fields}

    def cut(self, observation: np.ndarray, transitions: Transitions) -> tuple[Rows, Places]:
        """The items of one episode, given as to `datasets.replay.Writer.write`."""
        ahead = feeds.n_step(transitions, self.n_step, self.gamma)
        rows = {"observation": observation} | {k: getattr(ahead, k) for k in ("action", "reward", "discount")}
        places: Places = []
        for t, after in enumerate((ahead.next_frame - ahead.frame[0]).tolist()):
            places.append({name: (name, t) for name in rows} | {"next_observation": ("observation", after)})
        return rows, places


@dataclasses.dataclass(frozen=True)
class StretchItems:
    """Each item is a stretch of so many transitions of one step; a shorter episode is one item, padded.

    Fields are those of `SequenceBatch`, but for where a transition leads, which is the next observation.
    """

    length: int

    def signature(self, observation_size: int, action_size: int) -> dict[str, tf.TensorSpec]:
        """Shapes of an item, time first."""
        sizes = {"observation": [self.length + 1, observation_size], "action": [self.length, action_size]}
        names = [name for name in SequenceBatch._fields if name != "reached"]
        types = {"mask": tf.bool}
        return {name: tf.TensorSpec(sizes.get(name, [self.length]), types.get(name, tf.float32)) for name in names}

    def cut(self, observation: np.ndarray, transitions: Transitions) -> tuple[Rows, Places]:
        """The items of one episode, given as to `datasets.replay.Writer.write`."""
        lack = max(0, self.length - len(transitions))
        rows = {
            "observation": np.pad(observation, [(0, lack), (0, 0)], mode="edge"),
            "action": np.pad(transitions.action, [(0, lack), (0, 0)], mode="edge"),
            "reward": np.pad(transitions.reward, (0, lack)),
            "discount": np.pad(transitions.discount, (0, lack)),
            "mask": np.pad(np.ones(len(transitions), bool), (0, lack)),
        }
        return rows, [
            {name: (name, list(range(t, t + self.length + (name == "observation")))) for name in rows}
            for t in sequences.starts(transitions, self.length).tolist()
        ]
