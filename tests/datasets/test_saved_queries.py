import concurrent.futures

import pytest
from hypothesis import given
from hypothesis import strategies as st

from datasets import saved_queries
from datasets.errors import StoreError
from datasets.query import Query
from datasets.store import Store

IDS = ["b", "a"]


def save(root, name="lifts", text="task_id=lift_green"):
    return saved_queries.save(root, name, Query.parse(text), IDS)


def test_each_change_is_a_new_version_and_the_old_ones_stay(tmp_path):
    first, again, second = save(tmp_path), save(tmp_path), save(tmp_path, text="task_id=stack")
    assert (first.version, second.version) == (1, 2)
    assert again == first
    assert saved_queries.load(tmp_path, "lifts") == second
    assert saved_queries.load(tmp_path, "lifts", 1) == first
    assert saved_queries.listed(tmp_path) == [first, second]
    assert first.episodes == 2


def test_going_back_is_a_version_too(tmp_path):
    for text in ("task_id=a", "task_id=b", "task_id=a"):
        last = save(tmp_path, text=text)
    assert last.version == 3


def test_the_fingerprint_is_of_the_set():
    assert saved_queries.fingerprint(["a", "b"]) == saved_queries.fingerprint(["b", "a"])
    assert saved_queries.fingerprint(["a"]) != saved_queries.fingerprint(["a", "b"])


def test_stands_for_its_conditions_and_others_come_on_top(tmp_path):
    save(tmp_path, text="task_id=lift_green verdict=success")
    assert saved_queries.expand(tmp_path, "saved=lifts verdict=failure") == (
        "task_id=lift_green verdict=success verdict=failure"
    )
    assert Store(tmp_path).parse("saved=lifts verdict=failure") == Query(task_id="lift_green", verdict="failure")
    save(tmp_path, text="task_id=stack")
    assert saved_queries.expand(tmp_path, "saved=lifts@1 limit=3") == "task_id=lift_green verdict=success limit=3"
    assert saved_queries.expand(tmp_path, "saved=lifts") == "task_id=stack"


@given(text=st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0")))
def test_any_text_comes_back(tmp_path_factory, text):
    root = tmp_path_factory.mktemp("any")
    saved_queries.save(root, "q", Query(text=text, limit=3), [])
    assert Store(root).parse("saved=q") == Query(text=text, limit=3)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("saved=nothing", "no query is saved as 'nothing' in .*: there is lifts"),
        ("saved=lifts@7", "no version 7: there are 1 to 1"),
        ("saved=lifts@new", "write saved=NAME or saved=NAME@NUMBER"),
        ("saved=../lifts", "no query is saved as"),
        ("saved='lifts", "close the quotation"),
    ],
)
def test_mistakes_are_told(tmp_path, text, told):
    save(tmp_path)
    with pytest.raises(StoreError, match=told):
        Store(tmp_path).parse(text)


def test_what_is_damaged_is_told(tmp_path):
    save(tmp_path)
    (tmp_path / "queries" / "lifts" / "0001.json").write_text("{")
    with pytest.raises(StoreError, match=r"0001.json is no saved query"):
        saved_queries.load(tmp_path, "lifts")


def test_a_name_must_be_one(tmp_path):
    with pytest.raises(StoreError, match="cannot be saved as 'a/b'"):
        save(tmp_path, name="a/b")


def test_many_at_once_lose_none(tmp_path):
    texts = [f"task_id=t{number}" for number in range(20)]
    with concurrent.futures.ThreadPoolExecutor(8) as pool:
        saved = list(pool.map(lambda text: save(tmp_path, text=text), texts))
    assert sorted(query.version for query in saved) == list(range(1, 21))
    assert {query.text for query in saved_queries.listed(tmp_path)} == set(texts)
