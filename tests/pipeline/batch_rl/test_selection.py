import dataclasses
import json
import shutil
from pathlib import Path
from unittest import mock

import numpy as np
import pytest
import tensorflow as tf

from armchair import cli
from datasets import testing
from datasets.errors import ArmchairError, SpecMismatchError
from datasets.features import ArraySpec
from datasets.feeds import Transitions
from datasets.predictions import write_predictions
from datasets.query import Query
from datasets.store import Store
from pipeline import export
from pipeline.batch_rl import selection
from pipeline.batch_rl.config import Criterion, CriticConfig, EyeConfig, FqeConfig, SelectConfig
from pipeline.batch_rl.eye import Eye
from pipeline.batch_rl.fqe import FqeLearner
from pipeline.batch_rl.policies import BodyPolicy
from pipeline.batch_rl.saved_policy import ActionRange, save_policy
from pipeline.networks import Normaliser

METHOD = FqeConfig(critic=CriticConfig((32, 32), atoms=21), critic_learning_rate=2e-3, gamma=0.9, target_period=20)
STEPS = 12
INPUTS = {"position": ArraySpec((1,), "float32")}


class Constant(BodyPolicy):
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
    save_policy(path, "constant", Constant(action), Eye(EyeConfig(), {}), normaliser, actions, INPUTS, {"step": step})
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


def test_td_error_and_action_gap_are_summed_up_by_hand():
    """On a ring of four states, an action above 0 goes forward; the log mostly does as the policy that is judged.

    What the critic makes of each state and action is a table, and every transition is looked up in it.
    """
    policy, rng, count = np.float32([-1, 1, 1, -1]), np.random.default_rng(0), 800
    states, actions = [0], []
    for _ in range(count):
        likely = policy[states[-1]] * (1 if rng.random() < 0.8 else -1)
        actions.append(float(likely * rng.choice([0.5, 1.0])))
        states.append((states[-1] + (1 if actions[-1] > 0 else -1)) % 4)
    seen, chosen, frame = np.eye(4, dtype=np.float32)[states], policy[states][:, None], np.arange(count, dtype=np.int32)
    data = Transitions(
        {"state": seen}, frame, frame + 1, np.float32(actions)[:, None], np.float32([0, 0.2, 0, 1])[states[1:]],
        np.float32(rng.random(count) < 0.9), np.zeros(count, np.int32), ("walk",), {},
    )  # fmt: skip
    config = SelectConfig((), Path("store"), "ring", steps=300, batch_size=64, method=METHOD)
    frames = np.concatenate([seen, chosen], 1)
    learner = selection._fit(config, data, frames, "the estimate", lambda count: None)
    card = {"policy_id": "p", "step": 1}
    score = selection._score(Path("p"), card, learner, data, seen, chosen, np.zeros(0), config)

    def value(state: int, action: float) -> float:
        one = np.eye(4, dtype=np.float32)[[state]]
        return float(learner.value(one, np.float32([[action]]), np.zeros((1, 0), np.float32))[0])

    table = {(s, a): value(s, a) for s in range(4) for a in (-1.0, -0.5, 0.5, 1.0)}
    own = [table[s, policy[s]] for s in states]
    errors = [
        abs(data.reward[t] + METHOD.gamma * data.discount[t] * own[t + 1] - table[states[t], actions[t]])
        for t in range(count)
    ]
    assert score.td_error == pytest.approx(np.mean(errors), rel=1e-4)
    gaps = [own[t] - np.mean([table[states[t], action] for action in actions]) for t in range(count)]
    of_logged = np.mean([own[t] - table[states[t], actions[t]] for t in range(count)])
    assert score.action_gap == pytest.approx(np.mean(gaps), rel=0.15)  # which other action it is, chance decides
    assert score.action_gap > 1.5 * of_logged > 0


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
    assert export.load_card(run / "best", "policy")["step"] == 3


def test_where_policies_can_be_run_the_ranking_is_judged_too(store, run, tmp_path, monkeypatch, capsys):
    from armchair.commands import select

    monkeypatch.setattr(select, "_success", lambda config, policy: float(policy.name[-1]) / config.episodes)
    options = f"--store {store.root} --task lift_green --steps 600 --batch-size 64 --result {tmp_path / 'r.json'}"
    options += " --method.critic.layer-sizes 32 32 --method.critic.atoms 21 --method.critic-learning-rate 0.002"
    options += " --method.gamma 0.9 --method.target-period 20 --robot corridor --episodes 4"
    assert cli.main(["select", "--runs", str(run), *options.split()]) == 0
    told = capsys.readouterr()
    result = json.loads((tmp_path / "r.json").read_text())
    assert [entry["success"] for entry in result["ranking"]] == [0.75, 0.5, 0.25]
    assert result["rank_correlation"] == pytest.approx({"value": 1, "td_error": mock.ANY, "action_gap": 1})
    assert "rank correlation of value and success (Spearman): 1.00" in told.err


