import dataclasses

import numpy as np
import pytest
import tensorflow as tf

from datasets.errors import ArmchairError
from datasets.feeds import Group, TransitionFeed, Transitions
from pipeline.batch_rl.config import CriticConfig, FqeConfig
from pipeline.batch_rl.fqe import FqeLearner

STATES, GAMMA = 4, 0.8
REWARD = np.float32([0.0, 0.2, 0.0, 1.0])  # for arriving
CONFIG = FqeConfig(critic=CriticConfig((32, 32), atoms=31), critic_learning_rate=2e-3, gamma=GAMMA, target_period=20)
SCALAR = dataclasses.replace(CONFIG, critic=CriticConfig((32, 32), distributional=False))


def _moves(state: int, action: float) -> int:
    """A ring of four states: an action above 0 goes forward, another one back."""
    return (state + (1 if action > 0 else -1)) % STATES


def _true_values(policy: np.ndarray) -> np.ndarray:
    """Of acting by `policy` (an action for each state) for ever: the Bellman equation, solved."""
    moves = np.zeros((STATES, STATES))
    for state, action in enumerate(policy):
        moves[state, _moves(state, action)] = 1
    return np.linalg.solve(np.eye(STATES) - GAMMA * moves, moves @ REWARD)


def _ring(policy: np.ndarray, count: int = 600, seed: int = 0) -> tuple[FqeConfig, Transitions, np.ndarray]:
    """Random walks, logged: their transitions, and what the policy that is judged would do in every frame."""
    rng = np.random.default_rng(seed)
    states, actions = [0], rng.choice([-1.0, -0.5, 0.5, 1.0], count)
    for action in actions:
        states.append(_moves(states[-1], action))
    one_hot = np.eye(STATES, dtype=np.float32)[states]  # [F, S]
    frame = np.arange(count, dtype=np.int32)
    transitions = Transitions(
        {"state": one_hot}, frame, frame + 1, np.float32(actions)[:, None], REWARD[states[1:]],
        np.ones(count, np.float32), np.zeros(count, np.int32), ("walk",), {},
    )  # fmt: skip
    return transitions, np.concatenate([one_hot, np.float32(policy)[states][:, None]], 1)


def _learn(config: FqeConfig, policy: np.ndarray, steps: int) -> FqeLearner:
    transitions, frames = _ring(policy)
    group = Group(np.arange(len(transitions), dtype=np.int32), 64)
    tf.random.set_seed(0)
    learner = FqeLearner(config, TransitionFeed(tf.constant(frames), transitions, [group], 0), STATES, 1, 0)
    learner.run(steps)
    return learner


@pytest.mark.parametrize("config", [CONFIG, SCALAR], ids=["distributional", "scalar"])
@pytest.mark.parametrize("policy", [[1, 1, 1, 1], [-1, -1, -1, -1], [1, 1, 1, -1]], ids=["forward", "back", "stays"])
def test_values_are_those_of_the_tabular_mdp(config, policy):
    """The data are a random walk's; the values are the judged policy's."""
    learner = _learn(config, np.float32(policy), 1_500)
    found = learner.value(np.eye(STATES, dtype=np.float32), np.float32(policy)[:, None], np.zeros((STATES, 0))).numpy()
    np.testing.assert_allclose(found, _true_values(np.float32(policy)), atol=0.12)  # of values up to 2.8


def test_reports_what_it_documents_and_the_seed_decides_everything():
    one, same = (_learn(SCALAR, np.ones(STATES), 20) for _ in range(2))
    metrics = one.run(5)
    assert metrics.keys() == one.METRICS.keys()
    assert metrics == same.run(5)


def test_rewards_it_cannot_learn_from():
    learner = _learn(CONFIG, np.ones(STATES), 1)
    with pytest.raises(ArmchairError, match="every reward is 0"):
        learner.check_rewards(np.zeros(3, np.float32))
