"""The policy at test time whose critic chooses."""

import numpy as np
import pytest
import tensorflow as tf

from datasets import testing
from datasets.errors import ArmchairError
from datasets.features import ArraySpec
from datasets.store import Store
from pipeline import export
from pipeline.batch_rl import trainer
from pipeline.batch_rl.config import (
    CriticConfig,
    CriticWeightedConfig,
    CrrConfig,
    CrrTraining,
    MemoryConfig,
    PolicyConfig,
)
from pipeline.batch_rl.critic_weighted import CriticWeightedPolicy
from pipeline.batch_rl.crr import CrrLearner
from pipeline.batch_rl.saved_policy import ActionRange, save_policy
from pipeline.networks import Normaliser

TWINS = CriticConfig((16,), distributional=False, twin=True)


def _learner(memory: int = 4, samples: int = 8, beta: float = 1.0) -> CrrLearner:
    tf.random.set_seed(0)
    config = CrrConfig(
        policy=PolicyConfig(layer_sizes=(16,), components=2), critic=TWINS, memory=MemoryConfig(memory),
        at_test=CriticWeightedConfig(samples, beta),
    )  # fmt: skip
    return CrrLearner(config, lambda step: None, 3, 2, 0)


def _seen(steps: int, episodes: int = 1) -> tf.Tensor:
    return tf.random.stateless_normal((steps, episodes, 3), (1, 2))


def test_draws_by_softmax_of_the_values():
    """Asked often in one state, it takes an action as often as its value says: here the first entry times ten."""
    learner = _learner(memory=0, samples=4, beta=0.5)
    learner.critic.values = lambda seen, actions, state: actions[..., 0]  # [B, m]
    policy = learner.acting
    count = 3_000
    observation = tf.tile(_seen(1)[0], (count, 1))
    action, _ = tf.function(policy)(observation, policy.initial_state(tf.range(count, dtype=tf.int64)))
    mixture, _ = learner.policy(observation[:1])
    samples = mixture.sample(20_000, tf.constant([1, 2]))[0].numpy().reshape(-1, 4, 2)[..., 0]  # [N, m]
    weights = np.exp(samples / 0.5)
    expected = (weights * samples).sum(1) / weights.sum(1)
    assert action.numpy()[:, 0].mean() == pytest.approx(expected.mean(), abs=0.05)
    assert expected.mean() > samples.mean() + 0.2  # the choice matters


def test_the_seed_and_the_step_decide():
    policy = _learner().acting
    seen = tf.tile(_seen(1), (2, 3, 1))
    first, state = policy(seen[0], policy.initial_state(tf.constant([7, 7, 8], tf.int64)))
    second, _ = policy(seen[1], state)
    np.testing.assert_array_equal(first[0], first[1])
    assert (first[0].numpy() != first[2].numpy()).all()
    assert (second[0].numpy() != first[0].numpy()).all()


def test_the_critic_s_memory_goes_on_with_the_chosen_actions():
    learner = _learner()
    policy, seen = learner.acting, _seen(5, 2)
    state = policy.initial_state(tf.constant([1, 2], tf.int64))
    actions = []
    for step in range(5):
        action, state = policy(seen[step], state)
        actions.append(action)
    of_critic = state[:, learner.policy.state_size : -2]
    np.testing.assert_allclose(of_critic, learner.critic.states(seen, tf.stack(actions))[-1], atol=1e-6)
    np.testing.assert_array_equal(state[:, -2:], [[1, 5], [2, 5]])


def test_an_exported_one_acts_as_in_training_and_along_an_episode(tmp_path):
    learner = _learner()
    normaliser = Normaliser(["seen"], np.zeros(3, np.float32), np.ones(3, np.float32))
    actions = ActionRange(np.float32([-3, -3]), np.float32([3, 3]))
    inputs = {"seen": ArraySpec((3,), "float32")}
    save_policy(tmp_path / "p", "crr", learner.acting, learner.eye, normaliser, actions, inputs, {})
    restored, _ = export.load_model(tmp_path / "p", "policy")
    seen = _seen(6)
    state = restored.initial_state(tf.constant([0], tf.int64))
    acted, expected, own = [], [], learner.acting.initial_state(tf.constant([0], tf.int64))
    for step in range(6):
        action, state = restored.act({"seen": seen[step]}, state)
        acted.append(action[0])
        made, own = learner.acting(seen[step], own)
        expected.append(3 * made[0])
    np.testing.assert_allclose(acted, np.clip(expected, -3, 3), atol=1e-4)
    np.testing.assert_allclose(restored.follow({"seen": seen[:, 0]}), acted, atol=1e-5)


def test_training_leaves_the_critic_with_the_policy_if_asked_for(tmp_path):
    store = Store.create(tmp_path / "store")
    for seed in range(3):
        store.add(testing.make_episode(seed, 12, cameras=()), "fake")
    store.publish()
    sizes = []
    for samples in (0, 4):
        method = CrrConfig(
            policy=PolicyConfig(layer_sizes=(8,)), critic=TWINS, at_test=CriticWeightedConfig(samples=samples)
        )
        config = CrrTraining(
            store=store.root, out=tmp_path / f"{samples}", task="lift_green", steps=1, fused=1, checkpoint_every=1,
            snapshot_every=1, batch_size=8, method=method,
        )  # fmt: skip
        policy, _ = export.load_model(trainer.train(config), "policy")
        sizes.append(policy.initial_state(tf.constant([3], tf.int64)).numpy().tolist())
    assert sizes == [[[]], [[3, 0]]]


def test_only_if_asked_for():
    assert isinstance(_learner().acting, CriticWeightedPolicy)
    alone = _learner(samples=0)
    assert alone.acting is alone.policy
    with pytest.raises(ArmchairError, match="choose nothing"):
        CriticWeightedConfig(samples=-1)
    with pytest.raises(ArmchairError, match="choose nothing"):
        CriticWeightedConfig(beta=0)
