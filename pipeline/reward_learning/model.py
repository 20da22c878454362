"""The reward model: pictures and numbers of one frame to a reward in [0, 1]; alone, or the mean of several."""

import dataclasses
from collections.abc import Mapping, Sequence

import numpy as np
import sonnet as snt
import tensorflow as tf

from datasets.features import ArraySpec
from pipeline import export
from pipeline.networks import LayerNormMLP, Normaliser, ResidualEncoder, resize
from pipeline.reward_learning.config import FittedConfig


class RewardModel(tf.Module):
    """A residual encoder per camera beside the normalised numbers, a layer-norm MLP, and a sigmoid.

    Non-recurrent, a frame at a time, as recalled of Cabi et al., arXiv 1909.12200 (unverified). Without pictures
    among its inputs it is the states-only model.
    """

    def __init__(self, config: FittedConfig, inputs: Mapping[str, ArraySpec], normaliser: Normaliser):
        """Makes the model and its variables, from `config.seed`.

        Args:
          config: sizes and the seed.
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
        self(self.sized({k: tf.zeros((1, *v.shape), v.dtype) for k, v in self.inputs.items()}))

    def logits(self, observation: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """`{name: [B, ...]}`, pictures of the config's size, to float32[B]."""
        points = [encoder(observation[c]) for encoder, c in zip(self._encoders, self._cameras, strict=True)]
        features = tf.concat([*points, self._normaliser(observation)], axis=-1)  # [B, D]
        return self._head(self._trunk(features))[:, 0]  # [B]

    def __call__(self, observation: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """`{name: [B, ...]}`, pictures of the config's size, to rewards float32[B] in (0, 1)."""
        return tf.sigmoid(self.logits(observation))

    def sized(self, observation: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The observations as they are logged, with their pictures resized to the config's size."""
        return {k: resize(v, self._image_size) if k in self._cameras else v for k, v in observation.items()}


class Ensemble(tf.Module):
    """The mean of one or more models that look at the same observations, for export."""

    def __init__(self, members: Sequence[RewardModel], threshold: float | None = None):
        """Makes `predict` and `disagreement`, functions of the observations as they are logged.

        Args:
          members: of one config but for their seeds.
          threshold: if given, the reward is 1 where the mean is greater, and 0 elsewhere.
        """
        super().__init__()
        self.members = list(members)
        self._threshold = threshold
        signature = export.input_signature(members[0].inputs)
        self.predict = tf.function(self._predict, input_signature=signature)
        self.disagreement = tf.function(self._disagreement, input_signature=signature)

    def _predict(self, observation: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """`{name: [B, ...]}` to float32[B] in [0, 1]."""
        mean = tf.reduce_mean(self._all(observation), axis=0)  # [B]
        return mean if self._threshold is None else tf.cast(mean > self._threshold, tf.float32)

    def _disagreement(self, observation: Mapping[str, tf.Tensor]) -> tf.Tensor:
        """`{name: [B, ...]}` to the members' standard deviation float32[B]; 0 for a single one."""
        return tf.math.reduce_std(self._all(observation), axis=0)

    def _all(self, observation: Mapping[str, tf.Tensor]) -> tf.Tensor:
        sized = self.members[0].sized(observation)
        return tf.stack([member(sized) for member in self.members])  # [M, B]


class Constant(tf.Module):
    """A reward that is 0 whatever it is shown: what SQIL says of every frame that is not demonstrated."""

    def __init__(self, inputs: Mapping[str, ArraySpec]):
        """Makes `predict`, a function of the observations as they are logged."""
        super().__init__()
        self.predict = tf.function(
            lambda observation: tf.zeros(tf.shape(next(iter(observation.values())))[0]),
            input_signature=export.input_signature(inputs),
        )


def fit_normaliser(inputs: Mapping[str, ArraySpec], observation: Mapping[str, np.ndarray]) -> Normaliser:
    """The normaliser of the inputs that are not pictures, over all frames `{name: [F, ...]}`."""
    return Normaliser.fit({name: observation[name] for name, spec in inputs.items() if not spec.is_image})
