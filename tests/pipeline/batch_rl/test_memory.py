"""Learners that remember: unrolled as the papers say, and better than others where one frame does not tell all."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from datasets.errors import ArmchairError
from datasets.feeds import Group, Transitions
from datasets.sequences import SequenceBatch
from pipeline.batch_rl import losses, selection, trainer
from pipeline.batch_rl.config import (
    BcConfig,
    CriticConfig,
    CrrConfig,
    D4pgConfig,
    FqeConfig,
    IqlConfig,
    MemoryConfig,
    PolicyConfig,
    Td3BcConfig,
)
from pipeline.batch_rl.crr import CrrLearner
from pipeline.batch_rl.data import make_feed
from pipeline.batch_rl.fqe import FqeLearner
from pipeline.distributions import GaussianMixture

POLICY = PolicyConfig(layer_sizes=(32,), components=2)
MEMORY = MemoryConfig(size=16, sequence=2, target_sees_all=True)
GAMMA = 0.9
RATES = {"critic_learning_rate": 1e-2, "gamma": GAMMA, "target_period": 10}
CRITIC = CriticConfig((32,), distributional=False)
TWINS = dataclasses.replace(CRITIC, twin=True)


def _maze(count: int = 400) -> tuple[Transitions, np.ndarray]:
    """Frame 0 shows on which side the reward is, -1 or 1; then nothing is seen; the action in frame 1 goes there.

    Logged are random actions. Returns the transitions and what is seen in every frame, float32[F, 1].
    """
    rng = np.random.default_rng(0)
    side, action = rng.choice([-1.0, 1.0], count), rng.choice([-1.0, 1.0], (count, 2))
    seen = np.zeros((count, 3), np.float32)
    seen[:, 0] = side
    reward, discount = np.zeros((count, 2), np.float32), np.ones((count, 2), np.float32)
    reward[:, 1], discount[:, 1] = action[:, 1] == side, 0
    frame = (3 * np.arange(count)[:, None] + np.arange(2)).ravel().astype(np.int32)
    transitions = Transitions(
        {"seen": seen.reshape(-1, 1)}, frame, frame + 1, np.float32(action).reshape(-1, 1), reward.ravel(),
        discount.ravel(), np.repeat(np.arange(count), 2).astype(np.int32), tuple(map(str, range(count))), {},
    )  # fmt: skip
    return transitions, seen.reshape(-1, 1)


CONFIGS = {
    "crr": CrrConfig(policy=POLICY, critic=CRITIC, beta=0.2, policy_learning_rate=1e-2, **RATES),
    "iql": IqlConfig(policy=POLICY, critic=TWINS, beta=0.2, expectile=0.7, policy_learning_rate=1e-2, **RATES),
    "d4pg": D4pgConfig(layer_sizes=(32,), critic=CRITIC, policy_learning_rate=1e-2, n_step=2, **RATES),
    "td3_bc": Td3BcConfig(layer_sizes=(32,), critic=TWINS, policy_learning_rate=1e-2, **RATES | {"target_period": 2}),
}


@pytest.mark.parametrize("remembers", [True, False])
def test_what_was_seen_once_is_known_later_with_a_memory_and_not_without(remembers):
    config = dataclasses.replace(CONFIGS["crr"], memory=MEMORY if remembers else MemoryConfig())
    transitions, seen = _maze()
    whole = Group(np.arange(len(transitions), dtype=np.int32), 64)
    tf.random.set_seed(0)
    feed = make_feed(config, tf.constant(seen), transitions, [whole], 0)
    learner = CrrLearner(config, feed, 1, 1, 0)
    learner.run(800)
    sides = tf.constant([[-1.0], [1.0]])
    _, state = learner.policy(sides)
    made, _ = learner.policy(0 * sides, state)
    goes = np.sign(learner.policy.best(made).numpy()[:, 0])
    assert (goes == [-1, 1]).all() == remembers


@pytest.mark.parametrize("remembers", [True, False])
def test_what_a_policy_is_worth_depends_on_what_it_remembers(remembers):
    """That goes where the first frame showed; then that never does."""
    transitions, seen = _maze()
    side = np.repeat(seen[::3], 3, 0)  # [F, 1]
    memory = MEMORY if remembers else MemoryConfig()
    values = []
    for action in (side, -side):
        config = FqeConfig(critic=CRITIC, memory=memory, **RATES)
        tf.random.set_seed(0)
        whole = Group(np.arange(len(transitions), dtype=np.int32), 64)
        feed = make_feed(config, tf.constant(np.concatenate([seen, action], 1)), transitions, [whole], 0)
        learner = FqeLearner(config, feed, 1, 1, 0)
        learner.run(800)
        found, states = learner.along(tf.constant(seen[:3]), tf.constant(transitions.action[:2]))
        values.append(learner.value(found, tf.constant(action[:3]), states).numpy()[0])
    expected = [GAMMA, 0] if remembers else [GAMMA / 2] * 2
    np.testing.assert_allclose(values, expected, atol=0.1 if remembers else 0.25)


def _stretches() -> SequenceBatch:
    """Five stretches of four transitions, one of them of two."""
    rng = np.random.default_rng(1)
    mask = np.ones((4, 5), bool)
    mask[2:, 3] = False
    inside = mask.astype(np.float32)
    return SequenceBatch(
        tf.constant(rng.standard_normal((5, 5, 2)), tf.float32), tf.constant(rng.uniform(-1, 1, (4, 5, 1)), tf.float32),
        tf.constant(rng.uniform(0, 1, (4, 5)) * inside, tf.float32), tf.constant(inside),
        tf.constant(np.repeat([[1], [2], [3], [4]], 5, 1), tf.int32), tf.constant(mask),
    )  # fmt: skip


def _learner(name: str, sees_all: bool):
    """With a policy that does something, and targets that differ from what they are copies of."""
    critic = CriticConfig((32,), atoms=11)
    memory = MemoryConfig(size=16, target_sees_all=sees_all)
    config = dataclasses.replace(CONFIGS[name], critic=critic, memory=memory)
    tf.random.set_seed(0)
    learner = trainer._LEARNERS[type(config)](config, lambda step: None, 2, 1, 0)
    for seed, module in enumerate((learner.policy, learner._target_policy, learner._target_critic)):
        for variable in module.variables:
            variable.assign_add(0.1 * tf.random.stateless_normal(variable.shape, (3, seed)))
    return learner


class _Unrolled:
    """Step by step, as in Acme's recurrent CRR: empty states at the start, target networks that never see the first
    observation, unless they are to see all. What is made of each step, rows of stretches one after the other.
    """

    def __init__(self, learner, batch: SequenceBatch, sees_all: bool):
        self._valid = batch.mask.numpy().ravel()
        predicted, before, following, own, after = [], [], [], [], []
        critic_state = tf.zeros((5, 32))
        target_state, policy_state, target_policy_state = critic_state, None, None
        if sees_all:
            target_state = self._step(learner._target_critic, batch, 0, target_state)[1]
            _, target_policy_state = learner._target_policy(batch.observation[0])
        for t in range(1, 5):
            if t > 1:
                target_state = self._step(learner._target_critic, batch, t - 1, target_state)[1]
            before.append(critic_state)
            q, critic_state = self._step(learner.critic, batch, t - 1, critic_state)
            predicted.append(q)
            made, target_policy_state = learner._target_policy(batch.observation[t], target_policy_state)
            following.append(made)
            after.append(target_state)
            made, policy_state = learner.policy(batch.observation[t - 1], policy_state)
            own.append(made)
        self.predicted, self.before, self.after = (self.rows(parts) for parts in (predicted, before, after))
        self.following, self.own = self._made(following), self._made(own)
        self.seen, self.led = self.rows(list(batch.observation[:-1])), self.rows(list(batch.observation[1:]))
        self.action = self.rows(list(batch.action))
        self._reward, self._discount = (self.rows(list(part)) for part in (batch.reward, batch.discount))

    def rows(self, parts) -> np.ndarray:
        """Those that belong to a transition."""
        return np.concatenate([np.asarray(part) for part in parts])[self._valid]

    def critic_loss(self, learner, action) -> float:
        """If these actions follow."""
        bootstrapped = learner._target_critic(self.led, action, self.after)
        target = losses.project(learner.critic.atoms, tf.nn.softmax(bootstrapped), self._reward, GAMMA * self._discount)
        return float(losses.critic_loss(self.predicted, target))

    def _made(self, parts):
        if isinstance(parts[0], GaussianMixture):
            return GaussianMixture(*(self.rows(part) for part in zip(*parts, strict=True)))
        return self.rows(parts)

    @staticmethod
    def _step(critic, batch, t, state):
        hidden, after = critic._body(tf.concat([batch.observation[t], batch.action[t]], -1), state)
        return critic._head(hidden), after


@pytest.mark.parametrize("sees_all", [False, True])
def test_recurrent_crr_is_unrolled_as_its_paper_s_code_does_it(sees_all):
    """Samples are judged from the state before the step."""
    learner, batch, key = _learner("crr", sees_all), _stretches(), tf.constant([5, 6], tf.int64)
    config, unrolled = learner._config, _Unrolled(learner, batch, sees_all)
    for_target, for_policy = tf.unstack(tf.random.split(key, 2))
    critic_loss = unrolled.critic_loss(learner, unrolled.following.sample(1, for_target)[:, 0])
    judged = learner.critic.values(unrolled.seen, unrolled.own.sample(config.samples, for_policy), unrolled.before)
    advantage = losses.advantage(config.advantage, learner.critic.mean(unrolled.predicted), judged)
    weight = losses.weights(config.weight, advantage, config.beta, config.cap)
    policy_loss = losses.weighted_imitation_loss(unrolled.own.log_prob(unrolled.action), weight)
    metrics = learner.update(batch, tf.constant(1, tf.int64), key)
    assert float(metrics["critic_loss"]) == pytest.approx(critic_loss, rel=1e-5)
    assert float(metrics["policy_loss"]) == pytest.approx(float(policy_loss), rel=1e-4)
    assert float(metrics["advantage"]) == pytest.approx(float(tf.reduce_mean(advantage)), abs=1e-5)


@pytest.mark.parametrize("sees_all", [False, True])
def test_recurrent_d4pg_is_unrolled_alike(sees_all):
    """The slope that the policy follows is taken in the critic's state before the step."""
    learner, batch = _learner("d4pg", sees_all), _stretches()
    unrolled = _Unrolled(learner, batch, sees_all)
    critic_loss = unrolled.critic_loss(learner, unrolled.following)
    action = tf.constant(unrolled.own)
    with tf.GradientTape() as tape:
        tape.watch(action)
        value = learner.critic.mean(learner.critic(unrolled.seen, action, unrolled.before))
    slope = tf.reduce_mean(tf.norm(tape.gradient(value, action), axis=-1))
    metrics = learner.update(batch, tf.constant(1, tf.int64), tf.constant([5, 6], tf.int64))
    assert float(metrics["critic_loss"]) == pytest.approx(critic_loss, rel=1e-5)
    assert float(metrics["policy_loss"]) == pytest.approx(-float(tf.reduce_mean(value)), rel=1e-5)
    assert float(metrics["action_gradient_norm"]) == pytest.approx(float(slope), rel=1e-4)


