"""One battery over every learner, and what is particular to each."""

import dataclasses
import functools
import math

import numpy as np
import pytest
import tensorflow as tf

from datasets import feeds
from datasets.errors import ArmchairError
from datasets.features import ArraySpec
from datasets.feeds import Batch, Transitions
from datasets.sequences import SequenceBatch
from pipeline import export
from pipeline.batch_rl import trainer
from pipeline.batch_rl.config import (
    AdvantageMode,
    BcConfig,
    CriticConfig,
    CrrConfig,
    D4pgConfig,
    IqlConfig,
    MemoryConfig,
    PolicyConfig,
    Td3BcConfig,
    WeightMode,
)
from pipeline.batch_rl.critics import make_critic
from pipeline.batch_rl.crr import CrrLearner
from pipeline.batch_rl.d4pg import D4pgLearner
from pipeline.batch_rl.data import make_feed
from pipeline.batch_rl.iql import IqlLearner
from pipeline.batch_rl.learner import Learner
from pipeline.batch_rl.saved_policy import ActionRange, save_policy
from pipeline.batch_rl.td3_bc import Td3BcLearner
from pipeline.networks import Normaliser

POLICY = PolicyConfig(layer_sizes=(32, 32), components=3)
BC = BcConfig(policy=POLICY, learning_rate=1e-3)
RATES = {"policy_learning_rate": 1e-3, "critic_learning_rate": 1e-3, "gamma": 0.9}
CRR = CrrConfig(policy=POLICY, critic=CriticConfig((32, 32), atoms=21), target_period=10, **RATES)
D4PG = D4pgConfig(layer_sizes=(32, 32), critic=CriticConfig((32, 32), atoms=21), target_period=10, **RATES)
SCALAR = CriticConfig((32, 32), distributional=False)
TWINS = dataclasses.replace(SCALAR, twin=True)
TD3_BC = Td3BcConfig(layer_sizes=(32, 32), critic=TWINS, target_rate=0.1, **RATES)
IQL = IqlConfig(policy=POLICY, critic=TWINS, expectile=0.9, target_rate=0.05, **RATES)
CRR_PLUS = dataclasses.replace(
    CRR, critic=dataclasses.replace(TWINS, expectile=0.7), samples=10, target_period=1, target_rate=0.05
)
CONFIGS = {
    "bc": BC, "crr": CRR, "crr_scalar": dataclasses.replace(CRR, critic=SCALAR), "crr_plus": CRR_PLUS,
    "crr_twin_distributions": dataclasses.replace(CRR, critic=dataclasses.replace(CRR.critic, twin=True)),
    "d4pg": D4PG, "d4pg_scalar": dataclasses.replace(D4PG, critic=SCALAR), "td3_bc": TD3_BC, "iql": IQL,
}  # fmt: skip
MEMORY = MemoryConfig(size=16, sequence=6)
CONFIGS |= {
    "bc_memory": dataclasses.replace(BC, memory=MEMORY), "d4pg_memory": dataclasses.replace(D4PG, memory=MEMORY),
    "iql_memory": dataclasses.replace(IQL, memory=MEMORY),
    "crr_memory": dataclasses.replace(CRR, memory=MEMORY, beta=0.3),
}  # fmt: skip
CRITICS = [name for name in CONFIGS if not name.startswith("bc")]
CLASSES = trainer._LEARNERS
INPUTS = {"position": ArraySpec((1,), "float32"), "speed": ArraySpec((1,), "float32")}


def _corridor(share_right: float = 0.3, episodes: int = 60, steps: int = 15, seed: int = 0) -> Transitions:
    """A corridor from -1 to 1: most of the data walks left, some walks right, and only beyond 0.8 is there a reward."""
    rng = np.random.default_rng(seed)
    frames, actions, rewards = [], [], []
    for _ in range(episodes):
        x, direction = rng.uniform(-0.7, 0.3), 1 if rng.random() < share_right else -1
        frames.append((x, 0.0))
        for _ in range(steps):
            action = np.clip(0.7 * direction + 0.3 * rng.standard_normal(), -1, 1)
            moved = np.clip(x + 0.2 * action, -1, 1)
            frames.append((moved, moved - x))
            actions.append(action)
            rewards.append(moved > 0.8)
            x = moved
    frame = np.concatenate([e * (steps + 1) + np.arange(steps) for e in range(episodes)])
    observation = np.float32(frames)  # [F, 2]
    return Transitions(
        {"position": observation[:, :1], "speed": observation[:, 1:]},
        frame.astype(np.int32),
        frame.astype(np.int32) + 1,
        np.float32(actions)[:, None],
        np.float32(rewards),
        np.ones(len(frame), np.float32),
        np.repeat(np.arange(episodes), steps).astype(np.int32),
        tuple(map(str, range(episodes))),
        INPUTS,
    )


