"""What goes into the store comes out of it, once, unchanged, whatever is added beside it."""

import concurrent.futures
import dataclasses
import itertools
import json
import multiprocessing
import os
import pickle
import sqlite3
import threading

import numpy as np
import pytest
import sqlalchemy as sql
import tensorflow_datasets as tfds
from hypothesis import given, settings
from hypothesis import strategies as st

from datasets import catalogue, curves, features
from datasets.errors import ArmchairError, BadEpisodeError, SameStepsError, StoreError
from datasets.predictions import read_predictions, write_predictions
from datasets.query import Query
from datasets.shards import read_record
from datasets.store import Added, Store
from datasets.tables import tables
from datasets.testing import make_episode
from tests.datasets.stores import (
    CARD,
    MODEL,
    add_predictions,
    connect,
    index_rows,
    only_databases,
    only_sqlite,
    sketch,
    small,
)

# Episodes


@pytest.mark.parametrize("cameras", [(), ("wrist", "basket_front_left")])
def test_an_episode_comes_back(store, cameras):
    episode = make_episode(1, 4, cameras, terminal=True, tags="b,a")
    assert store.add(episode, "fake") is Added.ADDED
    restored = store.read("fake-1")
    assert restored.metadata == episode.metadata
    ours, theirs = dict(episode.step_fields()), dict(restored.step_fields())
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        np.testing.assert_array_equal(array, theirs[name])
    assert store.spec("fake") == features.step_spec(episode)


def test_a_row_says_what_and_where(store):
    episode = small(2, tags="b,a", control_rate_hz=12.5, operator="Ann")
    store.add(episode, "fake")
    (row,) = store.query(Query())
    for field in dataclasses.fields(episode.metadata):
        if field.name != "tags":
            assert getattr(row, field.name) == getattr(episode.metadata, field.name)
    assert (row.tags, row.dataset, row.shard, row.num_steps) == ("a,b", "fake", 0, 3)
    assert row.path.is_file() and row.checksum == catalogue.checksum(row.path)
    assert pickle.loads(pickle.dumps(row)) == row  # rows travel to worker processes


def test_twice_is_once(full):
    before = index_rows(full.root)
    files = sorted(full.root.rglob("*"))
    for seed in range(5):
        assert full.add(small(seed), "even") is Added.DUPLICATE  # in whatever dataset
    full.add_sketch(sketch(3, user="bob"))
    full.register_model(CARD)
    assert add_predictions(full, "block-0", {f"fake-{s}": np.full(3, s / 8, np.float32) for s in range(5)}) == 0
    assert index_rows(full.root) == before
    assert sorted(full.root.rglob("*")) == files


@only_databases  # TFDS reads files
def test_plain_tfds_reads_the_store(full):
    builder = tfds.builder_from_directory(os.fspath(full.root / "episodes" / "even" / "1.0.0"))
    episodes = {e["episode_metadata"]["episode_id"].numpy().decode(): e for e in builder.as_dataset(split="train")}
    assert sorted(episodes) == ["fake-0", "fake-2", "fake-4"]
    steps = list(episodes["fake-4"]["steps"])
    ours = small(4)
    np.testing.assert_array_equal([s["action"].numpy() for s in steps], ours.action)
    angles = [s["observation"]["sawyer"]["joints"]["angle"].numpy() for s in steps]
    np.testing.assert_array_equal(angles, ours.observation["sawyer/joints/angle"])


def test_public_names_are_sketchys(full):
    query = (
        'SELECT E."DataPath", A."ArchiveFile", R."Values" FROM "Episodes" E JOIN "EpisodeTags" T USING ("EpisodeId") '
        'JOIN "RewardSequences" R USING ("EpisodeId") JOIN "ArchiveFiles" A USING ("EpisodeId") '
        """WHERE T."Tag" = 'good' AND R."Type" = 'REWARD_SKETCH' AND R."RewardTaskId" = 'lift_green' """
        """AND E."EpisodeType" = 'EPISODE_ROBOT_AGENT'"""
    )
    with connect(full.root) as connection:
        ((path, archive, values),) = connection.execute(query).fetchall()
    assert (full.shards / path.removeprefix("episodes/")).is_file() and archive == "log-3"
    np.testing.assert_array_equal(np.frombuffer(values, "<f4"), [0, 0.5, 1])


