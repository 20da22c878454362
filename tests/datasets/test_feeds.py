import dataclasses

import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from datasets import features, feeds, testing, video
from datasets.errors import ArmchairError, BadEpisodeError, SpecMismatchError, StoreError
from datasets.feeds import Group, RewardKind, RewardSource, TransitionFeed
from datasets.query import Query
from datasets.rewards import RewardSequence
from datasets.store import Store

JOINTS = "sawyer/joints/angle"
KEYS = (JOINTS, "gripper/grasp")
TRUE = RewardSource(RewardKind.TRUE)


def _store(path, *episodes) -> Store:
    store = Store.create(path)
    for episode in episodes:
        store.add(episode, "fake")
    store.publish()
    return store


def _episode(seed, num_steps=5, **changes):
    return dataclasses.replace(testing.make_episode(seed, num_steps, cameras=()), **changes)


def _load(store, rewards=TRUE, keys=KEYS, task="lift_green"):
    return feeds.load_transitions(store, store.query(Query()), keys, rewards, task)


class TestRewardSource:
    @pytest.mark.parametrize("text", ["true", "none", "sketch", "model:lift-1"])
    def test_text_round_trip(self, text):
        assert str(RewardSource.parse(text)) == text

    @pytest.mark.parametrize("text", ["", "model", "model:", "true:x", "success"])
    def test_other_texts_are_refused(self, text):
        with pytest.raises(ArmchairError, match="give true, none, sketch or model:<model id>"):
            RewardSource.parse(text)