def _make(name: str, transitions: Transitions | None = None, seed: int = 0) -> tuple[Learner, Normaliser]:
    transitions = transitions or _corridor()
    normaliser = Normaliser.fit(transitions.observation)
    groups = feeds.mixture(transitions, [True] * len(transitions.episode_ids), {}, 64)
    tf.random.set_seed(seed)
    config = CONFIGS[name]
    feed = make_feed(config, normaliser(_tensors(transitions.observation)), transitions, groups, seed)
    return CLASSES[type(config)](config, feed, 2, 1, seed), normaliser


def _tensors(observation: dict[str, np.ndarray]) -> dict[str, tf.Tensor]:
    return {k: tf.constant(v) for k, v in observation.items()}


def _fingerprint(learner: Learner) -> str:
    return export.fingerprint(learner.variables)


def _best(learner: Learner, observation: tf.Tensor) -> tf.Tensor:
    made, _ = learner.policy(observation)
    return learner.policy.best(made)


def _reaches_the_end(learner: Learner, normaliser: Normaliser) -> float:
    """Share of 21 starts from which acting by the policy ends in the reward."""
    x, speed = np.linspace(-0.6, 0.3, 21, dtype=np.float32)[:, None], np.zeros((21, 1), np.float32)
    state = None
    for _ in range(20):
        made, state = learner.policy(normaliser(_tensors({"position": x, "speed": speed})), state)
        action = np.clip(learner.policy.best(made), -1, 1)
        moved = np.clip(x + 0.2 * action, -1, 1)
        x, speed = moved, moved - x
    return float(np.mean(x > 0.8))


@functools.cache
def _success(name: str) -> float:
    """Of the policy after 2,000 updates in the corridor."""
    learner, normaliser = _make(name)
    learner.run(2_000)
    return _reaches_the_end(learner, normaliser)


@pytest.mark.parametrize("name", CONFIGS)
class TestEveryLearner:
    def test_counts_learns_and_reports_what_it_documents(self, name):
        learner, _ = _make(name)
        first = learner.run(20)
        assert learner.step == 20
        assert first.keys() == learner.METRICS.keys()
        assert all(math.isfinite(value) for value in first.values())
        learner.run(300)
        falling = "critic_loss" if name.startswith(("d4pg", "td3")) else "policy_loss"  # theirs is minus the value
        assert learner.run(20)[falling] < first[falling]

    def test_seed_and_step_decide_everything_however_it_is_fused_and_resumed(self, name, tmp_path):
        learner, _ = _make(name)
        learner.save(tmp_path / "start")
        learner.run(23)
        whole = _fingerprint(learner)
        learner.restore(tmp_path / "start")
        start = _fingerprint(learner)
        learner.run(4)
        learner.run(7)
        learner.save(tmp_path / "saved")
        resumed, _ = _make(name)
        assert _fingerprint(resumed) == start
        resumed.run(2)  # whatever it was before
        resumed.restore(tmp_path / "saved")
        assert resumed.step == 11
        resumed.run(12)
        assert _fingerprint(resumed) == whole
        other, _ = _make(name, seed=1)
        assert _fingerprint(other) != start
        other.restore(tmp_path / "start")
        other.run(23)
        assert _fingerprint(other) != whole  # though it began with the same weights

    def test_the_exported_policy_acts_like_the_learner_s(self, name, tmp_path):
        learner, normaliser = _make(name)
        learner.run(50)
        actions = ActionRange(np.float32([-0.2]), np.float32([0.4]))
        save_policy(
            tmp_path / "policy", name, learner.policy, learner.eye, normaliser, actions, INPUTS, {"task_id": "corridor"}
        )
        restored, card = export.load_model(tmp_path / "policy", "policy")
        raw = {"position": np.float32([[-0.5], [0.2], [5.0]]), "speed": np.float32([[0.1], [0.0], [-3.0]])}
        acted = restored.act(raw, restored.initial_state(np.zeros(3, np.int64)))[0].numpy()  # [3, 1]
        expected = np.clip(_best(learner, normaliser(_tensors(raw))), -1, 1) * 0.3 + 0.1
        np.testing.assert_allclose(acted, expected, atol=1e-5)
        assert card["policy_id"].startswith(f"{name}-") and card["task_id"] == "corridor"
        assert export.card_inputs(card) == INPUTS

    def test_the_exported_policy_stays_within_the_range_of_the_data(self, name, tmp_path):
        learner, normaliser = _make(name)
        actions = ActionRange(np.float32([-0.2]), np.float32([0.4]))
        for variable in learner.policy.trainable_variables:
            variable.assign(tf.random.stateless_normal(variable.shape, (1, 2)) * 5)  # far outside
        save_policy(tmp_path / "policy", name, learner.policy, learner.eye, normaliser, actions, INPUTS, {})
        restored, _ = export.load_model(tmp_path / "policy", "policy")
        position = np.linspace(-1, 1, 50, dtype=np.float32)[:, None]
        acted = restored.follow({"position": position, "speed": position}).numpy()
        assert acted.min() >= np.float32(-0.2) and acted.max() <= np.float32(0.4)