@pytest.mark.parametrize(
    ("episode", "said"),
    [
        (small(7, cameras=("wrist",)), "observation/pixels/wrist is uint8[16, 16, 3] in the episode and missing"),
        (small(7, action_size=4), "action is float32[4] in the episode and float32[7] in the dataset"),
        (dataclasses.replace(small(7), extras={}), "is_success is missing in the episode and bool[]"),
    ],
)
def test_another_layout_is_one_sentence_and_nothing_is_written(full, episode, said):
    files = sorted(full.root.rglob("*"))
    with pytest.raises(BadEpisodeError) as caught:
        full.add(episode, "even")
    assert said in str(caught.value) and "\n" not in str(caught.value)
    assert sorted(full.root.rglob("*")) == files


def test_a_bad_episode_is_refused(store):
    with pytest.raises(BadEpisodeError, match=r"'fake-0' is refused: is_last: is not true"):
        store.add(dataclasses.replace(small(0), is_last=np.zeros(3, bool)), "fake")
    assert not (store.root / "episodes").exists()


@pytest.mark.parametrize("name", ["", "a/b", "../up", "1st", "a-b", ".hidden"])
def test_a_dataset_needs_a_name(store, name):
    with pytest.raises(StoreError, match="cannot name a dataset"):
        store.add(small(0), name)


