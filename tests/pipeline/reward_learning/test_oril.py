"""ORIL: exact batches, what is logged, and the regulariser against what tells demonstrations apart by chance."""

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from datasets.features import ArraySpec
from pipeline.reward_learning import losses
from pipeline.reward_learning.config import EarlyFrames, OrilConfig
from pipeline.reward_learning.data import Frames
from pipeline.reward_learning.fit import Trainer, fit, rate
from pipeline.reward_learning.oril import OrilLearner
from pipeline.reward_learning.supervision import Supervision

FRAMES = Frames({}, {}, {"a": range(30), "b": range(30, 60), "c": range(60, 65)})
SUPERVISION = Supervision(FRAMES, (), ("a",), ("b", "c"))


@given(st.integers(0, 1000), st.sampled_from([7, 32, 128]))
def test_batches_are_exact(step, batch_size):
    frames = OrilLearner(SUPERVISION, OrilConfig(batch_size=batch_size)).batch(step)["frames"]
    expert, unlabelled = batch_size - batch_size // 2, batch_size // 2
    early = expert // 2, unlabelled // 2
    assert len(frames) == batch_size + sum(early)
    groups = np.split(frames, np.cumsum([expert, unlabelled, early[0]]))
    assert (groups[0] < 30).all() and (groups[1] >= 30).all()
    assert (groups[2] < 10).all()  # of each episode the first ten, or all where it has fewer
    assert all(30 <= f < 40 or 60 <= f < 65 for f in groups[3])


@pytest.mark.parametrize("positive_unlabelled", [True, False])
def test_loss_without_regulariser_is_the_papers(positive_unlabelled):
    config = OrilConfig(batch_size=4, regulariser=EarlyFrames.NONE, positive_unlabelled=positive_unlabelled)
    learner = OrilLearner(SUPERVISION, config)
    expert, unlabelled = tf.constant([1.2, -0.3]), tf.constant([-0.5, 0.8])
    parts = learner.loss(tf.concat([expert, unlabelled], 0), {})
    assert parts["loss"].numpy() == pytest.approx(0.59760 if positive_unlabelled else 1.38141, abs=2e-5)
    assert parts["expert"].numpy() == pytest.approx(tf.sigmoid(expert).numpy().mean())
    assert parts["clipped"] == 0
    assert set(parts) == set(learner.parts)


def test_the_clip_is_seen():
    learner = OrilLearner(SUPERVISION, OrilConfig(batch_size=4, regulariser=EarlyFrames.NONE))
    assert learner.loss(tf.constant([9.0, 9.0, -9.0, -9.0]), {})["clipped"] == 1


def test_the_regulariser_is_added():
    expert, unlabelled, early, other = ([1.2, -0.3], [-0.5, 0.8], [2.0], [-1.0])
    to_zero = np.log1p(np.exp([2.0, -1.0])).sum()
    reversed_loss = losses.constraint_loss(tf.constant(early), tf.constant(other)).numpy()
    for regulariser, term in ((EarlyFrames.ZERO, to_zero), (EarlyFrames.TRAIL, reversed_loss)):
        learner = OrilLearner(SUPERVISION, OrilConfig(batch_size=4, regulariser=regulariser))
        parts = learner.loss(tf.constant(expert + unlabelled + early + other), {})
        assert parts["loss"].numpy() == pytest.approx(0.59760 + term, abs=2e-5)
        assert parts["early_accuracy"] == 1
        assert set(parts) == set(learner.parts)


def nuisance(seed=0, demonstrations=6, unlabelled=20, steps=30):
    """Episodes of two numbers: progress, and a lamp that burns in every demonstration and nowhere else."""
    rng = np.random.default_rng(seed)
    observation, episodes = [], {}
    for number in range(demonstrations + unlabelled):
        shown = number < demonstrations
        end = 1.0 if shown or number % 4 == 0 else 0.4
        progress = np.linspace(0, end, steps) + 0.02 * rng.normal(size=steps)
        lamp = np.full(steps, float(shown)) + 0.02 * rng.normal(size=steps)
        episodes[f"{'demo' if shown else 'log'}-{number}"] = range(number * steps, (number + 1) * steps)
        observation.append(np.stack([progress, lamp], axis=1).astype(np.float32))
    frames = Frames({"state": ArraySpec((2,), "float32")}, {"state": np.concatenate(observation)}, episodes)
    ids = sorted(episodes)
    return Supervision(frames, (), tuple(i for i in ids if i[0] == "d"), tuple(i for i in ids if i[0] == "l"))


def test_the_regulariser_keeps_the_reward_from_what_does_not_matter(tmp_path):
    supervision = nuisance()
    solved = [f"log-{n}" for n in range(6, 26) if n % 4 == 0]  # unlabelled successes, without the lamp
    failed = [f"log-{n}" for n in range(6, 26) if n % 4]
    rewards = {}
    for regulariser in (EarlyFrames.NONE, EarlyFrames.ZERO):
        config = OrilConfig(
            hidden=(32,), steps=600, learning_rate=1e-3, batch_size=64, held_out=0.0, regulariser=regulariser
        )
        trainer = Trainer(supervision.frames, OrilLearner(supervision, config), config)
        model = fit(trainer, tmp_path / regulariser, "oril")
        rated = rate(model, supervision.frames, supervision.episode_ids)
        begun = np.mean([rated[i][:5] for i in supervision.demonstrations])
        rewards[regulariser] = [begun, *(np.mean([rated[i][-5:] for i in ids]) for ids in (solved, failed))]
    print(rewards)
    begun, done, _ = rewards[EarlyFrames.NONE]
    assert begun > done  # it rewards the lamp, before anything is done, above a success without it
    begun, done, undone = rewards[EarlyFrames.ZERO]
    assert done > 0.5 > max(begun, undone)
