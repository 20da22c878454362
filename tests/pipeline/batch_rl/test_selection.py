import dataclasses
import json

import numpy as np
import pytest
import tensorflow as tf

from armchair import cli
from datasets import testing
from datasets.errors import ArmchairError, SpecMismatchError
from datasets.features import ArraySpec
from datasets.store import Store
from pipeline.batch_rl import selection
from pipeline.batch_rl.config import CriticConfig, FqeConfig, SelectConfig
from pipeline.batch_rl.networks import Policy
from pipeline.batch_rl.policy import ActionRange, save_policy
from pipeline.networks import Normaliser

METHOD = FqeConfig(critic=CriticConfig((32, 32), atoms=21), critic_learning_rate=2e-3, gamma=0.9, target_period=20)
STEPS = 12
INPUTS = {"position": ArraySpec((1,), "float32")}


class Constant(Policy):
    """Always the same action."""

    def __init__(self, action: float):
        super().__init__((1,), memory=0)
        self._action = tf.Variable([action, 0.0])

    def _head(self, hidden: tf.Tensor) -> tf.Tensor:
        return tf.repeat(self._action[None], tf.shape(hidden)[0], axis=0)

    def best(self, made: tf.Tensor) -> tf.Tensor:
        return made


def _save(path, action: float, step: int = 1):
    normaliser = Normaliser(["position"], np.zeros(1, np.float32), np.ones(1, np.float32))
    actions = ActionRange(np.float32([-1, -1]), np.float32([1, 1]))
    save_policy(path, "constant", Constant(action), normaliser, actions, INPUTS, {"step": step})
    return path


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    """A corridor, walked at random: rewards to the right of 0."""
    rng = np.random.default_rng(0)
    store = Store.create(tmp_path_factory.mktemp("store"))
    for seed in range(40):
        action = rng.uniform(-1, 1, (STEPS, 2)).astype(np.float32)
        position = np.clip(rng.uniform(-0.5, 0.5) + np.cumsum(np.append(0, 0.3 * action[:-1, 0])), -1, 1)
        episode = testing.make_episode(seed, STEPS, cameras=())
        changed = dataclasses.replace(
            episode, observation={"position": np.float32(position)[:, None]}, action=action,
            reward=np.float32(np.append(position[1:] > 0, 0)),
        )  # fmt: skip
        store.add(changed, "corridor")
    store.publish()
    return store


@pytest.fixture
def run(tmp_path):
    """A run with three snapshots: going left, standing, going right; the last policy is the last snapshot."""
    for step, action in ((1, -0.9), (2, 0.0), (3, 0.9)):
        _save(tmp_path / "run" / "snapshots" / f"{step:08d}", action, step)
    _save(tmp_path / "run" / "last", 0.9, 3)
    return tmp_path / "run"


def _config(store: Store, *runs, **changes) -> SelectConfig:
    options = {"runs": runs, "store": store.root, "task": "lift_green", "batch_size": 64, "steps": 1_000}
    return SelectConfig(**(options | {"method": METHOD} | changes))


def test_the_best_policy_comes_first(store, run):
    scores = selection.rank(_config(store, run))
    assert [score.step for score in scores] == [3, 2, 1]  # a policy that is there twice is judged once
    right, _, left = scores
    assert right.low <= right.value <= right.high
    assert right.low > left.high
    assert 0 <= left.value < right.value <= 10
    assert right.action_gap > 0.2 > -0.2 > left.action_gap  # it gains by going right, and loses by going left
    assert all(score.td_error < 1 for score in scores)


def test_the_same_question_has_the_same_answer(store, run):
    config = _config(store, run / "snapshots" / "00000001", steps=50)
    assert selection.rank(config) == selection.rank(config)


def test_the_command_prints_the_ranking_and_writes_it(store, run, tmp_path, capsys):
    options = f"--store {store.root} --task lift_green --steps 600 --batch-size 64 --result {tmp_path / 'r.json'}"
    options += " --method.critic.layer-sizes 32 32 --method.critic.atoms 21 --method.critic-learning-rate 0.002"
    options += " --method.gamma 0.9 --method.target-period 20"
    assert cli.main(["select", "--runs", str(run), *options.split()]) == 0
    lines = capsys.readouterr().out.splitlines()
    assert lines[0].split() == ["policy", "policy_id", "step", "value", "low", "high", "td_error", "action_gap"]
    assert "snapshots/00000003" in lines[1] and "snapshots/00000001" in lines[3]
    result = json.loads((tmp_path / "r.json").read_text())
    assert [entry["step"] for entry in result["ranking"]] == [3, 2, 1]
    assert "rank_correlation" not in result  # nothing was run


def test_where_policies_can_be_run_the_ranking_is_judged_too(store, run, tmp_path, monkeypatch, capsys):
    from armchair.commands import select

    monkeypatch.setattr(select, "_success", lambda config, policy: float(policy.name[-1]) / config.episodes)
    options = f"--store {store.root} --task lift_green --steps 600 --batch-size 64 --result {tmp_path / 'r.json'}"
    options += " --method.critic.layer-sizes 32 32 --method.critic.atoms 21 --method.critic-learning-rate 0.002"
    options += " --method.gamma 0.9 --method.target-period 20 --env corridor --episodes 4"
    assert cli.main(["select", "--runs", str(run), *options.split()]) == 0
    told = capsys.readouterr()
    result = json.loads((tmp_path / "r.json").read_text())
    assert [entry["success"] for entry in result["ranking"]] == [0.75, 0.5, 0.25]
    assert result["rank_correlation"] == pytest.approx(1) and "(Spearman): 1.00" in told.err


def test_rank_correlation():
    assert selection.rank_correlation([3, 2, 1], [0.9, 0.8, 0.1]) == pytest.approx(1)
    assert selection.rank_correlation([3, 2, 1], [0.1, 0.8, 0.9]) == pytest.approx(-1)
    assert selection.rank_correlation([3, 2, 1], [1, 1, 1]) == 0


class TestMistakes:
    def test_no_policy(self, store, tmp_path):
        with pytest.raises(ArmchairError, match="there is no policy in"):
            selection.rank(_config(store, tmp_path))
        with pytest.raises(ArmchairError, match="no policy to rank"):
            selection.rank(_config(store))

    def test_no_episode(self, store, run):
        with pytest.raises(ArmchairError):
            selection.rank(_config(store, run, query="task_id=stack_green_on_red"))

    def test_episodes_without_rewards(self, store, run):
        with pytest.raises(ArmchairError, match="40 of 40 episodes have no rewards from model:m1"):
            selection.rank(_config(store, run, rewards="model:m1"))

    def test_another_robot_s_policy(self, store, tmp_path):
        normaliser = Normaliser(["position"], np.zeros(3, np.float32), np.ones(3, np.float32))
        actions = ActionRange(np.float32([-1, -1]), np.float32([1, 1]))
        inputs = {"position": ArraySpec((3,), "float32")}
        save_policy(tmp_path / "p", "constant", Constant(0.0), normaliser, actions, inputs, {"step": 1})
        with pytest.raises(
            SpecMismatchError, match=r"takes 'position' as float32\[3\], but the episodes have float32\[1"
        ):
            selection.rank(_config(store, tmp_path / "p"))

    def test_an_estimate_that_diverges(self, store, run):
        method = dataclasses.replace(METHOD, critic_learning_rate=float("nan"))
        with pytest.raises(ArmchairError, match="the estimate diverged"):
            selection.rank(_config(store, run, method=method))
