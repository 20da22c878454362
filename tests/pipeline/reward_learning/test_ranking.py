"""Pairs as the ranking loss wants them, and numbers as regression wants them."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp

from datasets.rewards import RewardSequence
from pipeline.reward_learning.config import RegressionConfig
from pipeline.reward_learning.data import Frames
from pipeline.reward_learning.ranking import PairSampler, RegressionLearner
from pipeline.reward_learning.supervision import Supervision

_SKETCHES = st.lists(
    hnp.arrays(np.float32, st.integers(1, 12), elements=st.floats(0, 1, width=16)), min_size=1, max_size=5
)


@given(_SKETCHES, st.integers(0, 1000))
def test_pairs_are_of_one_episode_ordered_and_far_enough_apart(sketches, step):
    first_frame = np.cumsum([0] + [len(s) for s in sketches])[:-1]
    values = np.concatenate(sketches)
    sampler = PairSampler(sketches, first_frame, gap=0.2)
    frames, sketched = sampler.sample(32, seed=1, step=step)
    np.testing.assert_array_equal(sketched, values[frames])
    episode = np.searchsorted(first_frame, frames, side="right") - 1
    np.testing.assert_array_equal(episode[:, 0], episode[:, 1])
    for e, (better, worse) in zip(episode[:, 0], sketched, strict=True):
        possible = (sketches[e][:, None] - sketches[e][None] > 0.2).any()
        assert better - worse > np.float32(0.2) or not possible


def test_pairs_are_uniform_over_sketches_then_over_pairs():
    sketches = [np.float32([0, 0.5, 1.0]), np.float32([0.1, 0.9]), np.float32([0.5, 0.5])]  # 3, 1 and no pairs
    sampler = PairSampler(sketches, [0, 3, 5], gap=0.2)
    assert sampler.num_pairs == 4
    frames, _ = sampler.sample(30000, seed=0, step=0)
    pairs, counts = np.unique(frames, axis=0, return_counts=True)
    shares = {tuple(p): c / 30000 for p, c in zip(pairs.tolist(), counts, strict=True)}
    expected = {(1, 0): 1 / 9, (2, 0): 1 / 9, (2, 1): 1 / 9, (4, 3): 1 / 3}
    expected |= {(i, j): 1 / 12 for i in (5, 6) for j in (5, 6)}
    assert shares == pytest.approx(expected, abs=0.01)


def test_a_batch_depends_on_seed_and_step_alone():
    def draw(seed, step):
        return PairSampler([np.linspace(0, 1, 50, dtype=np.float32)], [0], 0.2).sample(16, seed, step)[0]

    np.testing.assert_array_equal(draw(1, 7), draw(1, 7))
    assert not np.array_equal(draw(1, 7), draw(1, 8))
    assert not np.array_equal(draw(1, 7), draw(2, 7))


def test_regression_asks_for_the_sketched_number_of_the_very_frame():
    curves = {"a": np.float32([0, 0.5, 1]), "b": np.float32([0.25, 0.75])}
    frames = Frames({}, {}, {"b": range(2), "a": range(2, 5)})  # in another order than the sketches
    sketches = tuple(RewardSequence(i, "lift", values, f"{i}-1") for i, values in curves.items())
    learner = RegressionLearner(Supervision(frames, sketches, (), ()), RegressionConfig(batch_size=200))
    batch = learner.batch(3)
    np.testing.assert_array_equal(batch["sketches"], np.float32([0.25, 0.75, 0, 0.5, 1])[batch["frames"]])
    assert set(batch["frames"]) == {0, 1, 2, 3, 4}
    logits = tf.zeros(200)  # predicts 0.5
    expected = np.square(0.5 - batch["sketches"]).mean()
    assert learner.loss(logits, batch)["loss"].numpy() == pytest.approx(expected, rel=1e-5)
