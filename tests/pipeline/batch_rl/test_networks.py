"""Critics."""

import numpy as np
import pytest
import tensorflow as tf

from pipeline.batch_rl.config import SCALAR_TWINS, CriticConfig
from pipeline.batch_rl.critics import make_critic


@pytest.mark.parametrize("config", [CriticConfig(), CriticConfig(distributional=False), SCALAR_TWINS])
def test_values_are_those_of_each_state_with_each_of_its_own_actions(config):
    rng = np.random.default_rng(0)
    observation = rng.normal(size=(5, 3)).astype(np.float32)
    actions = rng.uniform(-1, 1, (5, 4, 2)).astype(np.float32)
    tf.random.set_seed(0)
    critic = make_critic(config, 0.9)
    pairs = critic(np.repeat(observation, 4, axis=0), actions.reshape(20, 2))  # one large batch
    expected = critic.mean(pairs).numpy().reshape(5, 4)
    assert np.ptp(expected, axis=1).min() > 1e-3
    np.testing.assert_allclose(critic.values(observation, actions), expected, rtol=1e-5, atol=1e-5)