class TestLoadTransitions:
    def test_transitions_are_those_of_the_episodes(self, tmp_path):
        episodes = [_episode(0, 5), _episode(1, 3), _episode(2, 4)]
        transitions = _load(_store(tmp_path, *episodes))
        expected = [
            (e.observation[JOINTS][t], e.action[t], e.reward[t], e.observation[JOINTS][t + 1])
            for e in episodes
            for t in range(e.num_steps - 1)
        ]
        assert len(transitions) == len(expected) == 4 + 2 + 3
        joints = transitions.observation[JOINTS]
        assert len(joints) == 5 + 3 + 4  # every frame once
        for n, (o, a, r, after) in enumerate(expected):
            np.testing.assert_array_equal(joints[transitions.frame[n]], o)
            np.testing.assert_array_equal(transitions.action[n], a)
            assert transitions.reward[n] == r
            np.testing.assert_array_equal(joints[transitions.frame[n] + 1], after)
        assert transitions.episode_ids == ("fake-0", "fake-1", "fake-2")
        assert transitions.inputs["gripper/grasp"].dtype == "int64"

    def test_time_limit_keeps_the_discount_and_a_terminal_state_drops_it(self, tmp_path):
        terminal = testing.make_episode(1, 3, cameras=(), terminal=True)
        transitions = _load(_store(tmp_path, _episode(0, 3), terminal))
        np.testing.assert_array_equal(transitions.discount, [1, 1, 1, 0])

    def test_a_sketch_rates_the_frame_that_a_transition_leads_to(self, tmp_path):
        store = _store(tmp_path, _episode(0, 4))
        store.add_sketch(RewardSequence("fake-0", "lift_green", np.float32([0.1, 0.2, 0.3, 0.9]), "s1"))
        transitions = _load(store, RewardSource(RewardKind.SKETCH))
        np.testing.assert_allclose(transitions.reward, [0.2, 0.3, 0.9])

    def test_sketches_of_several_people_are_averaged(self, tmp_path):
        store = _store(tmp_path, _episode(0, 2))
        for user, value in (("ann", 0.2), ("bob", 0.6)):
            store.add_sketch(RewardSequence("fake-0", "lift_green", np.float32([0, value]), f"s-{user}", user=user))
        np.testing.assert_allclose(_load(store, RewardSource(RewardKind.SKETCH)).reward, [0.4])

    def test_a_prediction_rates_the_frame_that_a_transition_leads_to(self, tmp_path, monkeypatch):
        store = _store(tmp_path, _episode(0, 4), _episode(1, 3))
        predicted = {"fake-0": np.float32([0.1, 0.2, 0.3, 0.9]), "fake-1": np.float32([0.5, 0.6, 0.7])}
        monkeypatch.setattr(store, "predictions", lambda model_id, ids: {i: predicted[i] for i in ids})
        np.testing.assert_allclose(_load(store, RewardSource(RewardKind.MODEL, "m")).reward, [0.2, 0.3, 0.9, 0.6, 0.7])

    def test_missing_predictions_are_counted(self, tmp_path, monkeypatch):
        store = _store(tmp_path, _episode(0), _episode(1), _episode(2))
        monkeypatch.setattr(store, "predictions", lambda model_id, ids: {"fake-0": np.zeros(5, np.float32)})
        with pytest.raises(ArmchairError, match="2 of 3 episodes have no rewards from model:m: run `armchair"):
            _load(store, RewardSource(RewardKind.MODEL, "m"))

    def test_predictions_of_another_length_are_refused(self, tmp_path, monkeypatch):
        store = _store(tmp_path, _episode(0))
        monkeypatch.setattr(store, "predictions", lambda model_id, ids: {"fake-0": np.zeros(4, np.float32)})
        with pytest.raises(StoreError, match="rate 4 frames, but it has 5"):
            _load(store, RewardSource(RewardKind.MODEL, "m"))

    def test_logged_rewards_are_for_the_logged_task_only(self, tmp_path):
        store = _store(tmp_path, _episode(0), testing.make_episode(1, cameras=(), task_id="reach_green"))
        with pytest.raises(ArmchairError, match="1 of 2 episodes were recorded for another task"):
            _load(store)
        assert not _load(store, RewardSource(RewardKind.NONE)).reward.any()

    def test_a_missing_observation_is_named(self, tmp_path):
        with pytest.raises(SpecMismatchError, match="episode fake-0 has no observation 'wrist/force'"):
            _load(_store(tmp_path, _episode(0)), keys=("wrist/force",))

    def test_episodes_that_differ_are_named(self, tmp_path):
        store = _store(tmp_path, _episode(0))
        store.add(testing.make_episode(1, cameras=(), action_size=6), "other")
        with pytest.raises(SpecMismatchError, match="episodes fake-0 and fake-1 differ in the shapes"):
            _load(store)

    def test_nan_is_named(self):
        episode = _episode(0)
        episode.action[2, 3] = np.nan

        class OneEpisode:  # a store would not have taken it
            read_many = staticmethod(lambda rows: iter([episode]))
            spec = staticmethod(lambda dataset: features.step_spec(episode))

        row = type("Row", (), {"episode_id": "fake-0", "num_steps": 5, "task_id": "lift_green", "dataset": "fake"})()
        with pytest.raises(BadEpisodeError, match="'action' of episode fake-0 is not finite at step 2"):
            feeds.load_transitions(OneEpisode(), [row], KEYS, TRUE, "lift_green")

    def test_nothing_to_learn_from(self, tmp_path):
        with pytest.raises(ArmchairError, match="no episode with at least two steps"):
            feeds.load_transitions(Store.create(tmp_path), [], KEYS, TRUE, "lift_green")


