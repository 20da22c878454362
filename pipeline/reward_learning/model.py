"""The reward model: pictures and numbers of one frame to a reward in (0, 1)."""

import dataclasses
from collections.abc import Mapping

import numpy as np
import sonnet as snt
import tensorflow as tf

from datasets.features import ArraySpec
from pipeline import export
from pipeline.networks import LayerNormMLP, Normaliser, ResidualEncoder
from pipeline.reward_learning.config import RewardConfig
from pipeline.reward_learning.data import resize


class RewardModel(tf.Module):
    """A residual encoder per camera beside the normalised numbers, a layer-norm MLP, and a sigmoid.

    Non-recurrent, a frame at a time, as recalled of Cabi et al., arXiv 1909.12200 (unverified). Without pictures
    among its inputs it is the states-only model.
    """

    def __init__(self, config: RewardConfig, inputs: Mapping[str, ArraySpec], normaliser: Normaliser):
        """Makes the model and its variables, from `config.seed`.

        Args:
          config: sizes.
          inputs: what it looks at, as it is logged.
          normaliser: of the inputs that are not pictures.
        """
        super().__init__()
        self.inputs = dict(sorted(inputs.items()))
        self._image_size = config.image_size
        self._normaliser = normaliser
        self._cameras = [name for name, spec in self.inputs.items() if spec.is_image]
        self._encoders = [ResidualEncoder(**dataclasses.asdict(config.encoder)) for _ in self._cameras]
        self._trunk = LayerNormMLP(config.hidden)
        self._head = snt.Linear(1, w_init=snt.initializers.TruncatedNormal(stddev=1e-2))  # starts near 0.5 everywhere
        tf.random.set_seed(config.seed)
        self(self._resized({k: tf.zeros((1, *v.shape), v.dtype) for k, v in self.inputs.items()}))

    def __call__(self, observation: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """`{name: [B, ...]}`, pictures of the config's size, to float32[B] in (0, 1)."""
        points = [encoder(observation[c]) for encoder, c in zip(self._encoders, self._cameras, strict=True)]
        features = tf.concat([*points, self._normaliser(observation)], axis=-1)  # [B, D]
        return tf.sigmoid(self._head(self._trunk(features))[:, 0])  # [B]

    def _resized(self, observation: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        return {k: resize(v, self._image_size) if k in self._cameras else v for k, v in observation.items()}

    def for_export(self) -> tf.Module:
        """A module with `predict({name: [B, ...]}) -> float32[B]` of the observations as they are logged."""
        module = tf.Module()
        module.model = self
        module.predict = tf.function(
            lambda observation: self(self._resized(observation)), input_signature=export.input_signature(self.inputs)
        )
        return module


def fit_normaliser(inputs: Mapping[str, ArraySpec], observation: Mapping[str, np.ndarray]) -> Normaliser:
    """The normaliser of the inputs that are not pictures, over all frames `{name: [F, ...]}`."""
    return Normaliser.fit({name: observation[name] for name, spec in inputs.items() if not spec.is_image})
