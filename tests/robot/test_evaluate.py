"""Evaluation counts what happened, says how sure it is, and can be recorded and resumed."""

import dataclasses
import json

import pytest

from datasets.errors import ArmchairError
from datasets.schema import Verdict
from robot.evaluate import EvaluateConfig, Evaluation, compare, differences, evaluate
from robot.intervals import difference, wilson
from robot.loop import EpisodeSummary
from robot.record import recorded

CONFIG = EvaluateConfig("robot.testing:FakeArm", "robot.testing:fake_novice", episodes=30)


def episodes(successes: int, n: int) -> tuple[EpisodeSummary, ...]:
    return tuple(EpisodeSummary("reach", "p", i, float(i < successes), 10, i < successes) for i in range(n))


def test_printed_with_n_and_interval():
    assert str(Evaluation("reach", episodes(42, 50), {})) == "84.0 % (42/50, 95 % Wilson 71.5-91.7)"
    assert str(Evaluation("reach", episodes(0, 5), {})) == "0.0 % (0/5, 95 % Wilson 0.0-43.4)"


def test_without_a_verdict_it_tells_the_return():
    silent = tuple(dataclasses.replace(e, success=None) for e in episodes(1, 4))
    assert str(Evaluation("reach", silent, {})) == "mean return 0.25 (n=4; the environment tells no success)"


def test_counts_are_of_the_episodes_it_recorded(tmp_path):
    config = dataclasses.replace(CONFIG, out=tmp_path)
    evaluation = evaluate(config)
    found = list(recorded(tmp_path, "evaluation"))
    assert [e.metadata.seed for e in found] == list(range(config.seed, config.seed + 30))
    assert evaluation.successes == sum(e.metadata.verdict == Verdict.SUCCESS for e in found)
    assert 0 < evaluation.successes < 30 and evaluation.policy_id == "fake_expert_0.5"
    assert evaluation.mean_return == pytest.approx(sum(e.reward.sum() for e in found) / 30)
    assert evaluation.interval == wilson(evaluation.successes, 30)

    assert evaluate(config) == evaluation  # nothing is played again: the episodes' ids are the same
    again = evaluate(CONFIG).episodes  # and what is played again comes out the same
    assert again == tuple(dataclasses.replace(e, episode_id="") for e in evaluation.episodes)


def test_saved_as_json(tmp_path):
    evaluation = Evaluation("reach", episodes(3, 4), {"armchair": "1"})
    evaluation.save(tmp_path / "result.json")
    result = json.loads((tmp_path / "result.json").read_text())
    assert result["success_rate"] == 0.75 and result["n"] == 4 and result["wilson_95"] == list(wilson(3, 4))
    assert [e["seed"] for e in result["episodes"]] == [0, 1, 2, 3] and result["versions"] == {"armchair": "1"}


def test_no_episodes_say_nothing():
    with pytest.raises(ArmchairError, match="at least one"):
        evaluate(dataclasses.replace(CONFIG, episodes=0))


def test_episodes_that_nobody_judged_are_counted_apart():
    told = episodes(3, 4)
    some = Evaluation("reach", (*told, dataclasses.replace(told[0], success=None)), {})
    assert str(some) == "75.0 % (3/4, 95 % Wilson 30.1-95.4; 1 more not judged)"
    assert some.to_dict()["judged"] == 4 and some.to_dict()["n"] == 5


def test_several_are_compared_on_the_same_seeds():
    novice, expert = compare(CONFIG, ["robot.testing:FakeExpert"])
    assert [e.seed for e in novice.episodes] == [e.seed for e in expert.episodes]
    assert novice == evaluate(CONFIG)
    (gain,) = differences([expert, novice])
    assert gain[:2] == ("fake_expert_0", "fake_expert_0.5")
    assert gain[2:] == difference(expert.successes, 30, novice.successes, 30) and gain.low > 0
    silent = dataclasses.replace(novice, episodes=tuple(dataclasses.replace(e, success=None) for e in novice.episodes))
    assert not differences([expert, silent])


def test_a_folder_is_a_policy_and_other_names_are_actors(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    for name in ("mine", "policy", "policy:mine"):
        (tmp_path / name.rpartition(":")[2]).mkdir(exist_ok=True)
        with pytest.raises(ArmchairError, match=f"{name.rpartition(':')[2]} is not a policy"):
            evaluate(dataclasses.replace(CONFIG, actor=name))
    (tmp_path / "random").mkdir()
    assert evaluate(dataclasses.replace(CONFIG, actor="random", episodes=1)).policy_id == "random"
