"""A trained policy as a model folder: raw observations in, actions within their bounds out."""

import dataclasses
from collections.abc import Mapping
from pathlib import Path
from typing import Any, Self

import numpy as np
import tensorflow as tf

from datasets.features import ArraySpec
from datasets.sight import Observation
from pipeline import export
from pipeline.batch_rl.eye import Eye
from pipeline.batch_rl.policies import Policy
from pipeline.networks import Normaliser


@dataclasses.dataclass(frozen=True, eq=False)
class ActionRange:
    """The range of the logged actions: learners see it as [-1, 1], and a policy never leaves it."""

    minimum: np.ndarray  # float32[A], in the units of the log
    maximum: np.ndarray  # float32[A]

    @classmethod
    def of(cls, actions: np.ndarray) -> Self:
        """The range of float32[N, A]."""
        return cls(actions.min(0), actions.max(0))

    @property
    def _half(self) -> np.ndarray:
        half = (self.maximum - self.minimum) / 2
        return np.where(half > 1e-6, half, 1).astype(np.float32)  # a constant entry stays what it is

    def to_unit(self, actions: np.ndarray) -> np.ndarray:
        """Logged actions, float32[..., A], as numbers in [-1, 1]."""
        return ((actions - self.minimum) / self._half - (self.maximum > self.minimum)).astype(np.float32)

    def from_unit(self, actions: tf.Tensor) -> tf.Tensor:
        """The inverse of `to_unit`, clipped to the range."""
        scaled = (actions + (self.maximum > self.minimum)) * self._half + self.minimum
        return tf.clip_by_value(scaled, self.minimum, self.maximum)


class ExportedPolicy(tf.Module):
    """What the policy does when nothing is left to chance; its state holds what it remembers of the episode.

    - `act({name: [B, ...]}, state) -> (float32[B, A], state)`
    - `initial_state(int64[B]) -> state`, for the beginning of an episode each, from its seed
    - `follow({name: [T, ...]}) -> float32[T, A]`: what it would do in each frame of an episode, from its beginning
    """

    def __init__(
        self, policy: Policy, eye: Eye, normaliser: Normaliser, actions: ActionRange, inputs: Mapping[str, ArraySpec]
    ):
        """Joins what training kept apart."""
        super().__init__()
        self._policy, self._eye, self._normaliser, self._actions = policy, eye, normaliser, actions
        self._cameras = [name for name, spec in inputs.items() if spec.is_image]
        observation = export.input_signature(inputs)
        state = tf.TensorSpec((None, policy.state_size), tf.float32, "state")
        self.act = tf.function(self._act, input_signature=[*observation, state])
        self.initial_state = tf.function(
            self._initial_state, input_signature=[tf.TensorSpec((None,), tf.int64, "seeds")]
        )
        self.follow = tf.function(self._follow, input_signature=observation)

    def _act(self, observation: Mapping[str, tf.Tensor], state: tf.Tensor) -> tuple[tf.Tensor, tf.Tensor]:
        made, after = self._policy(self._see(observation), state)
        return self._actions.from_unit(self._policy.best(made)), after

    def _see(self, observation: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """float32[B, D], as in training."""
        vector = self._normaliser(observation)
        if not self._cameras:
            return vector
        return self._eye(Observation(vector, {camera: observation[camera] for camera in self._cameras}))

    def _initial_state(self, seeds: tf.Tensor) -> tf.Tensor:
        return self._policy.initial_state(seeds)

    def _follow(self, observation: Mapping[str, tf.Tensor]) -> tf.Tensor:
        frames = self._see(observation)[:, None]  # [T, 1, D]
        made = self._policy.unroll(frames, lambda hidden: hidden[:, 0])
        return self._actions.from_unit(self._policy.best(made))


def save_policy(
    path: Path,
    name: str,
    policy: Policy,
    eye: Eye,
    normaliser: Normaliser,
    actions: ActionRange,
    inputs: Mapping[str, ArraySpec],
    card: Mapping[str, Any],
) -> Path:
    """Writes the policy with its card.

    Args:
      path: of the model folder.
      name: of the algorithm; with the hash of the weights it makes the policy's id, "<name>-<8 hex digits>".
      policy: the trained network.
      eye: through which it sees.
      normaliser: of its observations.
      actions: their range.
      inputs: shape and dtype of each observation, as logged.
      card: what else is known: task, rewards, data, config, step.
    """
    model_hash = export.fingerprint([*normaliser.variables, *eye.variables, *policy.variables])
    own = {
        "kind": "policy",
        "policy_id": f"{name}-{model_hash[:8]}",
        "model_hash": model_hash,
        "inputs": export.inputs_card(inputs),
        "action": {
            "shape": list(actions.minimum.shape),
            "minimum": actions.minimum.tolist(),
            "maximum": actions.maximum.tolist(),
        },
    }
    return export.save_model(path, ExportedPolicy(policy, eye, normaliser, actions, inputs), {**card, **own})