def test_rank_correlation():
    assert selection.rank_correlation([3, 2, 1], [0.9, 0.8, 0.1]) == pytest.approx(1)
    assert selection.rank_correlation([3, 2, 1], [0.1, 0.8, 0.9]) == pytest.approx(-1)
    assert selection.rank_correlation([3, 2, 1], [1, 1, 1]) == 0


class TestPredictedReturns:
    """A reward model has rated what some of the policies did."""

    @pytest.fixture
    def rated(self, store, run, tmp_path) -> Store:
        """A copy of the store, where the left policy did well and the right one did not, by the model's account."""
        shutil.copytree(store.root, tmp_path / "store")
        rated = Store.open(tmp_path / "store")
        values = {row.episode_id: np.full(STEPS, 0.5, np.float32) for row in rated.query(Query())}
        for number, (step, reward) in enumerate([(1, 0.9), (1, 0.7), (3, 0.2), (3, 0.2)]):
            policy_id = export.load_card(run / "snapshots" / f"{step:08d}", "policy")["policy_id"]
            episode = testing.make_episode(100 + number, STEPS, cameras=(), action_size=2, policy_id=policy_id)
            rated.add(
                dataclasses.replace(episode, observation={"position": np.zeros((STEPS, 1), np.float32)}), "corridor"
            )
            values[f"fake-{100 + number}"] = np.full(STEPS, reward, np.float32)
        elsewhere = testing.make_episode(200, STEPS, cameras=(), policy_id=policy_id, task_id="reach_green")
        rated.add(elsewhere, "elsewhere")
        values["fake-200"] = np.ones(STEPS, np.float32)
        not_rated = testing.make_episode(201, STEPS, cameras=(), policy_id=policy_id)
        rated.add(not_rated, "later")
        rated.register_model({"model_id": "m1", "model_hash": "h1", "task_id": "lift_green"})
        path = rated.prediction_path("m1", "shard")
        write_predictions(path, "m1", "h1", "lift_green", values)
        rated.add_predictions("m1", "h1", "lift_green", path)
        return rated

    def _config(self, rated, run, **changes) -> SelectConfig:
        return _config(rated, run, query="dataset=corridor", rewards="model:m1", steps=20, **changes)

    def test_are_means_over_the_policy_s_own_episodes_at_the_task(self, rated, run):
        scores = {score.step: score for score in selection.rank(self._config(rated, run))}
        assert scores[1].predicted == pytest.approx(0.8 * (STEPS - 1))
        assert scores[1].predicted_low == pytest.approx(0.7 * (STEPS - 1))
        assert scores[1].predicted_high == pytest.approx(0.9 * (STEPS - 1))
        assert scores[2].predicted is None  # it was never run
        assert scores[3].predicted == pytest.approx(0.2 * (STEPS - 1))

    def test_can_decide(self, rated, run, tmp_path):
        config = self._config(rated, run, by=Criterion.PREDICTED)
        scores = selection.rank(config)
        assert [score.step for score in scores] == [1, 3, 2]
        other = _save(tmp_path / "other" / "last", 0.1).parent
        also = dataclasses.replace(scores[2], policy_id=export.load_card(other / "last", "policy")["policy_id"])
        config = dataclasses.replace(config, runs=(run, other))
        assert selection.keep_best(config, [*scores, also]) == [run / "best"]  # of the other run nothing is known
        card = export.load_card(run / "best", "policy")
        assert card["step"] == 1 and card["selection"]["by"] == "predicted"

    def test_cannot_decide_where_there_are_none(self, store, run):
        with pytest.raises(ArmchairError, match=r"no episode of these policies in .* has rewards of a model \(true\)"):
            selection.rank(_config(store, run, by=Criterion.PREDICTED))

    def test_the_command_shows_them(self, rated, run, tmp_path, capsys, monkeypatch):
        from armchair.commands import select

        monkeypatch.setattr(select, "_success", lambda config, policy: float(policy.name[-1]))
        options = f"--store {rated.root} --task lift_green --query dataset=corridor --rewards model:m1 --steps 20"
        options += f" --by predicted --robot corridor --result {tmp_path / 'r.json'}"
        assert cli.main(["select", "--runs", str(run), *options.split()]) == 0
        told = capsys.readouterr()
        lines = [line.split() for line in told.out.splitlines()]
        assert lines[0][-4:] == ["predicted", "predicted_low", "predicted_high", "success"]
        assert lines[1][-4:] == ["8.8", "7.7", "9.9", "1.0"] and lines[3][-4:-1] == ["-", "-", "-"]
        correlations = json.loads((tmp_path / "r.json").read_text())["rank_correlation"]
        assert correlations.keys() == {"value", "td_error", "action_gap", "predicted"}
        assert correlations["predicted"] == pytest.approx(-1)  # of the two that it rates
        assert "rank correlation of predicted and success (Spearman): -1.00" in told.err