class TestCheckpointsThatDoNotFit:
    def test_of_other_networks(self, tmp_path):
        _make("bc")[0].save(tmp_path / "saved")
        with pytest.raises(ArmchairError, match="cannot go on from .*saved: it is damaged, or of another version"):
            _make("crr")[0].restore(tmp_path / "saved")

    @pytest.mark.parametrize("suffix", ["index", "data-00000-of-00001"])
    def test_damaged(self, tmp_path, suffix):
        learner, _ = _make("bc")
        learner.save(tmp_path / "saved")
        file = tmp_path / "saved" / f"variables.{suffix}"
        file.write_bytes(file.read_bytes()[:100])
        with pytest.raises(ArmchairError, match="cannot go on from"):
            learner.restore(tmp_path / "saved")


class TestActionRange:
    def test_round_trip(self):
        actions = np.random.default_rng(0).normal(3, [0.1, 2, 50], (100, 3)).astype(np.float32)
        actions[:, 1] = 7  # never moved
        scale = ActionRange.of(actions)
        unit = scale.to_unit(actions)
        np.testing.assert_allclose(unit.min(0), [-1, 0, -1], atol=1e-5)
        np.testing.assert_allclose(unit.max(0), [1, 0, 1], atol=1e-5)
        np.testing.assert_allclose(scale.from_unit(unit), actions, rtol=1e-4, atol=1e-4)


def _batch(size: int = 16) -> Batch:
    rng = np.random.default_rng(0)
    normal = rng.standard_normal((2, size, 2)).astype(np.float32)
    return Batch(
        tf.constant(normal[0]), tf.constant(rng.uniform(-1, 1, (size, 1)), tf.float32),
        tf.constant(rng.uniform(0, 1, size), tf.float32), tf.ones(size), tf.constant(normal[1]),
    )  # fmt: skip


@pytest.mark.parametrize("name", CRITICS)
class TestEveryCritic:
    def test_targets_follow_every_period_and_rest_between(self, name):
        learner, _ = _make(name)
        config = CONFIGS[name]
        pairs = [(learner.critic, learner._target_critic)]
        if not name.startswith("iql"):
            pairs.append((learner.policy, learner._target_policy))
        for online, target in pairs:
            assert _fingerprint(online) == _fingerprint(target)
        for _ in range(25):
            share = config.target_rate if learner.step % config.target_period == 0 else 0
            both = [(t, o) for online, target in pairs for t, o in zip(target.variables, online.variables, strict=True)]
            expected = [(1 - share) * target.numpy() + share * online.numpy() for target, online in both]
            learner.run(1)
            for (target, _), value in zip(both, expected, strict=True):
                np.testing.assert_allclose(target.numpy(), value, rtol=1e-5, atol=1e-7)

    def test_rewards_outside_the_atoms_are_refused(self, name):
        learner, _ = _make(name)
        rewards = np.float32([-1, 3])
        if CONFIGS[name].critic.distributional:
            with pytest.raises(ArmchairError, match=r"range from -1 to 3, but a distributional critic is made for \[0"):
                learner.check_rewards(rewards)
        else:
            assert learner.check_rewards(rewards) == pytest.approx((-10, 30))  # -1 or 3 for ever

    def test_no_reward_at_all_is_refused(self, name):
        learner, _ = _make(name)
        with pytest.raises(ArmchairError, match="every reward is 0"):
            learner.check_rewards(np.zeros(5, np.float32))

    def test_values_converge_to_the_discounted_return(self, name):
        """One state that pays 0.5 for ever is worth 0.5 / (1 - gamma) = 5."""
        state = tf.zeros((256, 2))
        batch = _batch(256)._replace(observation=state, reward=tf.fill((256,), 0.5), next_observation=state)
        config = dataclasses.replace(CONFIGS[name], critic_learning_rate=3e-3, policy_learning_rate=0.0)
        if isinstance(config, IqlConfig):  # above a half, it takes the differences between a critic's guesses for gain
            config = dataclasses.replace(config, expectile=0.5)
        learner = CLASSES[type(config)](config, lambda step: batch, 2, 1, 0)
        learner.run(1_000)
        assert learner.run(10)["q"] == pytest.approx(5, rel=0.05)

    def test_it_beats_behaviour_cloning_where_most_of_the_data_is_bad(self, name):
        assert _success(name) >= 0.9
        assert _success("bc") <= 0.5


