"""Step labels: where they come from, how batches are made of them, and what they teach."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from datasets.rewards import RewardSequence
from pipeline.reward_learning.config import SupAndFlatConfig, SupConfig, TgrConfig
from pipeline.reward_learning.data import Frames
from pipeline.reward_learning.labels import LabelLearner, by_time, flat, of_teaching
from pipeline.reward_learning.supervision import Supervision
from pipeline.reward_learning.train import make_learner

FRAMES = Frames({}, {}, {"a": range(4), "b": range(4, 10), "c": range(10, 13)})
SKETCHES = (
    RewardSequence("a", "lift", np.float32([0, 0.95, 0.97, 1]), "a-1"),
    RewardSequence("b", "lift", np.float32([0.2] * 6), "b-1"),
)


def test_by_time():
    assert by_time(10, 0.5).tolist() == [0] * 5 + [1] * 5
    assert by_time(5, 0.0).tolist() == [1] * 5
    assert by_time(5, 1.0).tolist() == [0] * 5


@given(st.integers(1, 50), st.floats(0, 1))
def test_by_time_is_a_step(num_steps, share):
    labels = by_time(num_steps, share)
    assert labels.shape == (num_steps,) and labels.dtype == np.float32
    assert np.all(np.diff(labels) >= 0) and set(labels) <= {0, 1}


def test_labels_of_what_teaches():
    drawn = of_teaching(Supervision(FRAMES, SKETCHES, (), ("c",)), SupConfig())
    assert {i: v.tolist() for i, v in drawn.items()} == {"a": [0, 0, 1, 1], "b": [0] * 6}  # the comparison is strict
    shown = of_teaching(Supervision(FRAMES, (), ("a", "c"), ("b",)), TgrConfig(success_from=0.5))
    assert {i: v.tolist() for i, v in shown.items()} == {"a": [0, 0, 1, 1], "c": [0, 0, 1]}


@given(st.integers(2, 60), st.integers(0, 100))
def test_half_of_each_batch_is_unlabelled_exactly(batch_size, step):
    supervision = Supervision(FRAMES, SKETCHES, (), ("c",))
    learner = make_learner(supervision, SupAndFlatConfig(batch_size=batch_size))
    batch = learner.batch(step)
    unlabelled = batch["frames"] >= 10
    assert unlabelled.sum() == batch_size // 2 and len(unlabelled) == batch_size
    assert not batch["labels"][unlabelled].any()  # flat
    known = np.float32([0, 0, 1, 1] + [0] * 6)
    np.testing.assert_array_equal(batch["labels"][~unlabelled], known[batch["frames"][~unlabelled]])


def test_flat_without_unlabelled_episodes_is_sup():
    supervision = Supervision(FRAMES, SKETCHES, (), ())
    sup, flat_too = (make_learner(supervision, c(batch_size=32)) for c in (SupConfig, SupAndFlatConfig))
    for step in range(5):
        batches = sup.batch(step), flat_too.batch(step)
        for name in ("frames", "labels"):
            np.testing.assert_array_equal(*(batch[name] for batch in batches))
        logits = tf.random.stateless_normal((32,), (step, 0))
        losses = (
            learner.loss(logits, batch)["loss"].numpy() for learner, batch in zip((sup, flat_too), batches, strict=True)
        )
        assert len(set(losses)) == 1


def test_loss_is_the_mean_cross_entropy():
    supervision = Supervision(FRAMES, SKETCHES, (), ("c",))
    learner = LabelLearner(supervision, of_teaching(supervision, SupConfig()) | flat(supervision), 4, seed=0)
    parts = learner.loss(tf.constant([0.0, 2.0, -1.0, 3.0]), {"labels": tf.constant([1.0, 1.0, 0.0, 0.0])})
    expected = np.log1p(np.exp([0, -2, -1, 3])).mean()
    assert parts["loss"].numpy() == pytest.approx(expected, rel=1e-5)
    assert parts["accuracy"] == 0.5
    assert set(parts) == set(learner.parts)