class TestKeepBest:
    def _scores(self, *paths) -> list[selection.Score]:
        cards = [export.load_card(path, "policy") for path in paths]
        return [
            selection.Score(path, card["policy_id"], card["step"], 9.0 - n, 8.0, 9.5, 0.1, 0.2, None, None, None)
            for n, (path, card) in enumerate(zip(paths, cards, strict=True))
        ]

    def test_of_each_run_the_first_in_the_ranking(self, store, run, tmp_path):
        other = tmp_path / "other"
        for step, action in ((1, 0.4), (2, 0.5)):
            _save(other / "snapshots" / f"{step:08d}", action, step)
        alone = _save(tmp_path / "alone", 0.3)
        scores = self._scores(
            alone, run / "snapshots" / "00000002", other / "snapshots" / "00000002", run / "snapshots" / "00000003"
        )
        config = _config(store, run, other, alone, query="split=train")
        assert selection.keep_best(config, scores) == [run / "best", other / "best"]
        assert not (alone / "best").exists()
        card = export.load_card(run / "best", "policy")
        assert card["step"] == 2 and card["selection"] == {
            "by": "value", "task_id": "lift_green", "query": "split=train", "rewards": "true", "value": 8.0, "low": 8.0,
            "high": 9.5, "td_error": 0.1, "action_gap": 0.2, "predicted": None, "predicted_low": None,
            "predicted_high": None,
        }  # fmt: skip
        assert selection.find_policies([run])[-1] == run / "last"  # it does not take part the next time

    def test_is_a_policy_of_its_own_and_follows_the_next_ranking(self, store, run):
        config = _config(store, run)
        for step in (1, 3):
            selection.keep_best(config, self._scores(run / "snapshots" / f"{step:08d}"))
        shutil.rmtree(run / "snapshots")
        policy, card = export.load_model(run.rename(run.parent / "moved") / "best", "policy")
        assert card["step"] == 3
        assert policy.follow({"position": tf.zeros((1, 1))}).numpy()[0, 0] == pytest.approx(0.9)

    def test_one_that_is_killed_leaves_the_old_one(self, store, run, monkeypatch):
        config = _config(store, run)
        selection.keep_best(config, self._scores(run / "snapshots" / "00000001"))
        monkeypatch.setattr(json, "dumps", mock.Mock(side_effect=KeyboardInterrupt))
        with pytest.raises(KeyboardInterrupt):
            selection.keep_best(config, self._scores(run / "snapshots" / "00000003"))
        monkeypatch.undo()
        assert export.load_card(run / "best", "policy")["step"] == 1
        assert sorted(path.name for path in run.iterdir()) == ["best", "last", "snapshots"]


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
        save_policy(
            tmp_path / "p", "constant", Constant(0.0), Eye(EyeConfig(), {}), normaliser, actions, inputs, {"step": 1}
        )
        with pytest.raises(
            SpecMismatchError, match=r"takes 'position' as float32\[3\], but the episodes have float32\[1"
        ):
            selection.rank(_config(store, tmp_path / "p"))

    def test_an_estimate_that_diverges(self, store, run):
        method = dataclasses.replace(METHOD, critic_learning_rate=float("nan"))
        with pytest.raises(
            ArmchairError, match="the estimate of .*00000001 diverged: .* is nan at step 100; lower the"
        ):
            selection.rank(_config(store, run, method=method))

    def test_an_estimate_of_more_than_is_possible(self, store, run, monkeypatch):
        """Long before it is not finite."""
        learn = FqeLearner.run
        monkeypatch.setattr(
            FqeLearner, "run", lambda self, count: learn(self, count) | {"q": 5.0 if self.step < 200 else 12.0}
        )
        told = "diverged: the mean value is 12 at step 200, but returns lie between 0 and 10; lower the critic's"
        with pytest.raises(ArmchairError, match=told):
            selection.rank(_config(store, run))