class TestNStep:
    @given(
        st.lists(st.tuples(st.integers(2, 7), st.booleans()), min_size=1, max_size=4),
        st.integers(1, 9), st.sampled_from([0.9, 0.99, 1.0]), st.integers(0, 99),
    )  # fmt: skip
    def test_equals_brute_force_to_the_bit(self, episodes, n, gamma, seed):
        rng, gamma = np.random.default_rng(seed), np.float32(gamma)
        lengths = [length - 1 for length, _ in episodes]  # transitions of each
        starts = np.cumsum([0, *(length for length, _ in episodes)])[:-1]  # frames
        frame = np.concatenate([s + np.arange(length) for s, length in zip(starts, lengths, strict=True)])
        discount = [np.append(np.ones(length - 2), 0 if terminal else 1) for length, terminal in episodes]
        one = feeds.Transitions(
            {}, frame.astype(np.int32), frame.astype(np.int32) + 1, np.zeros((len(frame), 1), np.float32),
            rng.random(len(frame), np.float32), np.concatenate(discount).astype(np.float32),
            np.repeat(np.arange(len(episodes)), lengths).astype(np.int32), tuple(map(str, range(len(episodes)))), {},
        )  # fmt: skip
        many = feeds.n_step(one, n, gamma)
        for t in range(len(frame)):
            ahead = [k for k in range(t, min(t + n, len(frame))) if one.episode[k] == one.episode[t]]
            reward, product = np.float32(0), np.float32(1)
            for k in ahead:
                reward += product * one.reward[k]
                product *= one.discount[k] if k == ahead[-1] else gamma * one.discount[k]
            assert many.next_frame[t] == one.next_frame[ahead[-1]]
            assert many.reward[t] == reward and many.discount[t] == product
        assert many.frame is one.frame and one.reward.dtype == many.reward.dtype == np.float32

    def test_one_step_changes_nothing(self, tmp_path):
        transitions = _load(_store(tmp_path, _episode(0), _episode(1)))
        same = feeds.n_step(transitions, 1, 0.9)
        np.testing.assert_array_equal(same.reward, transitions.reward)
        np.testing.assert_array_equal(same.next_frame, transitions.frame + 1)

    def test_batches_reach_ahead(self, tmp_path):
        transitions = feeds.n_step(_load(_store(tmp_path, _episode(0, 5))), 3, 0.9)
        frames = tf.range(5.0)[:, None]
        feed = TransitionFeed(frames, transitions, [Group(np.arange(4, dtype=np.int32), 4)], 0)
        batch = feed(tf.constant(0))
        expected = np.minimum(batch.observation.numpy() + 3, 4)
        np.testing.assert_array_equal(batch.next_observation, expected)


