import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from pipeline.batch_rl import losses
from pipeline.batch_rl.config import AdvantageMode, WeightMode
from pipeline.batch_rl.losses import Atoms
from pipeline.distributions import GaussianMixture

ATOMS = Atoms(0.0, 100.0, 21)  # 5 apart


def _at(masses: dict[float, float]) -> np.ndarray:
    row = np.zeros(ATOMS.count, np.float32)
    for value, mass in masses.items():
        row[round(value / ATOMS.spacing)] = mass
    return row


def _project(p: np.ndarray, reward: float, discount: float) -> np.ndarray:
    return losses.project(ATOMS, p[None], tf.constant([reward]), tf.constant([discount])).numpy()[0]


class TestProject:
    def test_hand_worked_shift(self):
        projected = _project(_at({20: 0.5, 50: 0.5}), 1.0, 0.99)
        np.testing.assert_allclose(projected, _at({20: 0.42, 25: 0.08, 45: 0.0, 50: 0.45, 55: 0.05}), atol=1e-6)
        assert projected @ ATOMS.values.numpy() == pytest.approx(35.65, abs=1e-4)

    def test_hand_worked_terminal(self):
        np.testing.assert_allclose(_project(_at({80: 1}), 3.0, 0.0), _at({0: 0.4, 5: 0.6}), atol=1e-6)

    def test_below_the_support_everything_lands_on_the_lowest_atom(self):
        np.testing.assert_allclose(_project(_at({80: 0.3, 5: 0.7}), -7.0, 0.0), _at({0: 1}), atol=1e-6)

    def test_above_the_support_everything_lands_on_the_highest_atom(self):
        np.testing.assert_allclose(_project(_at({100: 1}), 5.0, 1.0), _at({100: 1}), atol=1e-6)

    @settings(max_examples=25, deadline=None)
    @given(seed=st.integers(0, 2**31), count=st.integers(2, 60), low=st.floats(-50, 0), width=st.floats(1, 200))
    def test_equals_brute_force_sums_to_one_and_follows_permutations(self, seed, count, low, width):
        rng, atoms, batch = np.random.default_rng(seed), Atoms(low, low + width, count), 9
        p = rng.dirichlet(np.ones(count), batch).astype(np.float32)
        reward = rng.uniform(low - width, low + width, batch).astype(np.float32)
        discount = rng.choice([0.0, 0.5, 0.99, 1.0], batch).astype(np.float32)
        projected = losses.project(atoms, p, reward, discount).numpy()

        z = np.linspace(low, low + width, count)
        shifted = np.clip(reward[:, None] + discount[:, None] * z, low, low + width)  # [B, L]
        closeness = np.clip(1 - np.abs(shifted[:, :, None] - z) / atoms.spacing, 0, 1)  # [B, L, L]
        np.testing.assert_allclose(projected, np.einsum("bj,bji->bi", p, closeness), atol=2e-4)
        np.testing.assert_allclose(projected.sum(1), 1, atol=1e-5)
        order = rng.permutation(batch)
        np.testing.assert_array_equal(losses.project(atoms, p[order], reward[order], discount[order]), projected[order])

    @pytest.mark.parametrize("where", ["probabilities", "reward", "discount"])
    def test_a_row_with_nan_shows_it_and_spoils_no_other(self, where):
        p = np.stack([_at({20: 1}), _at({20: 1})])
        given = {"probabilities": p, "reward": np.float32([1, 1]), "discount": np.float32([0.5, 0.5])}
        given[where][0] = np.nan
        spoilt, whole = losses.project(ATOMS, **given).numpy()
        assert np.isnan(spoilt).any()
        np.testing.assert_allclose(whole, _at({10: 0.8, 15: 0.2}), atol=1e-6)


