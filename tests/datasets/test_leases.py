"""An episode has one holder at a time, whoever asks, however many at once."""

import threading
import time

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets.store import Store
from datasets.testing import make_episode

TASK = "lift_green"


@pytest.fixture
def store(create_store):
    return create_store()


def lease(store, episodes, user, lease_id, now=0.0, shared=False):
    return store.lease(episodes.split(), TASK, user, lease_id, 60, now, shared)


def holders(store, now=0.0):
    return [(one.episode_id, one.user, one.lease_id) for one in store.leases(TASK, now)]


def test_two_people_get_two_episodes(store):
    assert lease(store, "a b", "ann", "1").episode_id == "a"
    assert lease(store, "a b", "bob", "2").episode_id == "b"
    assert lease(store, "a b", "eve", "3") is None
    assert holders(store) == [("a", "ann", "1"), ("b", "bob", "2")]
    assert store.lease(["a"], "stack", "eve", "4", 60, 0).user == "eve"  # another task, another drawing
    store.release_lease("1")
    store.release_lease("1")
    assert lease(store, "a b", "eve", "3").episode_id == "a"


def test_the_second_tab_of_a_person_replaces_the_first(store):
    lease(store, "a", "ann", "old tab")
    assert lease(store, "a", "ann", "new tab", now=1).expires == 61
    assert store.find_lease("old tab") is None
    assert store.renew_lease("old tab", 60, 2) is None
    assert store.renew_lease("new tab", 60, 2).expires == 62
    assert holders(store) == [("a", "ann", "new tab")]


def test_an_expired_lease_is_renewed_unless_somebody_took_the_episode(store):
    lease(store, "a", "ann", "1")
    assert holders(store, now=60) == []
    assert store.renew_lease("1", 60, 100).expires == 160
    assert lease(store, "a", "bob", "2", now=159) is None
    assert lease(store, "a", "bob", "2", now=160).user == "bob"
    assert store.renew_lease("1", 60, 161) is None
    store.release_lease("2")
    assert store.renew_lease("1", 60, 162) is None  # bob's sketch may be there by now


def test_anyway_is_beside_not_instead(store):
    lease(store, "a", "ann", "1")
    assert lease(store, "a b", "bob", "2", shared=True).episode_id == "a"
    assert holders(store) == [("a", "ann", "1"), ("a", "bob", "2")]
    assert store.renew_lease("1", 60, 9).expires == 69
    assert lease(store, "a", "eve", "3") is None


def test_leases_outlive_a_rebuild_of_the_index(store):
    store.add(make_episode(0, 3, cameras=()), "fake")
    lease(store, "fake-0", "ann", "1")
    store.rebuild_index()
    assert store.renew_lease("1", 60, 9).user == "ann"


@pytest.mark.parametrize("stores", [1, 4])
def test_racing_people_never_hold_the_same_episode(store, stores):
    """Twelve people, through one server and through several, take and give back six episodes."""
    episodes = [f"e{i}" for i in range(6)]
    opened = [store, *(Store.open(store.root) for _ in range(stores - 1))]
    held = {episode: threading.Lock() for episode in episodes}
    wrong: list[str] = []
    start = threading.Barrier(12)

    def person(number):
        mine = opened[number % stores]
        start.wait()
        for turn in range(4):
            got = mine.lease(episodes, TASK, f"user-{number}", f"{number}-{turn}", 60, 0)
            if got is None:
                continue
            if not held[got.episode_id].acquire(blocking=False):
                wrong.append(f"{got} is held twice")
                continue
            time.sleep(0.002)  # drawing
            held[got.episode_id].release()  # before the lease, or the next holder would see it locked
            mine.release_lease(got.lease_id)

    people = [threading.Thread(target=person, args=(number,)) for number in range(12)]
    for one in people:
        one.start()
    for one in people:
        one.join()
    assert wrong == [] and holders(store) == []


@settings(max_examples=25)
@given(
    st.lists(
        st.tuples(st.sampled_from("abc"), st.sampled_from(["ann", "bob", "eve"]), st.integers(0, 40), st.booleans()),
        max_size=15,
    )
)
def test_whatever_happens_one_person_holds_an_episode(tmp_path_factory, events):
    """Leases and renewals at random: an episode never has two holders (unless somebody asked for that)."""
    store = Store.create(tmp_path_factory.mktemp("leases") / "store")
    now = 0.0
    for number, (episode, user, wait, is_renewal) in enumerate(events):
        now += wait
        if is_renewal and number:
            store.renew_lease(str(number - 1), 60, now)
        else:
            lease(store, episode, user, str(number), now)
        taken = [one[0] for one in holders(store, now)]
        assert len(taken) == len(set(taken))
