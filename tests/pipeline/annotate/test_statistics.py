"""What was sketched, by hand-worked numbers."""

import datetime

import numpy as np
import pytest

from datasets.rewards import RewardSequence
from datasets.store import Store
from datasets.testing import make_episode
from pipeline.annotate.statistics import Counter, Work, statistics, work

TASK = "lift_green"
UP = np.linspace(0, 1, 100, dtype=np.float32)
NOON = int(datetime.datetime(2026, 1, 31, 12, tzinfo=datetime.UTC).timestamp())
DAY = 24 * 3600


def sketch(episode_id, user, values=UP, seconds=30.0, timestamp=NOON, number=0):
    return RewardSequence(
        episode_id, TASK, values, f"{user}-{number}", user=user, timestamp=timestamp, seconds_spent=seconds
    )


def test_nothing_yet():
    found = statistics([])
    assert found.total == Work(0, 0, 0, 0, None)
    assert (found.annotators, found.days, found.shared) == ((), (), 0)
    assert found.agreement.order is None and found.agreement.tau is None


def test_work():
    done = work([sketch("a", "ada"), sketch("a", "ada", number=1), sketch("b", "ada", seconds=60)])
    assert done == Work(episodes=2, versions=3, frames=300, minutes=2, frames_per_minute=150)
    # A simulated annotator tells no time: it neither slows nor speeds the others.
    assert work([sketch("a", "ada"), sketch("b", "simulated", seconds=0)]).frames_per_minute == 200


def test_people_and_days():
    found = statistics(
        [
            sketch("old", "bo", timestamp=0),  # imported, without a date
            sketch("a", "ada"),
            sketch("a", "bo", timestamp=NOON + 11 * 3600),
            sketch("b", "ada", timestamp=NOON + DAY),
            sketch("c", "ada", timestamp=NOON + DAY),
        ]
    )
    assert [(a.user, a.work.episodes) for a in found.annotators] == [("ada", 3), ("bo", 2)]
    assert [(d.day, d.work.versions) for d in found.days] == [("2026-01-31", 2), ("2026-02-01", 2)]
    assert found.total.episodes == 4 and found.shared == 1


def test_agreement_of_all_and_of_each():
    episodes = [f"e{i}" for i in range(8)]
    sketches = [sketch(e, user) for e in episodes for user in ("ada", "bo")]
    sketches += [sketch(e, "cy", UP[::-1].copy()) for e in episodes[:4]]  # always the other way round
    found = statistics(sketches)
    assert found.shared == 8
    # Four episodes with pairs 1, 0, 0 and four with 1: each episode counts once.
    assert found.agreement.order.value == pytest.approx((4 / 3 + 4) / 8)
    assert found.agreement.tau.value == pytest.approx((-4 / 3 + 4) / 8)
    assert found.agreement.order.low < found.agreement.order.value < found.agreement.order.high
    by_user = {a.user: a.agreement for a in found.annotators}
    assert by_user["cy"].order.value == 0 and by_user["cy"].order.episodes == 4
    assert by_user["cy"].tau.value == pytest.approx(-1)
    assert by_user["ada"].order.value == by_user["bo"].order.value == pytest.approx((4 * 0.5 + 4) / 8)


def test_only_the_newest_version_is_compared():
    found = statistics([sketch("a", "ada", UP[::-1].copy()), sketch("a", "bo"), sketch("a", "ada", number=1)])
    assert found.agreement.order.value == 1
    assert found.total.versions == 3


def test_one_person_agrees_with_nobody():
    found = statistics([sketch("a", "ada"), sketch("a", "ada", number=1)])
    assert found.shared == 0 and found.annotators[0].agreement.order is None


def test_counter_follows_the_store(tmp_path):
    store = Store.create(tmp_path / "store")
    store.add(make_episode(0, 100, cameras=()), "fake")
    counter = Counter(store, TASK)
    assert counter.statistics().total.versions == 0
    store.add_sketch(sketch("fake-0", "ada"))
    first = counter.statistics()
    assert first.total.versions == 1
    assert counter.statistics() is first
    store.add_sketch(sketch("fake-0", "bo"))
    assert counter.statistics().agreement.order.value == 1
