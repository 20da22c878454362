import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets import sequences
from datasets.errors import ArmchairError
from datasets.feeds import Group, Transitions
from datasets.sequences import SequenceFeed


def _transitions(lengths: list[int]) -> tuple[Transitions, np.ndarray]:
    """Episodes of so many transitions each; every number tells where it stands. And a vector for every frame."""
    count = sum(lengths)
    first = np.cumsum([0, *(n + 1 for n in lengths[:-1])])  # frame
    frame = np.concatenate([f + np.arange(n) for f, n in zip(first, lengths, strict=True)]).astype(np.int32)
    number = np.arange(count, dtype=np.float32)
    discount = np.ones(count, np.float32)
    discount[np.cumsum(lengths) - 1] = 0  # every episode ends in a terminal
    transitions = Transitions(
        {}, frame, frame + 1, number[:, None], number + 0.5, discount,
        np.repeat(np.arange(len(lengths)), lengths).astype(np.int32), tuple(map(str, range(len(lengths)))), {},
    )  # fmt: skip
    return transitions, np.arange(count + len(lengths), dtype=np.float32)[:, None]


def _feed(lengths: list[int], length: int, batch: int = 50, groups: list[Group] | None = None) -> SequenceFeed:
    transitions, frames = _transitions(lengths)
    groups = groups or [Group(np.arange(len(transitions), dtype=np.int32), batch)]
    return SequenceFeed(tf.constant(frames), transitions, groups, length, seed=0)


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=6), length=st.integers(1, 7), step=st.integers(0, 99))
def test_a_batch_is_what_brute_force_finds(lengths, length, step):
    transitions, frames = _transitions(lengths)
    feed = _feed(lengths, length, batch=8)
    batch = [part.numpy() for part in feed(tf.constant(step))]
    observation, action, reward, discount, mask = batch
    assert observation.shape == (length + 1, 8, 1)
    for b, first in enumerate(feed.indices(tf.constant(step)).numpy()):
        own = np.flatnonzero(transitions.episode == transitions.episode[first])
        inside = own[own >= first][:length]
        n = len(inside)
        assert n == min(length, len(own))  # nothing is cut that the episode has
        np.testing.assert_array_equal(mask[:, b], np.arange(length) < n)
        np.testing.assert_array_equal(action[:n, b], transitions.action[inside])
        np.testing.assert_array_equal(reward[:, b], np.append(transitions.reward[inside], np.zeros(length - n)))
        np.testing.assert_array_equal(discount[:, b], np.append(transitions.discount[inside], np.zeros(length - n)))
        np.testing.assert_array_equal(observation[:n, b], frames[transitions.frame[inside]])
        np.testing.assert_array_equal(
            observation[n:, b, 0], np.repeat(frames[transitions.next_frame[inside[-1]]], length + 1 - n)
        )


def test_every_stretch_is_drawn_and_none_other():
    transitions, _ = _transitions([5, 2, 3])
    feed = _feed([5, 2, 3], 3)
    drawn = np.concatenate([feed.indices(tf.constant(step)).numpy() for step in range(10)])
    assert set(drawn) == set(sequences.starts(transitions, 3)) == {0, 1, 2, 5, 7}


def test_groups_keep_their_exact_counts():
    transitions, _ = _transitions([5, 5])
    groups = [Group(transitions.of_episodes([True, False]), 6), Group(transitions.of_episodes([False, True]), 2)]
    drawn = _feed([5, 5], 4, groups=groups).indices(tf.constant(3)).numpy()
    np.testing.assert_array_equal(transitions.episode[drawn], [0] * 6 + [1] * 2)


def test_the_seed_and_the_step_decide_a_batch():
    feed, same = _feed([9, 9], 2), _feed([9, 9], 2)
    np.testing.assert_array_equal(feed(tf.constant(4)).reward, same(tf.constant(4)).reward)
    assert (feed(tf.constant(4)).reward.numpy() != feed(tf.constant(5)).reward.numpy()).any()


def test_a_length_of_nothing_is_a_mistake():
    with pytest.raises(ArmchairError, match="a sequence of 0 transitions is none"):
        _feed([3], 0)
