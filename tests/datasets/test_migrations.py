"""An index of an older Armchair becomes one of today where it is, once, and says everything that it said before."""

import concurrent.futures
import dataclasses
import multiprocessing
import os

import pytest
import sqlalchemy as sql

from datasets import migrations, postgres
from datasets.errors import StoreError
from datasets.notes import Note
from datasets.query import Query
from datasets.sqlite import SqliteIndex
from datasets.store import Added, Store
from datasets.tables import tables
from tests.datasets.old_index import make_old
from tests.datasets.stores import connect, index_rows, only_databases, small


@pytest.fixture
def old(full):
    """The store `full` with an index of version 1, and what it answered before."""
    full.add_note(Note("fake-1", "n", "verdict", "ann", "success", "lift_green", 5.5))
    full.lease(["fake-2"], "lift_green", "ann", "lease", 60, now=0)
    answers = answers_of(full)
    full._index.close()
    return make_old(full.root), answers


def answers_of(store):
    rows = [dataclasses.replace(row, content_hash=None) for row in store.query(Query())]  # no column of version 1
    return (
        rows, len(store.query(Query(tag="good", has_sketch="lift_green"))), store.facets(), store.models(),
        [vars(sketch) | {"values": sketch.values.tolist()} for sketch in store.all_sketches("lift_green")],
        {i: values.tolist() for i, values in store.predictions("m1").items()}, store.notes(), store.rewards(),
        store.leases("lift_green", 0), store.revision(),
    )  # fmt: skip


def layout(root):
    """Columns and indexes of every table, without our code."""
    index = Store(root)._index
    with index._reader.begin() as connection:
        inspector = sql.inspect(connection)
        return {
            name: (
                {column["name"]: str(column["type"]) for column in inspector.get_columns(name)},
                {index["name"]: index["column_names"] for index in inspector.get_indexes(name)},
            )
            for name in inspector.get_table_names()
        }


def set_version(root, version):
    with connect(root) as connection:
        connection.execute(f'UPDATE "SchemaVersion" SET "Version" = {version}')
        connection.commit()


def test_an_old_index_answers_as_before(old, tmp_path):
    root, answers = old
    assert answers_of(Store.open(root)) == answers
    (problem,) = Store.open(root).verify()
    assert "does not know the steps of 5 episodes" in problem.what and "rebuild-index" in problem.fix
    new = SqliteIndex(tmp_path / "new")
    new.create()
    if not (root / "index.json").exists():
        assert layout(root) == layout(tmp_path / "new")
    assert set(layout(root)) == set(tables.tables)


def test_an_old_index_has_what_one_made_anew_has(old):
    root, _ = old
    store = Store.open(root)
    rows = store.query(Query())
    migrated, shape = index_rows(root), layout(root)
    store.rebuild_index()
    made_anew = index_rows(root)
    assert made_anew.pop("Episodes") != migrated.pop("Episodes")  # only these tell of their steps
    assert made_anew == migrated and layout(root) == shape and store.verify() == []
    assert [dataclasses.replace(row, content_hash=None) for row in store.query(Query())] == rows


def test_returns_are_read_from_side_shards_while_migrating(old):
    root, _ = old  # the model says 0, 1/8, ..., 4/8 of every frame; an episode has two transitions
    store = Store.open(root)
    assert {row.seed for row in store.query(store.parse("min_return=m1:0.5"))} == {2, 3, 4}
    assert store.count(store.parse("max_final=m1:0.125")) == 2


def test_an_index_of_version_2_lacks_what_the_steps_are(full):
    answers = answers_of(full)
    full._index.close()
    with connect(full.root) as connection:
        connection.execute('DROP INDEX "EpisodesByContentHash"')
        connection.execute('ALTER TABLE "Episodes" DROP COLUMN "ContentHash"')
        connection.commit()
    set_version(full.root, 2)
    store = Store.open(full.root)
    assert answers_of(store) == answers
    assert store.add(small(7), "odd") is Added.ADDED and store.query(Query(ids=("fake-7",)))[0].content_hash
    assert ["does not know the steps of 5 episodes" in problem.what for problem in store.verify()][-1]
    store.rebuild_index()
    assert all(row.content_hash for row in store.query(Query()))


def test_a_lost_side_shard_does_not_hinder_a_migration(old):
    root, (rows, *_) = old
    (path,) = root.glob("rewards/predictions/m1/*.parquet")
    content = path.read_bytes()
    path.unlink()
    store = Store.open(root)
    assert store.query(Query()) == rows and store.count(store.parse("min_final=m1:0")) == 0
    path.write_bytes(content)
    assert "has other returns than the index" in [problem.what for problem in store.verify()]
    store.rebuild_index()
    assert store.count(store.parse("min_final=m1:0")) == 5 and store.verify() == []


def test_an_old_index_is_written_to(old):
    root, _ = old
    store = Store.open(root)
    assert store.add(small(4), "even") is Added.DUPLICATE and store.add(small(6), "even") is Added.ADDED
    assert Store.open(root).count(Query()) == 6


def first_use(root):
    store = Store.open(root)
    return os.getpid(), len(store.query(Query())), str(store.add(small(7), "odd"))


@only_databases
def test_several_processes_migrate_once(old):
    root, _ = old
    with concurrent.futures.ProcessPoolExecutor(4, multiprocessing.get_context("spawn")) as pool:
        found = list(pool.map(first_use, [root] * 8, chunksize=1))
    assert {count for _, count, _ in found} <= {5, 6}
    assert sorted(outcome for *_, outcome in found) == ["added"] + ["duplicate"] * 7
    with connect(root) as connection:
        assert list(connection.execute('SELECT * FROM "SchemaVersion"')) == [(migrations.VERSION,)]


def test_a_migration_that_fails_changes_nothing(old, monkeypatch):
    root, answers = old
    before = layout(root)

    def fail(connection, root):
        connection.exec_driver_sql('DELETE FROM "Leases"')
        raise StoreError("no")

    with monkeypatch.context() as patched:
        patched.setattr(migrations, "_STEPS", {2: fail})
        with pytest.raises(StoreError, match="no"):
            Store.open(root).query(Query())
    assert layout(root) == before
    assert answers_of(Store.open(root)) == answers


def test_a_newer_index_is_left_alone(full):
    set_version(full.root, 99)
    before = index_rows(full.root)
    for use in (Store.query, Store.count):
        with pytest.raises(StoreError) as caught:
            use(Store.open(full.root), Query())
        assert "is an index of version 99" in str(caught.value) and "\n" not in str(caught.value)
        assert "update Armchair" in str(caught.value) and "rebuild-index --store" in str(caught.value)
    with pytest.raises(StoreError, match="update Armchair"):
        Store.open(full.root).add(small(9), "even")
    with pytest.raises(StoreError, match="update Armchair"):
        Store.create(full.root).count(Query())
    assert index_rows(full.root) == before


def test_a_newer_index_can_be_made_anew(full):
    answers = answers_of(full)
    if isinstance(full._index, postgres.PostgresIndex):
        with connect(full.root) as connection:  # the newer Armchair has a table more
            connection.execute('CREATE TABLE "More" ("EpisodeId" VARCHAR REFERENCES "Episodes" ("EpisodeId"))')
    set_version(full.root, 99)
    assert Store(full.root).rebuild_index().problems == ()
    assert answers_of(Store.open(full.root)) == answers