class TestPolicyGradientLoss:
    def test_its_gradient_is_minus_the_value_s(self):
        """With a quadratic value whose gradient is known, and clipping out of reach."""
        theta = tf.Variable([[0.3, -0.2], [0.1, 0.4]])
        goal = tf.constant([[1.0, 0.0], [0.5, 0.5]])
        with tf.GradientTape() as tape:
            action = tf.tanh(theta)
            loss = losses.policy_gradient_loss(action, goal - action, 100.0)
        with tf.GradientTape() as direct:
            value = -tf.reduce_mean(tf.reduce_sum(tf.square(goal - tf.tanh(theta)), -1)) / 2
        np.testing.assert_allclose(tape.gradient(loss, theta), -direct.gradient(value, theta), rtol=1e-5)

    def test_each_row_is_clipped_on_its_own(self):
        action = tf.Variable(tf.zeros((2, 2)))
        with tf.GradientTape() as tape:
            loss = losses.policy_gradient_loss(action, tf.constant([[30.0, 40.0], [0.3, 0.4]]), 1.0)
        assert float(loss) == pytest.approx((1**2 + 0.5**2) / 2 / 2)
        np.testing.assert_allclose(tape.gradient(loss, action), [[-0.3, -0.4], [-0.15, -0.2]], rtol=1e-6)


class TestCriticLoss:
    def test_cross_entropy_by_hand(self):
        target = np.float32([[0.25, 0.75]])
        loss = losses.critic_loss(tf.math.log([[0.5, 0.5]]), target)
        assert float(loss) == pytest.approx(np.log(2), abs=1e-6)

    def test_target_gets_no_gradient(self):
        target = tf.constant([[0.25, 0.75]])
        with tf.GradientTape() as tape:
            tape.watch(target)
            loss = losses.critic_loss(tf.constant([[0.1, 0.2]]), target)
        assert tape.gradient(loss, target) is None


class TestExpectileLoss:
    def test_a_half_is_half_the_squared_error(self):
        value, target = tf.constant([[1.0], [4.0]]), tf.constant([[2.0], [2.0]])
        assert float(losses.expectile_loss(value, target, 0.5)) == pytest.approx((1 + 4) / 2 / 2)

    def test_errors_from_below_count_more(self):
        below = losses.expectile_loss(tf.constant([0.0]), tf.constant([1.0]), 0.9)
        above = losses.expectile_loss(tf.constant([1.0]), tf.constant([0.0]), 0.9)
        assert (float(below), float(above)) == pytest.approx((0.9, 0.1))

    @settings(max_examples=20, deadline=None)
    @given(seed=st.integers(0, 2**31), expectile=st.floats(0.05, 0.95))
    def test_its_minimum_is_the_expectile(self, seed, expectile):
        """There, the weighted errors from below and from above are equal."""
        targets = np.random.default_rng(seed).normal(size=50)
        low, high = targets.min(), targets.max()
        for _ in range(60):
            middle = (low + high) / 2
            pull = (
                expectile * np.maximum(targets - middle, 0).sum()
                - (1 - expectile) * np.maximum(middle - targets, 0).sum()
            )
            low, high = (middle, high) if pull > 0 else (low, middle)
        value = tf.Variable(tf.fill((50,), np.float32(middle)))
        with tf.GradientTape() as tape:
            loss = losses.expectile_loss(value, tf.constant(targets, tf.float32), expectile)
        assert float(tf.reduce_sum(tape.gradient(loss, value))) == pytest.approx(0, abs=1e-5)

    def test_targets_are_fixed(self):
        value, target = tf.Variable([1.0]), tf.Variable([2.0])
        with tf.GradientTape() as tape:
            loss = losses.expectile_loss(value, target, 0.7)
        assert tape.gradient(loss, target) is None


class TestTd3BcLoss:
    def test_hand_worked(self):
        """Values 2 and -4 have the mean -1 and the size 3."""
        loss = losses.td3_bc_loss(tf.constant([2.0, -4.0]), tf.constant(0.25), 2.5)
        assert float(loss) == pytest.approx(0.25 + 2.5 / 3)

    def test_the_scale_of_values_does_not_matter_and_has_no_gradient(self):
        gradients = []
        for scale in (1.0, 1_000.0):
            value = tf.Variable([2.0, -4.0])
            with tf.GradientTape() as tape:
                loss = losses.td3_bc_loss(scale * value, tf.constant(0.0), 2.5)
            gradients.append(tape.gradient(loss, value).numpy())
        np.testing.assert_allclose(gradients[0], [-2.5 / 3 / 2] * 2, rtol=1e-6)
        np.testing.assert_allclose(gradients[0], gradients[1], rtol=1e-5)

    def test_values_of_nothing(self):
        assert float(losses.td3_bc_loss(tf.zeros(3), tf.constant(0.5), 2.5)) == 0.5