def test_what_lies_beyond_an_episode_s_end_teaches_nothing():
    batch = _stretches()
    beyond = ~batch.mask.numpy()  # of two transitions of stretch 3; the observation that ended it counts
    observation = batch.observation.numpy()
    observation[1:][beyond & np.roll(beyond, 1, 0)] = 3
    other = batch._replace(action=tf.where(beyond[..., None], 0.77, batch.action), observation=tf.constant(observation))
    assert (other.observation.numpy() != batch.observation.numpy()).any()
    for config in (*CONFIGS.values(), BcConfig(policy=POLICY)):
        told = []
        for one in (batch, other):
            tf.random.set_seed(0)
            remembering = dataclasses.replace(config, memory=MEMORY)
            learner = trainer._LEARNERS[type(config)](remembering, lambda step: None, 2, 1, 0)
            told.append(learner.update(one, tf.constant(1, tf.int64), tf.constant([5, 6], tf.int64)))
        for name in told[0]:
            assert float(told[0][name]) == pytest.approx(float(told[1][name]), rel=1e-5, abs=1e-7)


@pytest.mark.parametrize("memory", [MEMORY, MemoryConfig()])
def test_transitions_span_n_steps_with_a_memory_and_without(memory):
    """Where a maze of two steps begins, two steps give what its end does; one step gives nothing."""
    transitions, seen = _maze()
    first = Group(transitions.first.astype(np.int32), 64)
    rewards = []
    for n_step in (1, 2):
        config = dataclasses.replace(CONFIGS["d4pg"], memory=memory, n_step=n_step)
        batch = make_feed(config, tf.constant(seen), transitions, [first], 0)(tf.constant(0))
        rewards.append(tf.reshape(batch.reward, (-1, 64))[0].numpy())
    assert not rewards[0].any() and set(rewards[1]) == {0, np.float32(GAMMA)}


def test_a_ranking_follows_every_episode_from_its_own_beginning():
    transitions, seen = _maze(6)
    frames = np.concatenate([seen, np.zeros_like(seen)], 1)
    learner = FqeLearner(FqeConfig(critic=CRITIC, memory=MEMORY, **RATES), lambda step: None, 2, 1, 0)
    found, states = selection._along(learner, transitions, frames)
    assert (len(found), len(states)) == (18, 18)
    for episode in range(6):
        own = slice(3 * episode, 3 * episode + 3)
        action = transitions.action[2 * episode : 2 * episode + 2]
        expected = learner.along(tf.constant(frames[own]), tf.constant(action))
        np.testing.assert_allclose(found[own], expected[0], atol=1e-6)
        np.testing.assert_allclose(states[own], expected[1], atol=1e-6)
    assert (states[0] == 0).all() and (states[3] == 0).all() and (states[1] != 0).any()


def test_sizes_that_mean_nothing():
    with pytest.raises(ArmchairError, match="give 0 or more"):
        MemoryConfig(size=-1)
    with pytest.raises(ArmchairError, match="at least 1"):
        MemoryConfig(sequence=0)