def test_a_shard_without_its_row_is_adopted(store, monkeypatch):
    store.add(small(0), "fake")
    with monkeypatch.context() as patched:  # what a kill between the shard and the commit leaves
        patched.setattr(catalogue, "insert_episode", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            store.add(small(1), "fake")
    assert [row.seed for row in store.query(Query())] == [0]
    assert Store.open(store.root).add(small(1), "fake") is Added.DUPLICATE
    assert [(row.seed, row.shard) for row in store.query(Query())] == [(0, 0), (1, 1)]


def test_an_unreadable_shard_without_a_row_hinders_nobody(store):
    store.add(small(0), "fake")
    (row,) = store.query(Query())
    row.path.with_name("fake-train.tfrecord-00001").write_bytes(b"half a shard")
    assert store.add(small(1), "fake") is Added.ADDED
    assert store.add(small(2), "fake") is Added.ADDED
    assert [row.shard for row in store.query(Query())] == [0, 2, 3]


def test_a_lost_shard_is_not_replaced_by_another_episode(full):
    lost = full.query(Query(dataset="even"))[1]
    lost.path.unlink()
    with pytest.raises(StoreError, match="restore it from a copy before"):
        Store.open(full.root).add(small(9), "even")
    with pytest.raises(BadEpisodeError, match="is not there"):
        full.read(lost)


def renamed(number, name, **metadata):
    episode = small(number)
    return dataclasses.replace(episode, metadata=dataclasses.replace(episode.metadata, episode_id=name, **metadata))


def test_equal_steps_under_another_id_are_not_stored(full):
    before = index_rows(full.root), sorted(full.root.rglob("*"))
    copy = renamed(3, "copy", task_id="stack", timestamp=5, operator="eve", seed=99, tags="new")
    for dataset in ("odd", "even", "elsewhere"):
        with pytest.raises(SameStepsError, match="'copy' has the steps of episode 'fake-3'") as caught:
            full.add(copy, dataset, keep_duplicates=False)
        assert caught.value.episode_id == "fake-3"
    full.delete(["fake-1"], "ann", "dropped")
    with pytest.raises(SameStepsError, match="'fake-1'"):  # not a way back either
        full.add(renamed(1, "copy"), "odd", keep_duplicates=False)
    full.restore(["fake-1"], "ann")
    rows = index_rows(full.root)
    assert len(rows.pop("Notes")) == 2
    assert rows == {name: there for name, there in before[0].items() if name != "Notes"}
    assert [path for path in sorted(full.root.rglob("*")) if "notes" not in path.parts] == before[1]


def test_equal_steps_can_be_kept(full):
    assert full.add(renamed(3, "copy"), "odd") is Added.ADDED
    assert full.add(renamed(3, "copy"), "odd") is Added.DUPLICATE
    rows = {row.episode_id: row.content_hash for row in full.query(Query())}
    assert rows["copy"] == rows["fake-3"] and len(set(rows.values())) == 5
    before = index_rows(full.root)
    assert full.rebuild_index().problems == ()
    assert index_rows(full.root) == before


def changed(field, index, value):
    episode = small(0)
    fields = dict(episode.step_fields())
    fields[field][index] = value
    return episode


@pytest.mark.parametrize(
    "other",
    [
        changed("observation/sawyer/joints/angle", (1, 2), 0.5), changed("action", (0, 0), 0.5),
        changed("reward", 0, 0.5), changed("discount", 1, 0.5), changed("progress", 2, 0.25),
        small(0, num_steps=4), small(0, terminal=True), small(0, success=False),
    ],
)  # fmt: skip
def test_any_other_step_is_another_content(store, other):
    store.add(small(0), "fake")
    metadata = dataclasses.replace(other.metadata, episode_id="other")
    copy = dataclasses.replace(other, metadata=metadata)
    assert store.add(copy, "fake", keep_duplicates=False) is Added.ADDED


@pytest.mark.parametrize("cameras", [("wrist",), ()])
def test_the_content_hash_is_of_what_is_stored(store, cameras):
    """The same from the episode in memory, from its shard, and from what was read and is stored elsewhere."""
    store.add(make_episode(0, 3, cameras), "fake")
    (row,) = store.query(Query())
    assert len(row.content_hash) == 64 and row.content_hash == features.content_hash(read_record(row.path))
    store.rebuild_index()
    assert store.query(Query()) == [row]
    again = store.read(row)
    renamed = dataclasses.replace(again, metadata=dataclasses.replace(again.metadata, episode_id="again"))
    with pytest.raises(SameStepsError, match="'fake-0'"):
        store.add(renamed, "elsewhere", keep_duplicates=False)
    assert store.datasets() == ("fake",)


def add_copies(root, first):
    store = Store.open(root)
    said = []
    for number in range(10):
        try:
            said.append(str(store.add(renamed(number, f"copy-{first}-{number}"), f"set{first}", False)))
        except SameStepsError as error:
            said.append(error.episode_id)
    return said


@only_databases
def test_of_writers_that_race_with_equal_steps_one_wins(store):
    with concurrent.futures.ProcessPoolExecutor(3, multiprocessing.get_context("spawn")) as pool:
        said = list(pool.map(add_copies, [store.root] * 3, range(3)))
    stored = {row.seed: row.episode_id for row in store.query(Query())}
    assert len(stored) == store.count(Query()) == 10
    for number in range(10):
        assert sorted(words[number] for words in said) == sorted(["added", stored[number], stored[number]])


# Reward sequences


@settings(deadline=None, max_examples=20)
@given(st.lists(st.floats(0, 1, width=32), min_size=3, max_size=3))
def test_a_sketch_comes_back_bit_for_bit(tmp_path_factory, values):
    store = Store.create(tmp_path_factory.getbasetemp() / "sketches")
    store.add(small(0), "fake")
    name = f"s{len(list(store.root.glob('rewards/sketches/*/*')))}"
    drawn = sketch(0, name, values, user="ann", tool="page 1", seconds_spent=2.5, timestamp=int(name[1:]))
    store.add_sketch(drawn)
    (restored,) = store.sketches("lift_green")
    assert restored.values.tobytes() == drawn.values.tobytes()
    for field in dataclasses.fields(drawn):
        if field.name != "values":
            assert getattr(restored, field.name) == getattr(drawn, field.name)


def test_the_newest_sketch_of_each_person_counts(store):
    store.add(small(0), "fake")
    store.add(small(1), "fake")
    for number, (seed, user, timestamp) in enumerate(
        [(0, "ann", 5), (0, "ann", 9), (0, "ann", 2), (0, "bob", 1), (1, "ann", 1)]
    ):
        store.add_sketch(sketch(seed, f"s{number}", user=user, timestamp=timestamp))
    found = [(s.episode_id, s.user, s.timestamp) for s in store.sketches("lift_green")]
    assert found == [("fake-0", "ann", 9), ("fake-0", "bob", 1), ("fake-1", "ann", 1)]
    assert [s.episode_id for s in store.sketches("lift_green", ["fake-1"])] == ["fake-1"]
    assert store.sketches("stack") == []


@pytest.mark.parametrize(
    ("wrong", "said"),
    [
        (sketch(0, values=[0, 1]), "has 2 values for the 3 frames of episode 'fake-0'"),
        (sketch(99), "'fake-99', which the store does not hold"),
        (sketch(0, "../s"), "use letters"),
        (sketch(0, values=[1, 1, 1]), "another sketch"),
    ],
)
def test_a_wrong_sketch_is_refused(store, wrong, said):
    store.add(small(0), "fake")
    store.add_sketch(sketch(0))
    before = index_rows(store.root), sorted(store.root.rglob("*"))
    with pytest.raises(StoreError, match=said):
        store.add_sketch(wrong)
    assert (index_rows(store.root), sorted(store.root.rglob("*"))) == before


def test_every_version_of_a_sketch_is_kept(store):
    store.add(small(0), "fake")
    store.add(small(1), "fake")
    for number, (seed, user, timestamp) in enumerate([(0, "ann", 5), (0, "ann", 2), (1, "bob", 3), (0, "bob", 4)]):
        store.add_sketch(sketch(seed, f"s{number}", user=user, timestamp=timestamp))
    assert [s.sequence_id for s in store.all_sketches("lift_green")] == ["s1", "s2", "s3", "s0"]
    assert [s.sequence_id for s in store.all_sketches("lift_green", ["fake-1"])] == ["s2"]
    assert store.sketched("lift_green") == {"fake-0": {"ann", "bob"}, "fake-1": {"bob"}}
    assert store.sketched("stack") == {}


def test_the_file_of_a_sketch_is_whole_before_its_row_is_there(store, monkeypatch):
    store.add(small(0), "fake")

    def die(connection, root, path):
        assert curves.read_sketch(path).values.tolist() == [0, 0.5, 1]
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr(curves, "insert_sketch", die)
        with pytest.raises(KeyboardInterrupt):
            store.add_sketch(sketch(0))
    assert store.all_sketches("lift_green") == []
    with pytest.raises(StoreError, match="another sketch"):
        store.add_sketch(sketch(0, timestamp=1))
    assert [s.timestamp for s in store.all_sketches("lift_green")] == [0]  # what was there has its row now


def test_threads_of_one_process_queue(store):
    """Twenty people save at once: nothing is lost, nobody waits in vain."""
    store.add(small(0), "fake")
    failed = []

    def save(number):
        try:
            for turn in range(5):
                store.add_sketch(sketch(0, f"{number}-{turn}", user=f"user-{number}"))
        except Exception as error:
            failed.append(error)

    people = [threading.Thread(target=save, args=(number,)) for number in range(20)]
    for one in people:
        one.start()
    for one in people:
        one.join()
    assert failed == [] and len(store.all_sketches("lift_green")) == 100
    assert len(store.sketched("lift_green")["fake-0"]) == 20


def test_predictions_come_back(full):
    assert full.predicted_ids("m1") == {f"fake-{seed}" for seed in range(5)}
    some = full.predictions("m1", ["fake-3", "fake-1", "unknown"])
    assert sorted(some) == ["fake-1", "fake-3"]
    np.testing.assert_array_equal(some["fake-3"], np.full(3, 3 / 8, np.float32))
    assert some["fake-3"].dtype == np.float32
    assert len(full.predictions("m1")) == 5 and full.predictions("m2") == {} and full.predicted_ids("m2") == set()
    assert full.models() == [CARD]
    counted = [(count.type, count.model_id, count.episodes, count.users) for count in full.rewards()]
    assert counted == [("REWARD_SKETCH", None, 2, 2), ("REWARD_PREDICTION", "m1", 5, 1)]


def test_predictions_of_two_models_and_two_files_live_side_by_side(full):
    other = ("m2", "hash2", "lift_green")
    assert add_predictions(full, "a", {"fake-0": np.zeros(3)}, other) == 1
    assert add_predictions(full, "b", {"fake-0": np.zeros(3), "fake-1": np.ones(3)}, other) == 1
    assert sorted(full.predictions("m2")) == ["fake-0", "fake-1"]
    np.testing.assert_array_equal(full.predictions("m1")["fake-1"], np.full(3, 1 / 8))


def test_wrong_predictions_are_refused(full):
    before = index_rows(full.root)
    for name, (values, model, said) in enumerate(
        [
            ({"fake-0": np.zeros(4)}, ("m2", "hash2", "lift_green"), "has 4 values for the 3 frames"),
            ({"fake-99": np.zeros(3)}, ("m2", "hash2", "lift_green"), "does not hold"),
            ({"fake-0": np.zeros(3)}, ("m1", "other", "lift_green"), "other weights"),
            ({}, ("m2", "hash2", "lift_green"), "comes from 0 models"),
        ]
    ):
        with pytest.raises(StoreError, match=said):
            add_predictions(full, str(name), values, model)
    with pytest.raises(StoreError, match="does not come from model 'm3'"):
        full.add_predictions("m3", *MODEL[1:], full.prediction_path("m1", "block-0"))
    with pytest.raises(StoreError, match="other weights"):
        full.register_model(CARD | {"model_hash": "other"})
    assert index_rows(full.root) == before


def test_a_side_shard_is_the_same_bytes_each_time(tmp_path):
    values = {"b": np.array([0.25, 1], np.float32), "a": np.zeros(0, np.float32)}
    for name in ("one", "two"):
        write_predictions(tmp_path / name, *MODEL, dict(sorted(values.items(), reverse=name == "two")))
    assert (tmp_path / "one").read_bytes() == (tmp_path / "two").read_bytes()
    restored = read_predictions(tmp_path / "one")
    assert {k: v.tolist() for k, v in restored.items()} == {"a": [], "b": [0.25, 1]}


# Everything else


def test_quarantine_keeps_reason_and_bytes_once(store):
    paths = {store.quarantine("log/shard-3", "is_last is never true", b"\x00bytes") for _ in range(2)}
    (path,) = paths
    assert json.loads(path.read_text()) == {"source": "log/shard-3", "reason": "is_last is never true"}
    assert path.with_suffix(".record").read_bytes() == b"\x00bytes"
    assert store.quarantine("log/shard-3", "gone") != path
    assert len(list((store.root / "quarantine").iterdir())) == 3


def test_mistakes_are_one_sentence(full, tmp_path):
    mistakes = {
        "is not a store": lambda: Store.open(tmp_path / "nowhere"),
        "is not a store (no folder": lambda: Store(tmp_path / "nowhere").rebuild_index(),
        "matches task_id=fold": lambda: full.query(Query(task_id="fold"), require=True),
        "no episode 'fake-99'": lambda: full.read("fake-99"),
        "has no dataset 'none'": lambda: full.spec("none"),
        "the id 'a/b'": lambda: full.prediction_path("a/b", "x"),
    }
    for said, mistake in mistakes.items():
        with pytest.raises(ArmchairError) as caught:
            mistake()
        assert said in str(caught.value) and "\n" not in str(caught.value)
    assert not (tmp_path / "nowhere").exists()


@only_sqlite
def test_a_damaged_index_is_one_sentence(full):
    (full.root / "index.sqlite").write_bytes(b"not a database" * 999)
    with pytest.raises(StoreError, match="rebuild-index"):
        Store.open(full.root).query(Query())


@only_sqlite
def test_reading_never_waits_for_a_writer(full):
    with sqlite3.connect(full.root / "index.sqlite", isolation_level=None) as connection:
        connection.execute("BEGIN IMMEDIATE")
        assert len(Store.open(full.root).query(Query())) == 5
        connection.execute("ROLLBACK")


def test_foreign_keys_hold(full):
    orphan = sql.insert(tables.tables["EpisodeTags"]).values(EpisodeId="nobody", Tag="good")
    with pytest.raises(sql.exc.IntegrityError), full._index.write() as connection:
        connection.execute(orphan)


@settings(deadline=None, max_examples=10)
@given(st.lists(st.integers(0, 7), max_size=12))
def test_any_order_of_adds_stores_each_once(tmp_path_factory, seeds):
    store = Store.create(tmp_path_factory.mktemp("orders") / "store")
    writers = itertools.cycle([store, Store.open(store.root)])
    outcomes = [next(writers).add(small(seed), "fake") for seed in seeds]
    assert outcomes.count(Added.ADDED) == len(set(seeds))
    assert [row.seed for row in store.query(Query())] == list(dict.fromkeys(seeds))


def test_the_index_sums_predictions_up(full):
    add_predictions(full, "m2", {"fake-0": np.array([1, 0.25, 0.5])}, ("m2", "hash2", "lift_green"))
    with connect(full.root) as connection:
        found = connection.execute(
            """SELECT "Return", "Final" FROM "RewardSequences" WHERE "ModelId" = 'm2'"""
        ).fetchall()
    assert list(map(tuple, found)) == [(0.75, 0.5)]  # o_0 is reached by no transition
