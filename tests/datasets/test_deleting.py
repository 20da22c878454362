"""A deleted episode is found by no query, lies where it lay, and comes back."""

import numpy as np
import pytest

from datasets.errors import ArmchairError, StoreError
from datasets.notes import Note
from datasets.query import Query
from datasets.store import Added, Store
from tests.datasets.stores import add_predictions, small


def seeds(store, **conditions):
    return {row.seed for row in store.query(Query(**conditions))}


def episode_files(store):
    return {path: path.read_bytes() for path in store.root.glob("episodes/**/*") if path.is_file()}


@pytest.fixture
def thinned(full):
    """`full` without episodes 1 and 3."""
    full.delete(["fake-1", "fake-3"], "ann", "the camera was covered")
    return full


def test_no_query_finds_it(thinned):
    assert seeds(thinned) == {0, 2, 4}
    assert seeds(thinned, ids=("fake-1", "fake-2")) == {2}
    assert seeds(thinned, dataset="odd") == set() and seeds(thinned, has_sketch="lift_green") == {0}
    assert thinned.count(Query()) == 3 and thinned.count(Query(tag="good")) == 0
    assert {row.seed for row in thinned.query(thinned.parse("min_final=m1:0"))} == {0, 2, 4}
    facets = thinned.facets()
    assert facets["tag"] == {} and facets["dataset"] == {"even": 3} and facets["verdict"] == {"success": 3}
    with pytest.raises(StoreError, match="'fake-1' is deleted: see `armchair store restore"):
        thinned.read("fake-1")


def test_nothing_that_is_said_of_it_counts(thinned):
    assert [sketch.episode_id for sketch in thinned.all_sketches("lift_green")] == ["fake-0"]
    assert set(thinned.sketched("lift_green")) == {"fake-0"}
    assert set(thinned.predictions("m1")) == thinned.predicted_ids("m1") == {"fake-0", "fake-2", "fake-4"}
    assert [count.episodes for count in thinned.rewards()] == [1, 3]


def test_who_has_its_row_goes_on(full):
    (row,) = full.query(Query(ids=("fake-3",)))
    full.delete(["fake-3"], "ann", "slipped")
    assert full.read(row).metadata.seed == 3
    assert set(full.predictions("m1", ["fake-3"])) == {"fake-3"}
    assert len(full.sketches("lift_green", ["fake-3"])) == 1
    assert add_predictions(full, "x", {"fake-3": np.zeros(3)}, ("m2", "hash2", "lift_green")) == 1


def test_the_deleted_are_chosen_by_the_same_conditions(thinned):
    assert [row.seed for row in thinned.query(Query(), deleted=True)] == [1, 3]
    assert [row.seed for row in thinned.query(Query(has_sketch="lift_green"), deleted=True)] == [3]
    assert thinned.count(Query(), deleted=None) == 5 and thinned.count(Query(tag="good"), deleted=True) == 2


def test_it_comes_back(thinned):
    thinned.restore(["fake-3"], "bob")
    assert seeds(thinned) == {0, 2, 3, 4}
    assert [(note.kind, note.user, note.text) for note in thinned.notes(episode_ids=["fake-3"])] == [
        ("deleted", "ann", "the camera was covered"),
        ("restored", "bob", ""),
    ]
    thinned.delete(["fake-3"], "ann", "no, really")
    assert seeds(thinned) == {0, 2, 4}


def test_the_newest_word_counts(full):
    for note_id, kind, timestamp in (("a", "deleted", 5.5), ("b", "restored", 5.25)):
        full.add_note(Note("fake-0", note_id, kind, "ann", "why", timestamp=timestamp))
    assert seeds(full) == {1, 2, 3, 4}


def test_nothing_on_the_disk_is_removed_and_nothing_comes_back_by_ingesting(full):
    before = episode_files(full)
    full.delete(["fake-0"], "ann", "dropped")
    assert full.add(small(0), "even") is Added.DUPLICATE
    assert full.add(small(6), "even") is Added.ADDED
    full.publish()
    assert seeds(full) == {1, 2, 3, 4, 6}
    after = episode_files(full)
    assert all(path.name == "dataset_info.json" or after[path] == content for path, content in before.items())


def test_it_survives_the_index(thinned):
    thinned.restore(["fake-3"], "bob")
    assert thinned.verify() == []
    counts = thinned.rebuild_index()
    assert (counts.episodes, counts.notes, counts.problems) == (5, 3, ())
    assert seeds(Store.open(thinned.root)) == {0, 2, 3, 4}
    assert thinned.verify() == []


def test_a_deleted_episode_is_verified_too(thinned):
    (row,) = thinned.query(Query(ids=("fake-1",)), deleted=True)
    row.path.unlink()
    assert any("is gone, and with it episode 'fake-1'" in problem.what for problem in thinned.verify())


def test_mistakes_change_nothing(full):
    with pytest.raises(StoreError, match="no episode 'fake-9'"):
        full.delete(["fake-0", "fake-9"], "ann", "why")
    with pytest.raises(ArmchairError, match="gives no reason why the episode is deleted"):
        full.delete(["fake-0"], "ann", " ")
    assert seeds(full) == {0, 1, 2, 3, 4} and not list(full.root.glob("notes/*/*"))
    revision = full.revision()
    full.delete([], "ann", "why")
    assert full.revision() == revision
    full.delete(["fake-0"], "ann", "why")
    assert full.revision() != revision  # who keeps what a query found looks again
