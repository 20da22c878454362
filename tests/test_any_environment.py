"""Somebody else's environment through the whole loop: recorded, taken in, learned from and solved.

The environment is gymnasium-robotics' FetchReach, named like a user would name his own: `module:factory`. Its arm is
to reach a goal that only the observation tells; nothing of Armchair knows its observations or its actions.
"""

import numpy as np
import pytest
from dm_env import specs

from armchair import cli
from datasets.query import Query
from datasets.schema import Verdict
from datasets.store import Store
from pipeline.batch_rl import trainer
from pipeline.batch_rl.config import CrrConfig, CrrTraining
from robot.actors import RandomActor
from robot.evaluate import EvaluateConfig, evaluate

ENV, ACTOR = "tests.test_any_environment:fetch_reach", "tests.test_any_environment:Unsteady"


def fetch_reach():
    """FetchReach, rewarded with 1 where its goal is reached and 0 elsewhere (its own rewards are 0 and -1)."""
    import gymnasium

    return gymnasium.wrappers.TransformReward(gymnasium.make("gymnasium_robotics:FetchReach-v4"), lambda r: r + 1)


class Unsteady:
    """Goes for the goal in one episode of three, and anywhere in the others."""

    policy_id = "unsteady"

    def __init__(self, seed):
        self._random = RandomActor(specs.BoundedArray((4,), np.float32, -1, 1), seed)

    def reset(self, seed=None):
        self._random.reset(seed)
        self._is_steady = seed % 3 == 0

    def act(self, observation):
        action = self._random.act(observation)  # [4]: a velocity, and the gripper's
        if self._is_steady:
            way = observation["desired_goal"] - observation["achieved_goal"]  # [3], m
            action[:3] = 0.3 * action[:3] + np.clip(10 * way, -0.7, 0.7)
        return action


@pytest.mark.filterwarnings("ignore:.*:DeprecationWarning")
def test_fetch_is_learned_from_its_log(tmp_path):
    pytest.importorskip("gymnasium_robotics", reason="the extra [envs] is not installed")
    logs, store = tmp_path / "logs", tmp_path / "store"
    assert cli.main(["collect", "--out", f"{logs}", "--robot", ENV, "--policies", ACTOR, "--episodes", "60"]) == 0
    assert cli.main(["ingest", "--source", f"{logs}", "--store", f"{store}"]) == 0
    rows = Store.open(store).query(Query(task_id="fetch_reach"))
    logged = sum(row.verdict == Verdict.SUCCESS for row in rows) / len(rows)
    assert len(rows) == 60 and 0.3 < logged < 0.5

    size = {"steps": 600, "checkpoint_every": 600, "snapshot_every": 600}
    method = CrrConfig(beta=0.1)  # greedy: learns quickly
    policy = trainer.train(CrrTraining(store, tmp_path / "crr", "fetch_reach", rewards="true", method=method, **size))

    solved = evaluate(EvaluateConfig(ENV, f"policy:{policy}", episodes=20))
    at_random = evaluate(EvaluateConfig(ENV, "random", episodes=20))
    assert solved.interval[0] > max(logged, at_random.interval[1])
