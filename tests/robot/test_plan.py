"""Planned episodes: each depends on its seed alone, is recorded once, and can be resumed and shared out."""

import dataclasses

import numpy as np
import pytest

from datasets.errors import ArmchairError, SpecMismatchError
from robot.collect import CollectConfig, collect
from robot.plan import PlanLine, Setting, play
from robot.record import recorded

ARM = "robot.testing:FakeArm"
PLAN = (PlanLine(ARM, "robot.testing:FakeExpert", episodes=3), PlanLine(ARM, "random", episodes=2, seed=100))


def test_every_planned_episode_is_recorded_once(tmp_path):
    summaries = collect(CollectConfig(tmp_path, PLAN))
    assert [(s.policy_id, s.seed) for s in summaries] == [
        ("fake_expert_0", 0), ("fake_expert_0", 1), ("fake_expert_0", 2), ("random", 100), ("random", 101),
    ]  # fmt: skip
    assert all(s.success for s in summaries[:3]) and summaries[0].length == 12
    episodes = list(recorded(tmp_path, "recorded"))
    assert [e.metadata.episode_id for e in episodes] == [s.episode_id for s in summaries]
    assert [e.metadata.seed for e in episodes] == [s.seed for s in summaries]
    assert [e.metadata.policy_id for e in episodes] == [s.policy_id for s in summaries]
    assert episodes[0].metadata.task_id == summaries[0].task_id == "fake_reach"


def test_an_interrupted_plan_goes_on_where_it_stopped(tmp_path):
    first = collect(CollectConfig(tmp_path, PLAN[:1]))
    both = collect(CollectConfig(tmp_path, PLAN))
    assert both[:3] == first  # not played again: the ids are the same
    assert len(list(recorded(tmp_path, "recorded"))) == 5


def test_an_episode_depends_on_its_seed_alone(tmp_path):
    collect(CollectConfig(tmp_path, (PlanLine(ARM, "random", episodes=3, seed=5),), "many"))
    collect(CollectConfig(tmp_path, (PlanLine(ARM, "random", episodes=1, seed=7),), "one"))
    *_, last = recorded(tmp_path, "many")
    (alone,) = recorded(tmp_path, "one")
    for (name, value), (_, same) in zip(last.step_fields(), alone.step_fields(), strict=True):
        np.testing.assert_array_equal(value, same, err_msg=name)


def test_two_workers_do_what_one_does(tmp_path):
    one = play(PLAN, Setting(out=None), "test")
    two = collect(CollectConfig(tmp_path, PLAN, workers=2))
    assert [dataclasses.replace(s, episode_id="") for s in two] == one
    assert sorted(e.metadata.episode_id for e in recorded(tmp_path, "recorded")) == sorted(s.episode_id for s in two)


def test_a_dead_worker_is_one_sentence(tmp_path, monkeypatch):
    (tmp_path / "crash.py").write_text(
        "import os\nclass Crash:\n    policy_id = ''\n    def __init__(self, seed): pass\n"
        "    def reset(self, seed): os._exit(9)  # as if out of memory\n"
    )
    monkeypatch.chdir(tmp_path)
    with pytest.raises(ArmchairError, match="worker process died"):
        play([PlanLine(ARM, "crash:Crash", episodes=3)], Setting(out=None, workers=2), "test")


@pytest.mark.parametrize(
    ("actor", "message"),
    [
        ("expertise", "there is no actor 'expertise'"),
        ("expert:fly", "no expert for 'fly'"),
        ("expert:lift_green:much", "'much'"),
        ("policy:nowhere", "nowhere is not a policy"),
        (".", "is not a policy"),
        ("robot.testing:Nobody", "no 'Nobody'"),
    ],
)
def test_mistakes_in_the_plan_are_said_before_anything_is_recorded(tmp_path, actor, message):
    plan = (*PLAN, PlanLine(ARM, actor, episodes=1))
    with pytest.raises(ArmchairError, match=message):
        collect(CollectConfig(tmp_path, plan))
    assert not list(tmp_path.iterdir())


def test_a_dataset_of_other_observations_is_refused(tmp_path):
    collect(CollectConfig(tmp_path, PLAN[:1]))
    with pytest.raises(SpecMismatchError, match="another name"):
        collect(CollectConfig(tmp_path, (PlanLine("reach_green", "random_watcher", episodes=1),)))