class TestTransitionFeed:
    def _feed(self, tmp_path, share=0.25, seed=0):
        episodes = [testing.make_episode(i, 6, cameras=(), task_id="reach_green") for i in range(6)]
        transitions = _load(_store(tmp_path, *episodes, _episode(6, 6), _episode(7, 6)), RewardSource(RewardKind.NONE))
        special = [i >= 6 for i in range(8)]
        groups = feeds.mixture(transitions, special, share, batch_size=32)
        return TransitionFeed(transitions.observation[JOINTS], transitions, groups, seed), transitions

    @pytest.mark.parametrize("share", [0, 0.25, 0.5, 1])
    def test_every_batch_has_the_exact_share(self, tmp_path, share):
        feed, transitions = self._feed(tmp_path, share)
        for step in range(20):
            chosen = feed.indices(tf.constant(step)).numpy()
            own = transitions.episode[chosen] >= 6
            assert len(chosen) == 32
            assert own[32 - round(32 * share) :].all()

    def test_a_batch_depends_on_seed_and_step_alone(self, tmp_path):
        first, _ = self._feed(tmp_path / "1")
        again, _ = self._feed(tmp_path / "2")
        other, _ = self._feed(tmp_path / "3", seed=1)
        for _ in range(3):
            first.indices(tf.constant(0))  # drawing leaves nothing behind
        assert first.indices(tf.constant(7)).numpy().tolist() == again.indices(tf.constant(7)).numpy().tolist()
        assert first.indices(tf.constant(7)).numpy().tolist() != first.indices(tf.constant(8)).numpy().tolist()
        assert first.indices(tf.constant(7)).numpy().tolist() != other.indices(tf.constant(7)).numpy().tolist()

    def test_all_transitions_of_a_group_are_drawn_alike(self, tmp_path):
        feed, transitions = self._feed(tmp_path, 0)
        drawn = np.concatenate([feed.indices(tf.constant(step)) for step in range(500)])
        counts = np.bincount(drawn, minlength=len(transitions))
        assert counts.min() > 0.7 * counts.mean() and counts.max() < 1.3 * counts.mean()  # 400 each: 5 % deviation

    def test_batches_hold_the_chosen_transitions(self, tmp_path):
        feed, transitions = self._feed(tmp_path)
        chosen, batch = feed.indices(tf.constant(3)).numpy(), feed(tf.constant(3))
        joints, frame = transitions.observation[JOINTS], transitions.frame[chosen]
        np.testing.assert_array_equal(batch.observation, joints[frame])
        np.testing.assert_array_equal(batch.next_observation, joints[frame + 1])
        np.testing.assert_array_equal(batch.action, transitions.action[chosen])
        np.testing.assert_array_equal(transitions.episode[chosen], frame // 6)  # 6 frames an episode

    def test_a_share_of_no_episode_is_refused(self, tmp_path):
        _, transitions = self._feed(tmp_path)
        with pytest.raises(ArmchairError, match="set it to 0"):
            feeds.mixture(transitions, [False] * 8, 0.25, 32)

    def test_groups_may_be_any(self, tmp_path):
        _, transitions = self._feed(tmp_path)
        groups = [Group(np.int32([0]), 1), Group(np.int32([1]), 2), Group(np.int32([2]), 3)]
        feed = TransitionFeed(transitions.observation[JOINTS], transitions, groups, 0)
        assert feed.indices(tf.constant(9)).numpy().tolist() == [0, 1, 1, 2, 2, 2]


class TestPictures:
    """Two cameras; in memory, or on disk because no memory is allowed."""

    KEYS = (*KEYS, "pixels/basket_front_left", "pixels/wrist")

    @pytest.fixture
    def store(self, tmp_path) -> Store:
        cameras = ("basket_front_left", "wrist")
        return _store(tmp_path, *(testing.make_episode(seed, 4 + seed, cameras, (6, 8)) for seed in range(4)))

    def _feed(self, store, memory, n=1):
        transitions = feeds.load_transitions(store, store.query(Query()), self.KEYS, TRUE, "lift_green", memory)
        groups = feeds.mixture(transitions, [False, False, True, True], 0.5, 8)
        return TransitionFeed(
            transitions.observation[JOINTS], feeds.n_step(transitions, n, 0.9), groups, 0
        ), transitions

    @pytest.mark.parametrize("memory", [0, None])
    def test_a_batch_shows_the_chosen_frames(self, store, memory):
        feed, transitions = self._feed(store, memory, n=2)
        assert sorted(transitions.observation) == sorted(KEYS)
        assert sorted(transitions.inputs) == sorted(self.KEYS)
        episodes = list(store.read_many(store.query(Query())))
        chosen, batch = feed.indices(tf.constant(3)).numpy(), feed(tf.constant(3))
        frame = transitions.frame[chosen]
        reached = np.minimum(
            frame + 2, [np.flatnonzero(transitions.episode == e)[-1] + e + 1 for e in transitions.episode[chosen]]
        )
        for seen, frames in ((batch.observation, frame), (batch.next_observation, reached)):
            np.testing.assert_array_equal(seen.vector, transitions.observation[JOINTS][frames])
            for name in self.KEYS[2:]:
                everything = np.concatenate([video.decode_frames(e.observation[name]) for e in episodes])
                assert seen.pictures[name].dtype == tf.uint8
                np.testing.assert_array_equal(seen.pictures[name], everything[frames])

    def test_memory_and_disk_give_the_same_batches_to_the_bit(self, store):
        in_memory, on_disk = self._feed(store, None)[0], self._feed(store, 0)[0]
        for step in (*range(10), 500, 501, 3):
            one, other = (tf.nest.flatten(feed(tf.constant(step))) for feed in (in_memory, on_disk))
            assert [(a.dtype, a.shape) for a in one] == [(a.dtype, a.shape) for a in other]
            assert [a.numpy().tobytes() for a in one] == [a.numpy().tobytes() for a in other]