class TestWeights:
    Q, SAMPLES = tf.constant([1.0]), tf.constant([[0.4, 0.9, 1.3, -0.2]])

    def test_mean_advantage(self):
        advantage = losses.advantage(AdvantageMode.MEAN, self.Q, self.SAMPLES)
        assert float(advantage[0]) == pytest.approx(0.4)
        assert float(losses.weights(WeightMode.EXP, advantage, 1.0, 20.0)[0]) == pytest.approx(1.49182, abs=1e-5)
        assert float(losses.weights(WeightMode.BINARY, advantage, 1.0, 20.0)[0]) == 1

    def test_max_advantage(self):
        advantage = losses.advantage(AdvantageMode.MAX, self.Q, self.SAMPLES)
        assert float(advantage[0]) == pytest.approx(-0.3)
        assert float(losses.weights(WeightMode.BINARY, advantage, 1.0, 20.0)[0]) == 0

    def test_min_advantage(self):
        assert float(losses.advantage(AdvantageMode.MIN, self.Q, self.SAMPLES)[0]) == pytest.approx(1.2)

    @pytest.mark.parametrize("advantage", [10.0, 1e6])
    def test_exp_is_capped(self, advantage):
        assert float(losses.weights(WeightMode.EXP, tf.constant([advantage]), 1.0, 20.0)[0]) == 20

    def test_binary_is_strict(self):
        assert float(losses.weights(WeightMode.BINARY, tf.constant([0.0]), 1.0, 20.0)[0]) == 0

    @pytest.mark.parametrize("mode", list(WeightMode))
    def test_no_gradient_through_weights(self, mode):
        advantage = tf.constant([0.3, -0.5])
        with tf.GradientTape() as tape:
            tape.watch(advantage)
            weight = losses.weights(mode, advantage, 1.0, 20.0)
            loss = losses.weighted_imitation_loss(tf.constant([0.1, 0.2]), weight)
        assert tape.gradient(loss, advantage) is None

    def test_all_is_behaviour_cloning_exactly(self):
        log_prob = tf.random.stateless_normal((256,), (0, 1)) * 7
        weight = losses.weights(WeightMode.ALL, tf.random.stateless_normal((256,), (0, 2)), 1.0, 20.0)
        assert float(losses.weighted_imitation_loss(log_prob, weight)) == float(losses.imitation_loss(log_prob))


class TestGaussianMixture:
    def _mixture(self) -> GaussianMixture:
        logits, mean = tf.math.log([[0.2, 0.8]]), tf.constant([[[-1.0, 0.0], [2.0, 0.5]]])
        return GaussianMixture(logits, mean, tf.constant([[[0.5, 1.0], [0.3, 0.2]]]))

    def test_log_prob_by_hand(self):
        def normal(x, mean, scale):
            return np.exp(-0.5 * ((x - mean) / scale) ** 2) / (scale * np.sqrt(2 * np.pi))

        density = 0.2 * normal(1.8, -1, 0.5) * normal(0.4, 0, 1) + 0.8 * normal(1.8, 2, 0.3) * normal(0.4, 0.5, 0.2)
        assert float(self._mixture().log_prob(tf.constant([[1.8, 0.4]]))[0]) == pytest.approx(np.log(density), abs=1e-5)

    def test_samples_have_the_mixture_s_moments_and_follow_the_seed(self):
        samples = self._mixture().sample(20_000, tf.constant([3, 4])).numpy()  # [1, 20000, 2]
        assert samples.shape == (1, 20_000, 2)
        np.testing.assert_allclose(samples[0].mean(0), [0.2 * -1 + 0.8 * 2, 0.4], atol=0.05)
        assert (samples[0, :, 0] < 0.5).mean() == pytest.approx(0.2, abs=0.02)
        np.testing.assert_array_equal(samples, self._mixture().sample(20_000, tf.constant([3, 4])))

    def test_best_mean_is_a_mode_not_the_average(self):
        np.testing.assert_allclose(self._mixture().best_mean(), [[2.0, 0.5]])
