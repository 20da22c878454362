"""Other people's environments, end to end: recorded, read by plain TFDS, and solved by an exported policy."""

import dataclasses

import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from datasets.features import ArraySpec
from pipeline import export
from robot.collect import CollectConfig, collect
from robot.evaluate import EvaluateConfig, evaluate
from robot.plan import PlanLine
from robot.record import dataset_path

FETCH = "gym:gymnasium_robotics:FetchReach-v4"
INPUTS = {name: ArraySpec((3,), "float32") for name in ("achieved_goal", "desired_goal")}


class Reach(tf.Module):
    """Moves the gripper to the goal, in proportion to the distance."""

    @tf.function(input_signature=[*export.input_signature(INPUTS), tf.TensorSpec((None, 0), name="state")])
    def act(self, observation, state):
        way = observation["desired_goal"] - observation["achieved_goal"]  # [B, 3]
        return tf.pad(tf.clip_by_value(10 * way, -1, 1), [[0, 0], [0, 1]]), state  # [B, 4]; the gripper stays as it is

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.int64)])
    def initial_state(self, seeds):
        return tf.zeros((tf.size(seeds), 0))


@pytest.fixture
def reach(tmp_path):
    card = {
        "kind": "policy", "policy_id": "reach", "inputs": export.inputs_card(INPUTS),
        "action": {"shape": [4], "minimum": -1, "maximum": 1},
    }  # fmt: skip
    return f"policy:{export.save_model(tmp_path / 'reach', Reach(), card)}"


def test_fetch_is_recorded_and_solved(tmp_path, reach):
    pytest.importorskip("gymnasium_robotics", reason="the extra [envs] is not installed")
    plan = (PlanLine(FETCH, reach, episodes=2), PlanLine(FETCH, "random", episodes=2))
    summaries = collect(CollectConfig(tmp_path, plan, "fetch"))

    dataset = tfds.builder_from_directory(dataset_path(tmp_path, "fetch")).as_dataset(split="train")
    found = {e["episode_metadata"]["episode_id"].numpy().decode(): e for e in dataset}
    assert set(found) == {s.episode_id for s in summaries}
    for summary in summaries:
        metadata = found[summary.episode_id]["episode_metadata"]
        assert metadata["task_id"].numpy() == b"FetchReach-v4" and metadata["control_rate_hz"].numpy() == 25
        steps = tfds.as_numpy(found[summary.episode_id]["steps"].batch(100).get_single_element())
        assert steps["observation"]["observation"].shape == (51, 10) and steps["action"].shape == (51, 4)
        assert steps["observation"]["observation"].dtype == np.float32
        np.testing.assert_array_equal(steps["discount"], 1)  # a time limit is no terminal
        assert steps["reward"].sum() == pytest.approx(summary.return_)
        # Its sparse reward is -1 until the goal is reached: it and the verdict must tell the same of o_{t+1}.
        np.testing.assert_array_equal(steps["is_success"][1:], steps["reward"][:-1] == 0)

    evaluation = evaluate(EvaluateConfig(FETCH, reach, episodes=10))
    assert evaluation.successes == 10


MODULE = """
import gymnasium, metaworld

def reach(seed):
    return gymnasium.make("Meta-World/MT1", env_name="reach-v3", seed=seed, max_episode_steps=20)
"""


@pytest.mark.filterwarnings("ignore::UserWarning:gymnasium")  # Meta-World's observations leave their own bounds
def test_meta_world_is_recorded(tmp_path, monkeypatch):
    pytest.importorskip("metaworld", reason="the extra [envs] is not installed")
    (tmp_path / "my_meta_world.py").write_text(MODULE)
    monkeypatch.chdir(tmp_path)
    line = PlanLine("my_meta_world:reach", "random", episodes=2, seed=3)
    first, second = collect(CollectConfig(tmp_path, (line,)))
    assert first.task_id == "reach" and first.length == 20 and first.success is False
    again = evaluate(EvaluateConfig(line.env, line.actor, episodes=1, seed=second.seed)).episodes[0]
    assert again == dataclasses.replace(second, episode_id="")  # the seed decides, whatever ran before
