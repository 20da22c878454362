import numpy as np
import pytest
import tensorflow as tf
from hypothesis import given
from hypothesis import strategies as st

from datasets import saved_queries, testing
from datasets.errors import ArmchairError, StoreError
from datasets.feeds import Transitions
from datasets.query import Query
from datasets.rewards import RewardSequence
from datasets.store import Store
from pipeline.batch_rl.config import BcConfig, BcTraining
from pipeline.batch_rl.data import Data, good_episodes

REWARDS = st.lists(st.lists(st.sampled_from([0.0, 0.25, 0.5, 1.0]), min_size=1, max_size=14), min_size=1, max_size=12)


def _transitions(rewards: list[list[float]]) -> Transitions:
    episode = np.repeat(np.arange(len(rewards)), [len(r) for r in rewards]).astype(np.int32)
    frame = np.arange(len(episode), dtype=np.int32) + episode
    ones = np.ones(len(episode), np.float32)
    return Transitions(
        {}, frame, frame + 1, ones[:, None], np.float32(np.concatenate(rewards)), ones, episode,
        tuple(map(str, range(len(rewards)))), {},
    )  # fmt: skip


class TestGoodEpisodes:
    @given(REWARDS, st.floats(0.05, 0.95))
    def test_the_best_are_those_that_fewer_others_beat(self, rewards, share):
        returns = [sum(r) for r in rewards]
        if len(rewards) > 1 and len(set(returns)) == 1:
            with pytest.raises(ArmchairError, match="so none is the best"):
                good_episodes(_transitions(rewards), BcConfig(best=share))
            return
        kept = good_episodes(_transitions(rewards), BcConfig(best=share))
        places = max(1, round(share * len(rewards)))
        for e, mine in enumerate(returns):
            before = sum(other > mine for other in returns) + sum(other == mine for other in returns[:e])
            assert kept[e] == (before < places)

    @given(REWARDS, st.sampled_from([0.0, 0.1, 0.3, 0.5]))
    def test_success_is_a_high_reward_in_the_last_ten_transitions(self, rewards, above):
        ended_well = [any(reward > above for reward in r[-10:]) for r in rewards]
        if not any(ended_well):
            with pytest.raises(ArmchairError, match="no episode ends with a reward above"):
                good_episodes(_transitions(rewards), BcConfig(success_above=above))
            return
        assert good_episodes(_transitions(rewards), BcConfig(success_above=above)).tolist() == ended_well

    def test_the_best_of_those_that_ended_well(self):
        rewards = [[1, 1, *[0] * 10], [0, 0.9], [1, 0.9], [0.5, 0.9], [0, 0]]  # the first ended badly
        kept = good_episodes(_transitions(rewards), BcConfig(best=0.67, success_above=0.5))
        assert kept.tolist() == [False, False, True, True, False]


@pytest.fixture(scope="module")
def store(tmp_path_factory) -> Store:
    """Eight episodes of an arm, of which the even ones succeed; two demonstrations and two of another task."""
    store = Store.create(tmp_path_factory.mktemp("store"))
    for seed in range(12):
        policy = "ada" if seed in (8, 9) else "agent"
        task = "lift_green" if seed < 10 else "reach_green"
        store.add(testing.make_episode(seed, 5 + seed, cameras=(), policy_id=policy, task_id=task), "fake")
        liked = np.full(5 + seed, 0.9 if seed % 2 else 0.1, np.float32)  # by somebody who wants failures
        store.add_sketch(RewardSequence(f"fake-{seed}", "lift_green", liked, "s"))
    store.publish()
    return store


def _config(store: Store, **changes) -> BcTraining:
    options = {"store": store.root, "out": store.root / "run", "task": "lift_green", "batch_size": 16}
    return BcTraining(**(options | changes))


def _kept(store: Store, rewards: str, method: BcConfig) -> tuple[str, ...]:
    return Data(_config(store, query=LIFT, rewards=rewards, method=method)).transitions.episode_ids


LIFT = "task_id=lift_green"


