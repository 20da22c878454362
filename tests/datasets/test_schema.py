"""The vocabulary, the alignment that it declares, and the values that speak it."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets import schema
from datasets.errors import ArmchairError
from datasets.rewards import RewardSequence
from datasets.testing import make_episode


@given(st.lists(st.floats(0, 1, width=32), min_size=1))
def test_the_reward_of_a_transition_is_that_of_the_frame_it_leads_to(values):
    rewards = schema.transition_rewards(np.array(values, np.float32))
    assert rewards.dtype == np.float32
    assert rewards.tolist() == [values[t + 1] for t in range(len(values) - 1)]


@pytest.mark.parametrize("terminal", [True, False])
def test_fake_episodes_follow_the_alignment(terminal):
    episode = make_episode(0, 7, terminal=terminal)
    reached = episode.extras[schema.IS_SUCCESS].astype(np.float32)
    np.testing.assert_array_equal(episode.reward[:-1], schema.transition_rewards(reached))
    assert episode.reward[:-1].tolist() == [0, 0, 0, 0, 0, 1]
    assert episode.discount[:-1].tolist() == [1, 1, 1, 1, 1, 0 if terminal else 1]


def test_fake_episodes_depend_on_their_arguments_alone():
    fields = [dict(make_episode(3, 4, ("wrist",)).step_fields()) for _ in range(2)]
    for name, array in fields[0].items():
        np.testing.assert_array_equal(array, fields[1][name])
    assert not np.array_equal(make_episode(4, 4).action, fields[0]["action"])


def test_only_what_is_known_of_objects_is_privileged():
    objects = {name for name in schema.OBSERVATIONS if name.startswith("objects/")}
    assert {name for name in schema.OBSERVATIONS if schema.is_privileged(name)} == objects
    assert objects
    assert not schema.is_privileged("objects/blue/pose")  # a foreign name


def test_public_values_are_sketchys():
    assert [str(kind) for kind in schema.EpisodeType] == [
        "EPISODE_ROBOT_AGENT", "EPISODE_ROBOT_TELEOPERATION", "EPISODE_ROBOT_DAGGER",
    ]  # fmt: skip
    assert str(schema.RewardType.SKETCH) == "REWARD_SKETCH"


def test_a_reward_sequence_is_float32():
    sequence = RewardSequence("e", "lift_green", np.array([0, 0.1, 1], np.float64), "s")
    assert sequence.values.dtype == np.float32


@pytest.mark.parametrize(
    ("values", "said"),
    [
        ([0, 1.5], "1 values outside [0, 1], the first 1.5 at frame 1"),
        ([-0.1, 2], "2 values outside [0, 1], the first -0.1"),
        ([0, np.nan], "the first nan at frame 1"),
        ([], "one number per frame"),
        ([[0, 1]], "one number per frame"),
    ],
)
def test_a_wrong_reward_sequence_says_where(values, said):
    with pytest.raises(ArmchairError) as caught:
        RewardSequence("e7", "lift_green", np.array(values), "s3")
    assert said in str(caught.value) and "'e7'" in str(caught.value) and "'s3'" in str(caught.value)