class TestD4pg:
    def test_the_policy_goes_uphill_and_the_critic_learns_nothing_from_it(self):
        """The policy's first step raises its value; the critic's is the same whether the policy learns or not."""
        fingerprints = set()
        for rate in (0.0, 1e-3):
            tf.random.set_seed(0)
            config = dataclasses.replace(D4PG, policy_learning_rate=rate, critic_learning_rate=1e-9)
            learner = D4pgLearner(config, lambda step: None, 2, 1, 0)
            key = tf.constant([0, 0], tf.int64)
            updates = [
                learner.update(SequenceBatch.of(_batch()), tf.constant(step, tf.int64), key) for step in range(10)
            ]
            first, last = (float(updates[n]["policy_loss"]) for n in (0, -1))
            fingerprints.add(_fingerprint(learner.critic))
            assert last < first if rate else last == pytest.approx(first, abs=1e-5)
        assert len(fingerprints) == 1


class TestCrr:
    def test_weight_all_updates_the_policy_exactly_like_behaviour_cloning(self):
        bc, _ = _make("bc")
        crr = CrrLearner(dataclasses.replace(CRR, weight=WeightMode.ALL), lambda step: None, 2, 1, 0)
        for mine, other in zip(crr.policy.variables, bc.policy.variables, strict=True):
            mine.assign(other)
        key = tf.constant([0, 0], tf.int64)
        for step in range(3):
            a = crr.update(SequenceBatch.of(_batch()), tf.constant(step, tf.int64), key)
            b = bc.update(SequenceBatch.of(_batch()), tf.constant(step, tf.int64), key)
            assert float(a["policy_loss"]) == float(b["policy_loss"])
        assert export.fingerprint(crr.policy.variables) == export.fingerprint(bc.policy.variables)

    @pytest.mark.parametrize("weight", [WeightMode.EXP, WeightMode.BINARY])
    @pytest.mark.parametrize("mode", AdvantageMode)
    def test_actions_are_weighed_as_configured(self, mode, weight):
        """By hand, from what the critic makes of the logged actions, and of those that the policy suggests."""
        tf.random.set_seed(0)
        config = dataclasses.replace(CRR, advantage=mode, weight=weight, beta=0.1)
        learner = CrrLearner(config, lambda step: None, 2, 1, 0)
        batch, key = _batch(), tf.constant([0, 1], tf.int64)
        made, _ = learner.policy(batch.observation)
        actions = made.sample(config.samples, tf.random.split(key, 2)[1])
        suggested = learner.critic.values(batch.observation, actions).numpy()  # [B, m]
        reduce = {AdvantageMode.MEAN: np.mean, AdvantageMode.MAX: np.max, AdvantageMode.MIN: np.min}[mode]
        q = learner.critic.mean(learner.critic(batch.observation, batch.action)).numpy()
        better = q - reduce(suggested, 1)
        f = np.exp(better / 0.1) if weight is WeightMode.EXP else np.float32(better > 0)
        expected = {"advantage": better.mean(), "weight": f.mean(), "weight_deviation": f.std()}
        expected["policy_loss"] = -np.mean(f * made.log_prob(batch.action))
        metrics = learner.update(SequenceBatch.of(batch), tf.constant(0, tf.int64), key)
        for name, value in expected.items():
            assert float(metrics[name]) == pytest.approx(value, rel=1e-4, abs=1e-6)

    def test_the_critic_learns_nothing_from_the_policy_s_loss(self):
        """With equal critics, the critic's update is the same whatever the policy's loss is."""
        fingerprints = set()
        for weight in WeightMode:
            tf.random.set_seed(0)
            learner = CrrLearner(dataclasses.replace(CRR, weight=weight), lambda step: None, 2, 1, 0)
            learner.update(SequenceBatch.of(_batch()), tf.constant(0, tf.int64), tf.constant([0, 0], tf.int64))
            fingerprints.add(export.fingerprint(learner.critic.variables))
        assert len(fingerprints) == 1