class TestFilteredCloning:
    def test_it_is_as_if_only_the_good_episodes_were_there(self, store):
        filtered = Data(_config(store, query=LIFT, rewards="true", method=BcConfig(success_above=0.5)))
        selected = Data(_config(store, query="ids=fake-0,fake-2,fake-4,fake-6,fake-8"))
        assert filtered.summary | {"queries": {}} == selected.summary | {"queries": {}}
        assert filtered.summary["episodes"] == 5
        for step in range(3):
            ours, theirs = (data.feed(tf.constant(step)) for data in (filtered, selected))
            np.testing.assert_array_equal(ours.observation, theirs.observation)
            np.testing.assert_array_equal(ours.action, theirs.action)

    def test_rewards_decide(self, store):
        half, some = BcConfig(best=0.5), BcConfig(best=0.3)
        assert _kept(store, "true", half) == ("fake-0", "fake-2", "fake-4", "fake-6", "fake-8")
        assert _kept(store, "sketch", some) == ("fake-5", "fake-7", "fake-9")
        with pytest.raises(ArmchairError, match="10 of 10 episodes have no rewards from model:m1"):
            _kept(store, "model:m1", half)

    def test_a_filter_needs_rewards(self, store):
        for method in (BcConfig(best=0.5), BcConfig(success_above=0.5)):
            with pytest.raises(ArmchairError, match="only rewards tell which episodes are good: add --rewards"):
                _config(store, method=method)

    @pytest.mark.parametrize("share", [0.0, -0.1, 1.1])
    def test_a_share_of_episodes_is_above_0(self, share):
        with pytest.raises(ArmchairError, match="is no share of the episodes"):
            BcConfig(best=share)

    def test_of_episodes_that_are_all_alike_none_is_the_best(self, store):
        with pytest.raises(ArmchairError, match="all 5 episodes have the return 1, so none is the best"):
            Data(_config(store, query=f"{LIFT} verdict=success", rewards="true", method=BcConfig(best=0.5)))


DEMONSTRATED = {"query": "policy_id=agent", "demonstrations": "policy_id=ada", "demonstration_share": 0.125}


class TestDemonstrations:
    def test_every_batch_has_exactly_its_share_of_them(self, store):
        data = Data(_config(store, **DEMONSTRATED))
        assert data.summary["episodes"] == 12
        ids = np.array(data.transitions.episode_ids)
        for step in range(20):
            episodes = ids[data.transitions.episode[data.feed.indices(tf.constant(step)).numpy()]]
            assert not {"fake-8", "fake-9"} & set(episodes[:14])  # the query's
            assert not {"fake-10", "fake-11"} & set(episodes[10:14])  # of these, the task's own: a quarter
            assert set(episodes[14:]) <= {"fake-8", "fake-9"}

    def test_what_is_selected_already_is_not_loaded_twice(self, store):
        data = Data(_config(store, **(DEMONSTRATED | {"query": ""})))
        assert data.summary | {"queries": {}} == Data(_config(store)).summary | {"queries": {}}

    @pytest.mark.parametrize(
        ("changes", "message"),
        [
            ({"demonstration_share": 0.0}, "give both, or neither"),
            ({"demonstrations": ""}, "give both, or neither"),
            ({"demonstration_share": 1.5}, "demonstration_share=1.5 is not a share"),
            ({"demonstration_share": 0.8}, "are more than a whole batch: lower one"),
        ],
    )
    def test_mistakes_are_told_at_once(self, store, changes, message):
        with pytest.raises(ArmchairError, match=message):
            _config(store, **(DEMONSTRATED | changes))

    def test_no_demonstration(self, store):
        with pytest.raises(StoreError, match="no episode in .* matches policy_id=bob"):
            Data(_config(store, **(DEMONSTRATED | {"demonstrations": "policy_id=bob"})))

    def test_demonstrations_that_the_filter_leaves_out(self, store):
        changes = {"demonstrations": "ids=fake-9", "query": "ids=fake-0,fake-2"}  # 9 fails
        method = BcConfig(success_above=0.5)
        with pytest.raises(ArmchairError, match="2 of 16 places in each batch are for demonstration episodes"):
            Data(_config(store, **(DEMONSTRATED | changes), rewards="true", method=method))


def _save(store: Store, name: str, text: str) -> saved_queries.SavedQuery:
    query = Query.parse(text)
    return saved_queries.save(store.root, name, query, [row.episode_id for row in store.query(query)])


def test_queries_are_noted_as_written_and_as_what_they_meant_and_found(store):
    lifts = _save(store, "lifts", "task_id=lift_green policy_id=agent order=newest")
    shown = _save(store, "ada", "policy_id=ada")
    summary = Data(_config(store, query="saved=lifts@1")).summary
    told = {"asked": "saved=lifts@1", "query": lifts.text, "episodes": 8, "fingerprint": lifts.fingerprint}
    assert summary["queries"] == {"query": told}
    assert (summary["episodes"], summary["fingerprint"]) == (8, lifts.fingerprint)  # whatever the order

    both = Data(_config(store, query="saved=lifts", demonstrations="saved=ada", demonstration_share=0.125)).summary
    assert both["queries"]["query"] == told | {"asked": "saved=lifts"}
    assert both["queries"]["demonstrations"] == {
        "asked": "saved=ada", "query": "policy_id=ada", "episodes": 2, "fingerprint": shown.fingerprint
    }  # fmt: skip
    assert both["fingerprint"] == _save(store, "all", "task_id=lift_green").fingerprint
