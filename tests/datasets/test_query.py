"""Queries select exactly the rows that a plain reading of the conditions selects."""

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets import saved_queries
from datasets.errors import ArmchairError, StoreError
from datasets.query import ModelValue, Query, split_of
from datasets.rewards import RewardSequence
from datasets.store import Store
from datasets.testing import make_episode
from tests.datasets.stores import add_predictions

SEEDS = range(12)


@pytest.fixture(scope="module", params=["sqlite", "postgres"])
def store(tmp_path_factory, request):
    url = request.getfixturevalue("postgres").new_url() if request.param == "postgres" else None
    store = Store.create(tmp_path_factory.mktemp("query") / "store", index_url=url)
    for seed in SEEDS:
        tags = {0: "good,curated", 1: "curated", 2: ""}[seed % 3]
        episode = make_episode(
            seed, num_steps=2 + seed, cameras=(), tags=tags, task_id="lift_green" if seed < 8 else "stack",
            episode_type="EPISODE_ROBOT_TELEOPERATION" if seed == 3 else "EPISODE_ROBOT_AGENT",
            source="Log_7%.RRD" if seed == 7 else "", operator="ann" if seed == 5 else "",
            object_set="rgb30" if seed == 6 else "",
        )  # fmt: skip
        store.add(episode, "even" if seed % 2 == 0 else "odd")
    store.add_sketch(RewardSequence("fake-4", "stack", np.zeros(6), "a"))
    rising = {f"fake-{seed}": np.linspace(0, seed / 8, 2 + seed, dtype=np.float32) for seed in range(7)}
    add_predictions(store, "block", rising)
    add_predictions(store, "block", {"fake-9": np.full(11, np.nan)}, ("m.2", "hash2", "stack"))
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
        ("not_sketched=stack", [seed for seed in SEEDS if seed != 4]),
        ("source=Log_7%.RRD", [7]),
        ("source=log_7%.rrd", []),
        ("text=log_7%", [7]),  # neither _ nor % is a wildcard
        ("text=g%7", []),
        ("text=KE-1", [1, 10, 11]),
        ("text=STACK", [8, 9, 10, 11]),
        ("text=policy-2", [2, 5, 8, 11]),
        ("text=GooD", [0, 3, 6, 9]),
        ("text=", list(SEEDS)),
        ("min_return=m1:1.5", [4, 5, 6]),  # 6 frames that rise from 0 to 0.5
        ("min_return=m1:1.5 verdict=success", [4, 6]),
        ("max_return=m1:0.1875", [0, 1]),
        ("min_final=m1:0.5", [4, 5, 6]),
        ("min_final=m1:0.3 max_final=m1:0.5 task_id=lift_green", [3, 4]),
        ("min_final=m.2:0", []),  # no number
        ("max_return=m.2:9", []),
        ("min_return=unknown:0", []),
        ("min_steps=12", [10, 11]),
        ("max_steps=3", [0, 1]),
        ("min_steps=4 max_steps=5", [2, 3]),
        ("exclude=fake-1,fake-11,unknown dataset=odd", [3, 5, 7, 9]),
        ("not_tag=curated", [2, 5, 8, 11]),
        ("not_tag=good tag=curated", [1, 4, 7, 10]),
        ("operator=ann", [5]),
        ("object_set=rgb30", [6]),
        ("since=1700000600", [10, 11]),
        ("until=1700000120", [0, 1]),
        ("since=2023-11-14T22:23:20", [10, 11]),
        ("since=2099-01-01", []),
    ],
)
@pytest.mark.parametrize("many", [1, 5_000])  # rows from which on SQLite is asked the other way round
def test_conditions(store, text, expected, many, monkeypatch):
    monkeypatch.setattr("datasets.query._MANY", many)
    found = [row.seed for row in store.query(Query.parse(text))]
    assert found == sorted(expected, key=lambda seed: (seed % 2, seed))  # by (dataset, shard)
    assert store.count(Query.parse(text)) == len(found)


@pytest.mark.parametrize(("name", "left"), [("exclude", [3, 5, 7, 9]), ("ids", [1, 11])])
def test_ids_from_a_file_are_held_by_the_query_itself(store, tmp_path, name, left):
    path = tmp_path / "known bad.txt"
    path.write_text("# camera came loose\nfake-1\n\n  fake-11  # unplugged\nunknown\n")
    query = Query.parse(f"dataset=odd '{name}=@{path}'")
    assert getattr(query, name) == ("fake-1", "fake-11", "unknown")
    assert [row.seed for row in store.query(query)] == left
    path.unlink()
    assert Query.parse(str(query)) == query


def test_a_saved_query_holds_the_ids_of_a_file(store, tmp_path):
    (tmp_path / "bad").write_text("fake-8\nfake-9\n")
    query = store.parse(f"task_id=stack exclude=@{tmp_path}/bad")
    saved = saved_queries.save(store.root, "stacks", query, [])
    (tmp_path / "bad").write_text("fake-10\n")
    assert saved.text == "task_id=stack exclude=fake-8,fake-9"
    assert [row.seed for row in store.query(store.parse("saved=stacks"))] == [10, 11]


