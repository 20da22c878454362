"""ORIL: frames of demonstrations against unlabelled frames."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from pipeline.reward_learning import losses
from pipeline.reward_learning.config import EarlyFrames, OrilConfig
from pipeline.reward_learning.learner import Batch, FrameSampler, halves
from pipeline.reward_learning.supervision import Supervision


class OrilLearner:
    """See `OrilConfig`. A batch is demonstrated and unlabelled frames, then early ones of both for the regulariser."""

    def __init__(self, supervision: Supervision, config: OrilConfig):
        """Gathers the frames of each kind."""
        self._config = config
        demonstrated, unlabelled = supervision.demonstrations, supervision.unlabelled
        frames = supervision.frames
        groups = [frames.of(demonstrated), frames.of(unlabelled)]
        self._counts = [*halves(config.batch_size)]
        self.parts: tuple[str, ...] = ("loss", "expert", "unlabelled", "clipped")
        if config.regulariser is not EarlyFrames.NONE:
            groups += [_early(supervision, ids, config.early_frames) for ids in (demonstrated, unlabelled)]
            self._counts += [max(1, count // 2) for count in self._counts]
            self.parts += ("early_accuracy",)
        self._sampler = FrameSampler(groups, self._counts, config.seed)

    def batch(self, step: int) -> Batch:
        """`frames` int32[B]."""
        return {"frames": self._sampler.sample(step)}

    def loss(self, logits: tf.Tensor, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """The loss; mean rewards of both kinds, whether the clip is active, and the early frames' accuracy."""
        del batch
        config = self._config
        expert, unlabelled, *early = tf.split(logits, self._counts)
        if config.positive_unlabelled:
            loss = losses.positive_unlabelled_loss(expert, unlabelled, config.eta, config.clip)
            clipped = config.clip & (losses.negative_risk(expert, unlabelled, config.eta) < 0)
        else:
            loss, clipped = losses.plain_loss(expert, unlabelled), tf.constant(False)
        told = {
            "expert": tf.reduce_mean(tf.sigmoid(expert)),
            "unlabelled": tf.reduce_mean(tf.sigmoid(unlabelled)),
            "clipped": tf.cast(clipped, tf.float32),
        }
        if early:
            told["early_accuracy"] = losses.balanced_accuracy(*early)
            if config.regulariser is EarlyFrames.TRAIL:
                loss += losses.constraint_loss(*early)
            else:
                loss += sum(tf.reduce_mean(losses.cross_entropy(some, tf.zeros_like(some))) for some in early)
        return {"loss": loss} | told


def _early(supervision: Supervision, episode_ids: tuple[str, ...], count: int) -> np.ndarray:
    """int32[N]: the first `count` frames of each episode."""
    return np.concatenate([supervision.frames.of([i])[:count] for i in episode_ids])
