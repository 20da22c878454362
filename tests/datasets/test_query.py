"""Queries select exactly the rows that a plain reading of the conditions selects."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets.errors import ArmchairError
from datasets.query import Query, split_of
from datasets.rewards import RewardSequence
from datasets.store import Store
from datasets.testing import make_episode

SEEDS = range(12)


@pytest.fixture(scope="module")
def store(tmp_path_factory):
    store = Store.create(tmp_path_factory.mktemp("query") / "store")
    for seed in SEEDS:
        tags = {0: "good,curated", 1: "curated", 2: ""}[seed % 3]
        episode = make_episode(
            seed, num_steps=2 + seed, cameras=(), tags=tags, task_id="lift_green" if seed < 8 else "stack",
            episode_type="EPISODE_ROBOT_TELEOPERATION" if seed == 3 else "EPISODE_ROBOT_AGENT",
        )  # fmt: skip
        store.add(episode, "even" if seed % 2 == 0 else "odd")
    store.add_sketch(RewardSequence("fake-4", "stack", np.zeros(6), "a"))
    return store


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("", list(SEEDS)),
        ("task_id=stack", [8, 9, 10, 11]),
        ("verdict=success task_id=lift_green", [0, 2, 4, 6]),
        ("tag=curated dataset=odd", [1, 3, 7, 9]),
        ("tag=good", [0, 3, 6, 9]),
        ("episode_type=EPISODE_ROBOT_TELEOPERATION", [3]),
        ("policy_id=fake-policy-2", [2, 5, 8, 11]),
        ("robot=fake", list(SEEDS)),
        ("robot=widowx", []),
        ("ids=fake-7,fake-2,unknown", [2, 7]),
        ("has_sketch=stack", [4]),
        ("has_sketch=lift_green", []),
        ("min_steps=12", [10, 11]),
        ("since=1700000600", [10, 11]),
        ("until=1700000120", [0, 1]),
        ("since=2023-11-14T22:23:20", [10, 11]),
        ("since=2099-01-01", []),
    ],
)
def test_conditions(store, text, expected):
    found = [row.seed for row in store.query(Query.parse(text))]
    assert found == sorted(expected, key=lambda seed: (seed % 2, seed))  # by (dataset, shard)


def test_split_is_a_condition_like_any(store):
    for split in ("train", "test"):
        expected = {f"fake-{seed}" for seed in SEEDS if split_of(f"fake-{seed}") == split}
        assert {row.episode_id for row in store.query(Query(split=split))} == expected


def test_limit_takes_the_first(store):
    assert store.query(Query(limit=5)) == store.query(Query())[:5]


def test_any_number_of_ids(store):
    ids = tuple(f"absent-{i}" for i in range(40_000)) + ("fake-3",)  # more than SQLite has parameters
    assert [row.episode_id for row in store.query(Query(ids=ids))] == ["fake-3"]


def test_tags_come_with_the_row(store):
    assert [row.tags for row in store.query(Query(ids=("fake-0", "fake-1", "fake-2")))] == [
        "curated,good",
        "",
        "curated",
    ]


def test_split_is_stable_and_a_tenth():
    assert split_of("fake-0") == "train" and split_of("fake-2") == "train"
    share = sum(split_of(str(i)) == "test" for i in range(10_000)) / 10_000
    assert abs(share - 0.1) < 0.01  # three standard deviations


@given(
    st.builds(
        Query,
        task_id=st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1),
        verdict=st.sampled_from([None, "success", "failure"]),
        ids=st.none() | st.lists(st.from_regex(r"[a-z0-9-]+", fullmatch=True), min_size=1).map(tuple),
        limit=st.none() | st.integers(0, 9),
    )
)
def test_text_form_round_trip(query):
    assert Query.parse(str(query)) == query


@pytest.mark.parametrize(
    "text", ["lift_green", "colour=red", "limit=ten", "since=yesterday", "verdict=maybe", "split=dev", "tag='a"]
)
def test_mistakes_are_one_sentence(text):
    with pytest.raises(ArmchairError) as caught:
        Query.parse(text)
    assert "\n" not in str(caught.value) and text.split("=")[0] in str(caught.value)
