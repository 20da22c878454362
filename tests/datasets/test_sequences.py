import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets import feeds, sequences
from datasets.errors import ArmchairError
from datasets.feeds import Group, TransitionFeed, Transitions
from datasets.sequences import SequenceBatch, SequenceFeed

FIELDS = ("frame", "next_frame", "action", "reward", "discount", "episode")


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
    observation, action, reward, discount, reached, mask = batch
    np.testing.assert_array_equal(reached, np.broadcast_to(np.arange(1, length + 1)[:, None], reached.shape))
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


@settings(max_examples=30, deadline=None)
@given(lengths=st.lists(st.integers(1, 9), min_size=1, max_size=4), length=st.integers(1, 7), n=st.integers(1, 5))
def test_spanning_n_steps_is_what_feeds_does_within_the_stretch(lengths, length, n):
    transitions, frames = _transitions(lengths)
    whole = [Group(np.arange(len(transitions), dtype=np.int32), 8)]
    feed = SequenceFeed(tf.constant(frames), transitions, whole, length, 0, n, 0.9)
    batch = feed(tf.constant(0))
    for b, first in enumerate(feed.indices(tf.constant(0)).numpy()):
        inside = np.flatnonzero(transitions.episode == transitions.episode[first])
        inside = inside[inside >= first][:length]
        stretch = dataclasses.replace(
            transitions, **{k: getattr(transitions, k)[inside] for k in FIELDS}
        )  # as if it were all of the episode
        expected = feeds.n_step(stretch, n, 0.9)
        np.testing.assert_allclose(batch.reward[: len(inside), b], expected.reward, rtol=1e-6)
        np.testing.assert_allclose(batch.discount[: len(inside), b], expected.discount, rtol=1e-6)
        reached = batch.reached.numpy()[: len(inside), b]
        np.testing.assert_array_equal(transitions.frame[first] + reached, expected.next_frame)
        np.testing.assert_array_equal(batch.observation.numpy()[reached, b, 0], frames[expected.next_frame, 0])


def test_rows_leave_out_what_is_not_there():
    batch = _feed([5, 2], 3, batch=20)(tf.constant(0))
    mask = batch.mask.numpy()
    assert not mask.all()
    np.testing.assert_array_equal(batch.rows(batch.reward), batch.reward.numpy()[mask])
    np.testing.assert_array_equal(batch.rows(batch.action), batch.action.numpy()[mask])
    assert batch.rows(tf.zeros((3, 20, 0))).shape == (mask.sum(), 0)


def test_values_are_taken_from_where_a_transition_leads():
    transitions, frames = _transitions([7])
    feed = SequenceFeed(tf.constant(frames), transitions, [Group(np.arange(7, dtype=np.int32), 4)], 4, 0, 3, 0.9)
    batch = feed(tf.constant(0))
    led = batch.where_they_lead(batch.observation[1:])  # the values are the frames' own numbers
    position = np.arange(4)[:, None]
    first = batch.observation.numpy()[0, :, 0]
    np.testing.assert_array_equal(led[:, 0], (first + np.minimum(position + 3, 4)).ravel())


def test_a_transition_is_a_stretch_of_one():
    transitions, frames = _transitions([5, 3])
    groups = [Group(np.arange(8, dtype=np.int32), 6)]
    single = TransitionFeed(tf.constant(frames), transitions, groups, 0)(tf.constant(2))
    made, drawn = SequenceBatch.of(single), SequenceFeed(tf.constant(frames), transitions, groups, 1, 0)(tf.constant(2))
    for one, other in zip(made[:5], drawn[:5], strict=True):
        np.testing.assert_array_equal(one, other)
    np.testing.assert_array_equal(made.rows(made.reward), single.reward)
    np.testing.assert_array_equal(made.where_they_lead(made.observation[1:]), single.next_observation)


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
