"""Step labels, from sketches or from time alone, and learning from them: SUP, SUP-and-flat, TGR."""

from collections.abc import Mapping

import numpy as np
import tensorflow as tf

from pipeline.reward_learning import losses
from pipeline.reward_learning.config import SupConfig, TgrConfig
from pipeline.reward_learning.learner import Batch, FrameSampler, halves
from pipeline.reward_learning.supervision import Supervision

Labels = Mapping[str, np.ndarray]
"""Episode id -> float32[T], 1 where a frame is a success and 0 where it is not."""


def by_time(num_steps: int, success_from: float) -> np.ndarray:
    """TGR's labels float32[T] of a demonstration: 0 for t < t0 and 1 from t0 = `success_from` T on."""
    return (np.arange(num_steps) >= round(success_from * num_steps)).astype(np.float32)


def of_teaching(supervision: Supervision, config: SupConfig | TgrConfig) -> dict[str, np.ndarray]:
    """The labels of the episodes that teach: from the mean of their sketches, or for TGR by time."""
    if isinstance(config, TgrConfig):
        episodes = supervision.frames.episodes
        return {i: by_time(len(episodes[i]), config.success_from) for i in supervision.demonstrations}
    drawn = supervision.mean_sketches()
    return {i: (values > config.success_above).astype(np.float32) for i, values in drawn.items()}


def flat(supervision: Supervision) -> dict[str, np.ndarray]:
    """No success at all: what SUP-and-flat and TGR take the unlabelled episodes for."""
    return {i: np.zeros(len(supervision.frames.episodes[i]), np.float32) for i in supervision.unlabelled}


class LabelLearner:
    """Cross-entropy on labelled frames; if there are unlabelled episodes, half of each batch is theirs."""

    parts = ("loss", "accuracy")

    def __init__(self, supervision: Supervision, labels: Labels, batch_size: int, seed: int):
        """Gathers the labels.

        Args:
          supervision: whose episodes are all used.
          labels: of every one of them; those of the unlabelled are somebody's guess.
          batch_size: frames of a batch.
          seed: of the batches.
        """
        frames = supervision.frames
        teaching, unlabelled = frames.of(supervision.teaching), frames.of(supervision.unlabelled)
        self._labels = np.zeros(sum(map(len, frames.episodes.values())), np.float32)  # [F]
        for episode_id in supervision.episode_ids:
            self._labels[frames.of([episode_id])] = labels[episode_id]
        if len(unlabelled):
            self._sampler = FrameSampler([teaching, unlabelled], halves(batch_size), seed)
        else:
            self._sampler = FrameSampler([teaching], [batch_size], seed)

    def batch(self, step: int) -> Batch:
        """`frames` int32[B] and their `labels` float32[B]."""
        frames = self._sampler.sample(step)
        return {"frames": frames, "labels": self._labels[frames]}

    def loss(self, logits: tf.Tensor, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Mean cross-entropy, and the share of frames on the right side of 0.5."""
        right = tf.cast((logits > 0) == (batch["labels"] > 0.5), tf.float32)
        loss = tf.reduce_mean(losses.cross_entropy(logits, batch["labels"]))
        return {"loss": loss, "accuracy": tf.reduce_mean(right)}