class TestTd3Bc:
    def test_the_target_s_actions_have_clipped_noise_and_stay_in_range(self):
        config = dataclasses.replace(TD3_BC, noise=10.0, noise_clip=0.3)
        tf.random.set_seed(0)
        learner = Td3BcLearner(config, lambda step: None, 2, 1, 0)
        asked: list[np.ndarray] = []
        learner._bootstrap = lambda batch, following, action: asked.append(action.numpy())
        for level in (0.0, 0.9):
            learner._target_policy.unroll = lambda seen, rows, level=level: tf.fill((len(rows(seen)), 1), level)
            learner._target(SequenceBatch.of(_batch(256)), tf.constant([1, 2], tf.int64))
        np.testing.assert_allclose([asked[0].min(), asked[0].max()], [-0.3, 0.3], atol=1e-6)
        np.testing.assert_allclose([asked[1].min(), asked[1].max()], [0.6, 1.0], atol=1e-6)

    def test_without_value_it_clones_and_with_much_it_goes_uphill(self):
        distance, value = {}, {}
        for alpha in (0.0, 100.0):
            config = dataclasses.replace(TD3_BC, alpha=alpha, critic_learning_rate=1e-9)
            tf.random.set_seed(0)
            learner = Td3BcLearner(config, lambda step: _batch(), 2, 1, 0)
            learner.run(400)
            metrics = learner.run(2)
            distance[alpha], value[alpha] = metrics["action_error"], metrics["advantage"]
        assert distance[0.0] < 0.1 < distance[100.0]
        assert value[100.0] > value[0.0]

    def test_the_policy_rests_between_two_updates_of_the_targets(self):
        learner = Td3BcLearner(TD3_BC, lambda step: _batch(), 2, 1, 0)
        moved = []
        for _ in range(4):
            before = _fingerprint(learner.policy)
            learner.run(1)
            moved.append(_fingerprint(learner.policy) != before)
        assert moved == [True, False, True, False]


class TestIql:
    def test_a_state_s_value_is_the_expectile_of_its_actions(self):
        """In one state, half of the actions end with a reward of 1, half with 0: the mean of 0.9 and 0.1 is 0.9 / 1."""
        state, ends = tf.zeros((256, 2)), tf.zeros(256)
        good = tf.cast(tf.range(256) % 2, tf.float32)
        batch = Batch(state, good[:, None], good, ends, state)
        tf.random.set_seed(0)
        learner = IqlLearner(IQL, lambda step: batch, 2, 1, 0)
        learner.run(1_500)
        assert float(learner.value.unroll(state[None], lambda hidden: hidden[0])[0]) == pytest.approx(0.9, abs=0.02)
        assert float(_best(learner, state)[0, 0]) > 0.8

    def test_its_critic_has_no_distribution(self):
        with pytest.raises(ArmchairError, match="predicts the mean return"):
            dataclasses.replace(IQL, critic=CRR.critic)


class TestTwinCritic:
    def test_the_lower_one_counts_for_values_and_targets(self):
        for config in (TWINS, dataclasses.replace(CRR.critic, twin=True)):
            tf.random.set_seed(3)
            critic = make_critic(config, 0.9)
            batch = _batch()
            predicted = critic(batch.observation, batch.action)
            pair = [c(batch.observation, batch.action) for c in (critic._one, critic._other)]
            one, other = (critic._one.mean(p).numpy() for p in pair)
            assert (one < other).any() and (one > other).any()  # neither always
            np.testing.assert_allclose(critic.mean(predicted), np.minimum(one, other), rtol=1e-6)
            target = critic.target(batch.reward, 0.9 * batch.discount, predicted)
            for row in range(len(one)):
                lower = pair[0 if one[row] < other[row] else 1]
                alone = critic._one.target(batch.reward, 0.9 * batch.discount, lower)
                np.testing.assert_allclose(target[row], alone[row], rtol=1e-6)
            separate = sum(float(critic._one.loss(p, target)) for p in pair)
            assert float(critic.loss(predicted, target)) == pytest.approx(separate, rel=1e-6)


@pytest.mark.parametrize(
    ("change", "message"),
    [
        ({"n_step": 0}, "at least 1"), ({"target_period": 0}, "at least 1"), ({"target_rate": 0.0}, "above 0"),
        ({"target_rate": 1.5}, "above 0"),
    ],
)  # fmt: skip
def test_numbers_that_mean_nothing(change, message):
    with pytest.raises(ArmchairError, match=message):
        dataclasses.replace(CRR, **change)


def test_an_expectile_belongs_to_a_mean():
    with pytest.raises(ArmchairError, match="no-distributional"):
        CriticConfig(expectile=0.7)
    with pytest.raises(ArmchairError, match="between 0 and 1"):
        CriticConfig(expectile=1.0, distributional=False)
