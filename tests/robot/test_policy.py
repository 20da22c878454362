"""Trained policies: loaded without training code, and refused where they do not fit."""

import json
import time

import numpy as np
import pytest
import tensorflow as tf

from datasets.errors import ArmchairError, SpecMismatchError
from datasets.features import ArraySpec
from pipeline import export
from robot.loop import run_episode
from robot.policy import check, load_policy
from robot.testing import FakeArm

INPUTS = {
    "arm/position": ArraySpec((2,), "float32"),
    "arm/target": ArraySpec((2,), "float32"),
    "arm/left": ArraySpec((1,), "float32"),  # an int64 in the environment
    "pixels/front": ArraySpec((16, 24, 3), "uint8"),
}


class Straight(tf.Module):
    """Goes straight to the target, and makes NaN where the target is NaN."""

    def __init__(self):
        super().__init__()
        self.gain = tf.Variable(10.0)

    @tf.function(input_signature=[*export.input_signature(INPUTS), tf.TensorSpec((None, 1), tf.float32, "state")])
    def act(self, observation, state):
        way = observation["arm/target"] - observation["arm/position"]  # [B, 2]
        nothing = 0 * tf.reduce_mean(tf.cast(observation["pixels/front"], tf.float32), (1, 2, 3))  # [B]
        return tf.clip_by_value(self.gain * way, -1, 1) + nothing[:, None] + 0 * observation["arm/left"], state + 1

    @tf.function(input_signature=[tf.TensorSpec((None,), tf.int64, "seeds")])
    def initial_state(self, seeds):
        return tf.cast(seeds[:, None], tf.float32)


@pytest.fixture(scope="module")
def policy_folder(tmp_path_factory):
    card = {
        "kind": "policy", "policy_id": "straight", "inputs": export.inputs_card(INPUTS),
        "action": {"shape": [2], "minimum": -1, "maximum": 1},
    }  # fmt: skip
    return export.save_model(tmp_path_factory.mktemp("models") / "straight", Straight(), card)


@pytest.fixture
def arm():
    return FakeArm(seed=1, image_size=(16, 24))


def change_card(folder, tmp_path, **changes):
    """A folder with another card and no model: the card is looked at first."""
    card = json.loads((folder / "card.json").read_text()) | changes
    (tmp_path / "card.json").write_text(json.dumps(card))
    return tmp_path


def test_a_policy_acts(policy_folder, arm):
    summary = run_episode(arm, load_policy(policy_folder, arm), seed=0)
    assert summary.success and summary.policy_id == "straight"


def test_overhead_of_a_step_is_small(policy_folder, arm):
    policy, observation = load_policy(policy_folder, arm), arm.reset().observation
    policy.act(observation)
    durations = []
    for _ in range(200):
        start = time.perf_counter()
        policy.act(observation)
        durations.append(time.perf_counter() - start)
    assert np.median(durations) < 5e-3  # 0.3 ms measured on an idle core; a control step lasts 100


def test_a_policy_remembers_until_the_next_episode(policy_folder, arm):
    policy, observation = load_policy(policy_folder, arm), arm.reset().observation
    for seed in (3, 7):
        policy.reset(seed)
        policy.act(observation)
        policy.act(observation)
        assert float(policy._state[0, 0]) == seed + 2  # this one counts its steps from the seed


def test_pictures_of_another_size_are_refused(policy_folder):
    message = r"wants pixels/front as uint8\[16, 24, 3\] but the environment has uint8\[64, 64, 3\]"
    with pytest.raises(SpecMismatchError, match=message):
        load_policy(policy_folder, FakeArm(image_size=(64, 64)))


def test_a_missing_camera_is_named(policy_folder):
    with pytest.raises(
        SpecMismatchError, match=r"wants pixels/front, which the environment does not have \(it has arm/"
    ):
        load_policy(policy_folder, FakeArm())


def test_pictures_are_never_taken_for_numbers(policy_folder, tmp_path, arm):
    inputs = {"pixels/front": {"shape": [16, 24, 3], "dtype": "float32"}}
    with pytest.raises(SpecMismatchError, match="pixels/front as float32"):
        load_policy(change_card(policy_folder, tmp_path, inputs=inputs), arm)


@pytest.mark.parametrize(
    "action", [{"shape": [7], "minimum": -1, "maximum": 1}, {"shape": [2], "minimum": -2, "maximum": 2}]
)
def test_other_actions_are_refused(policy_folder, tmp_path, arm, action):
    with pytest.raises(SpecMismatchError, match="policy straight makes actions"):
        load_policy(change_card(policy_folder, tmp_path, action=action), arm)


def test_a_policy_may_keep_to_a_narrower_range(arm):
    card = {"policy_id": "timid", "inputs": {}, "action": {"shape": [2], "minimum": [-1, -0.5], "maximum": [0.3, 1]}}
    check(card, arm.observation_spec(), arm.action_spec())


def test_what_is_no_policy_is_refused(policy_folder, tmp_path, arm):
    with pytest.raises(ArmchairError, match=r"is not a policy \(no card.json\)"):
        load_policy(tmp_path / "nowhere", arm)
    with pytest.raises(ArmchairError, match="holds a reward_model"):
        load_policy(change_card(policy_folder, tmp_path, kind="reward_model"), arm)
    with pytest.raises(ArmchairError, match="cannot be read"):  # a card without its model
        load_policy(change_card(policy_folder, tmp_path), arm)
    (tmp_path / "card.json").write_text("{")
    with pytest.raises(ArmchairError, match="damaged"):
        load_policy(tmp_path, arm)


def test_one_of_an_older_version_is_refused(policy_folder, tmp_path, arm):
    class Old(tf.Module):
        act = Straight.act

    old = Old()
    old.gain = tf.Variable(10.0)
    card = json.loads((policy_folder / "card.json").read_text())
    with pytest.raises(ArmchairError, match="those of older versions: export it again"):
        load_policy(export.save_model(tmp_path / "old", old, card), arm)


def test_nan_never_reaches_the_robot(policy_folder, arm):
    observation = arm.reset().observation | {"arm/target": np.float32([np.nan, 0])}
    with pytest.raises(ArmchairError, match="arm/target, which is not finite"):
        load_policy(policy_folder, arm).act(observation)
