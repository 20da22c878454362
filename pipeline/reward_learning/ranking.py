"""Sketch ranking, and its ablation sketch regression: what a person drew, as order or as numbers."""

from collections.abc import Mapping, Sequence

import numpy as np
import tensorflow as tf

from datasets.errors import ArmchairError
from pipeline.reward_learning import losses
from pipeline.reward_learning.config import RankingConfig, RegressionConfig
from pipeline.reward_learning.learner import Batch, FrameSampler
from pipeline.reward_learning.supervision import Supervision


class RankingLearner:
    """Pairs of frames of one episode, in the order that a person drew. See `RankingConfig`."""

    parts = ("loss", "loss/ranking", "loss/threshold", "pair_accuracy")

    def __init__(self, supervision: Supervision, config: RankingConfig):
        """Counts the pairs.

        Raises:
          ArmchairError: if no sketch has two frames whose order it tells.
        """
        self._config = config
        sketches = supervision.sketches
        first_frame = np.array([supervision.frames.episodes[s.episode_id].start for s in sketches])
        self._sampler = PairSampler([s.values for s in sketches], first_frame, config.loss.sketch_gap)
        if not self._sampler.num_pairs:
            raise ArmchairError(
                f"none of the {len(sketches)} sketches has two frames that differ by more than "
                f"{config.loss.sketch_gap}: sketch episodes in which the task gets somewhere"
            )

    def batch(self, step: int) -> Batch:
        """`frames` int32[B, 2], first the better one of each pair, and their `sketches` float32[B, 2]."""
        frames, sketches = self._sampler.sample(self._config.batch_pairs, self._config.seed, step)
        return {"frames": frames, "sketches": sketches}

    def loss(self, logits: tf.Tensor, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """See `losses.sketch_loss`; `pair_accuracy` is the share of pairs that are predicted in order."""
        prediction, sketches = tf.sigmoid(logits), batch["sketches"]  # [B, 2]
        is_pair = tf.cast(sketches[:, 0] - sketches[:, 1] > self._config.loss.sketch_gap, tf.float32)
        is_right = tf.cast(prediction[:, 0] > prediction[:, 1], tf.float32)
        accuracy = tf.math.divide_no_nan(tf.reduce_sum(is_pair * is_right), tf.reduce_sum(is_pair))
        return losses.sketch_loss(prediction, sketches, self._config.loss) | {"pair_accuracy": accuracy}


class RegressionLearner:
    """Single frames, and the number that a person drew there. See `RegressionConfig`."""

    parts = ("loss",)

    def __init__(self, supervision: Supervision, config: RegressionConfig):
        """Lays all sketches end to end."""
        frames = supervision.frames.of(s.episode_id for s in supervision.sketches)  # [N]
        self._frames = frames
        self._values = np.concatenate([s.values for s in supervision.sketches])  # [N]
        self._sampler = FrameSampler([np.arange(len(frames))], [config.batch_size], config.seed)

    def batch(self, step: int) -> Batch:
        """`frames` int32[B] and their `sketches` float32[B]."""
        places = self._sampler.sample(step)
        return {"frames": self._frames[places], "sketches": self._values[places]}

    def loss(self, logits: tf.Tensor, batch: Mapping[str, tf.Tensor]) -> dict[str, tf.Tensor]:
        """Mean squared error."""
        return {"loss": tf.reduce_mean(tf.square(tf.sigmoid(logits) - batch["sketches"]))}


class PairSampler:
    """Draws pairs of frames: a sketch uniformly, then uniformly one of its ordered pairs with a large enough gap.

    A sketch without such a pair (an episode in which nothing happens) gives any two of its frames: its ranking loss
    is zero, but its frames teach what failure or success looks like.
    """

    def __init__(self, sketches: Sequence[np.ndarray], first_frame: np.ndarray, gap: float):
        """Counts the pairs.

        Args:
          sketches: S arrays float32[T_s].
          first_frame: int64[S], index of each one's first frame among all frames.
          gap: mu_s; a pair (t, q) has s(t) - s(q) > gap.
        """
        self._lengths = np.array([len(s) for s in sketches])
        self._first_frame = np.asarray(first_frame)
        self._starts = np.append(0, np.cumsum(self._lengths))[:-1]  # [S]
        self._values = np.concatenate(sketches)  # [N]: all sketched frames, one sketch after the other
        # Sorted by value, the frames that pair with frame t as the worse one are the first `worse[t]` of its sketch.
        self._order = np.concatenate([np.argsort(s, kind="stable") for s in sketches])  # [N]
        worse = np.concatenate([(s[:, None] - s[None] > gap).sum(1) for s in sketches])  # [N]
        self._cumulative = np.append(0, np.cumsum(worse))  # [N + 1]
        ends = self._starts + self._lengths
        self._pairs = self._cumulative[ends] - self._cumulative[self._starts]  # [S]

    @property
    def num_pairs(self) -> int:
        """How many ordered pairs have a large enough gap."""
        return int(self._cumulative[-1])

    def sample(self, batch: int, seed: int, step: int) -> tuple[np.ndarray, np.ndarray]:
        """The batch of one step.

        Returns:
          Frames int32[batch, 2], first the better one of each pair, and their sketched values float32[batch, 2].
        """
        rng = np.random.default_rng([seed, step])
        sketch = rng.integers(len(self._lengths), size=batch)
        start, length, pairs = self._starts[sketch], self._lengths[sketch], self._pairs[sketch]
        chosen = start[:, None] + (rng.random((batch, 2)) * length[:, None]).astype(np.int64)  # [batch, 2], any frames

        paired = pairs > 0
        start, pairs = start[paired], pairs[paired]
        pair = self._cumulative[start] + (rng.random(len(pairs)) * pairs).astype(np.int64)  # which of all pairs
        better = np.searchsorted(self._cumulative, pair, side="right") - 1
        worse = start + self._order[start + pair - self._cumulative[better]]
        chosen[paired] = np.stack([better, worse], axis=1)

        frames = chosen + (self._first_frame - self._starts)[sketch][:, None]
        return frames.astype(np.int32), self._values[chosen]