@pytest.mark.parametrize("content", [None, b"\xff\xfe", b"fake-1,fake-2\n", b"fake-1 fake-2\n"])
def test_a_file_that_is_no_list_is_told(tmp_path, content):
    if content is not None:
        (tmp_path / "bad").write_bytes(content)
    with pytest.raises(StoreError, match=f"exclude=@{tmp_path}/bad .*: (give|write)"):
        Query.parse(f"exclude=@{tmp_path}/bad")


def test_a_list_may_be_empty(store, tmp_path):
    (tmp_path / "none").write_text("# nothing yet\n")
    query = Query.parse(f"exclude=@{tmp_path}/none")
    assert store.count(query) == store.count(Query.parse(str(query))) == len(SEEDS)


def test_split_is_a_condition_like_any(store):
    for split in ("train", "test"):
        expected = {f"fake-{seed}" for seed in SEEDS if split_of(f"fake-{seed}") == split}
        assert {row.episode_id for row in store.query(Query(split=split))} == expected


def test_limit_takes_the_first(store):
    assert store.query(Query(limit=5)) == store.query(Query())[:5]


def test_newest_first_page_by_page(store):
    found = [row.seed for row in store.query(Query(order="newest"))]
    assert found == sorted(SEEDS, reverse=True)
    pages = [store.query(Query(order="newest", offset=start, limit=5)) for start in (0, 5, 10, 15)]
    assert [row.seed for page in pages for row in page] == found
    assert store.query(Query(offset=3)) == store.query(Query())[3:]


def test_count_is_of_all_pages(store):
    assert store.count(Query(task_id="stack", limit=1, offset=2)) == 4
    assert store.count(Query(ids=())) == 0


def test_facets_count_what_a_query_finds(store):
    facets = store.facets()
    assert facets["task_id"] == {"lift_green": 8, "stack": 4}
    assert list(facets["tag"].items()) == [("curated", 8), ("good", 4)]  # the most frequent first
    assert facets["source"] == {"Log_7%.RRD": 1}
    for name, values in facets.items():
        for value, episodes in values.items():
            assert store.count(Query(**{name: value})) == episodes


def test_groups_count_every_episode_once(store):
    rows, groups = store.query(Query()), store.groups()
    assert [(g.dataset, g.task_id) for g in groups] == sorted({(row.dataset, row.task_id) for row in rows})
    for group in groups:
        members = [row for row in rows if (row.dataset, row.task_id) == (group.dataset, group.task_id)]
        verdicts = [row.verdict for row in members]
        assert group.episodes == len(members) and group.steps == sum(row.num_steps for row in members)
        assert group.seconds == pytest.approx(sum(row.num_steps / row.control_rate_hz for row in members))
        assert (group.successes, group.failures) == (verdicts.count("success"), verdicts.count("failure"))
        assert group.tests == sum(row.split == "test" for row in members)
        assert group.policies == len({row.policy_id for row in members} - {""})
        assert (group.first, group.last) == (min(r.timestamp for r in members), max(r.timestamp for r in members))
        assert group.robots == tuple(sorted({row.robot for row in members}))
    store.delete([row.episode_id for row in rows if row.task_id == "stack"], "ada", "wrong camera")
    assert {group.task_id for group in store.groups()} == {"lift_green"}


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


_NUMBERS = st.floats(allow_nan=False, allow_infinity=False)


@given(
    st.builds(
        Query,
        task_id=st.none() | st.text(st.characters(exclude_categories=["Cs"], exclude_characters="\0"), min_size=1),
        verdict=st.sampled_from([None, "success", "failure"]),
        ids=st.none() | st.lists(st.from_regex(r"[a-z0-9-]+", fullmatch=True), min_size=1).map(tuple),
        limit=st.none() | st.integers(0, 9),
        min_return=st.none() | st.builds(ModelValue, st.from_regex(r"[a-z0-9._-]+", fullmatch=True), _NUMBERS),
    )
)
def test_text_form_round_trip(query):
    assert Query.parse(str(query)) == query


@pytest.mark.parametrize(
    "text",
    [
        "lift_green",
        "colour=red",
        "limit=ten",
        "since=yesterday",
        "verdict=maybe",
        "split=dev",
        "tag='a",
        "order=best",
        "limit=-1",
        "min_return=m1",
        "min_return=0.5",
        "max_final=m1:",
        "min_final=m1:high",
        "min_return=m1:nan",
        "min_return=:0.5",
        "min_return='m1\0:0.5'",
        f"since={2**63}",
        "text=\0",
        "ids=a,\ud800",
    ],
)
def test_mistakes_are_one_sentence(text):
    with pytest.raises(ArmchairError) as caught:
        Query.parse(text)
    assert "\n" not in str(caught.value) and text.split("=")[0] in str(caught.value)
