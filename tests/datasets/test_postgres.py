"""A store whose index is in PostgreSQL: made, moved, lost, unreachable, shared."""

import json
import sys

import pytest
import sqlalchemy as sql

from datasets import location
from datasets import postgres as database
from datasets.errors import StoreError
from datasets.query import Query
from datasets.sqlite import SqliteIndex
from datasets.store import Added, Store
from datasets.testing import make_episode


@pytest.fixture
def store(tmp_path, postgres_url):
    store = Store.create(tmp_path / "store", index_url=postgres_url)
    for seed in range(3):
        store.add(make_episode(seed, 3, cameras=()), "fake")
    return store


def ids(store):
    return [row.episode_id for row in store.query(Query())]


def test_a_store_remembers_where_its_index_is(store, postgres_url):
    assert json.loads((store.root / "index.json").read_text()) == {"url": postgres_url}
    assert not (store.root / "index.sqlite").exists()
    assert ids(Store.open(store.root)) == ids(Store.create(store.root)) == ["fake-0", "fake-1", "fake-2"]
    assert ids(Store.create(store.root, postgres_url)) == ids(store)  # the same again


def test_an_index_moves_there_and_back(tmp_path, postgres_url):
    store = Store.create(tmp_path / "store")
    for seed in range(3):
        store.add(make_episode(seed, 3, cameras=()), "fake")
    before = store.query(Query())
    moved = Store.create(store.root, postgres_url)
    assert moved.query(Query()) == before and not (store.root / "index.sqlite").exists()
    (store.root / "index.json").unlink()
    Store(store.root).rebuild_index()
    assert Store.open(store.root).query(Query()) == before and (store.root / "index.sqlite").exists()


def test_a_lost_index_is_healed(store):
    before = store.query(Query())
    with store._index.write() as connection:
        connection.exec_driver_sql('DROP TABLE "Episodes" CASCADE')
    with pytest.raises(StoreError, match="rebuild-index"):
        store.query(Query())
    with pytest.raises(StoreError, match="lost its index: run"):
        Store.open(store.root)
    assert Store(store.root).rebuild_index().episodes == 3
    assert Store.open(store.root).query(Query()) == before


def test_a_reader_sees_one_state_and_waits_for_nobody(store):
    counted = sql.text('SELECT count(*) FROM "Episodes"')
    with store._index.read() as reader:
        assert reader.execute(counted).scalar() == 3
        assert Store.open(store.root).add(make_episode(7, 3, cameras=()), "fake") is Added.ADDED
        assert reader.execute(counted).scalar() == 3
    with store._index.write():
        assert len(ids(Store.open(store.root))) == 4


def test_a_writer_that_dies_lets_go(store, postgres):
    """The server ends the session of a killed process; so do we, from outside."""
    other = Store.open(store.root)
    with pytest.raises(StoreError), other._index.write() as connection:  # noqa: PT012
        process = connection.exec_driver_sql("SELECT pg_backend_pid()").scalar()
        connection.exec_driver_sql("""UPDATE "Episodes" SET "Robot" = 'gone'""")
        with postgres.connect() as administrator:
            administrator.execute(f"SELECT pg_terminate_backend({process}, 5000)")
        connection.exec_driver_sql("SELECT 1")
    assert store.add(make_episode(8, 3, cameras=()), "fake") is Added.ADDED
    assert other.count(Query(robot="gone")) == 0  # and the other goes on with a new connection


def test_who_waits_too_long_is_told(store, monkeypatch):
    monkeypatch.setattr(database, "BUSY_TIMEOUT_S", 1)
    with store._index.write(), pytest.raises(StoreError, match="has been locked by another process for 1 s"):
        Store.open(store.root).release_lease("x")


def test_two_stores_do_not_share_a_database(store, tmp_path, postgres_url):
    with pytest.raises(StoreError, match="the index of another store"):
        Store.create(tmp_path / "other", postgres_url)
    assert not (tmp_path / "other").exists()
    with pytest.raises(StoreError, match="delete .*index.json first"):
        Store.create(store.root, postgres_url.replace("/postgres?", "/template1?"))


@pytest.mark.parametrize(
    ("url", "said"),
    [
        ("postgresql+psycopg://ann@127.0.0.1:1/armchair", "cannot be reached"),
        ("postgresql://ann@127.0.0.1:1/armchair", "cannot be reached"),
        ("postgresql+psycopg://ann:secret@host/armchair", "holds a password"),
        ("postgresql+psycopg://ann@host/armchair?password=secret", "holds a password"),
        ("postgresql+psycopg://ann@host", "write it like"),
        ("mysql://ann@host/armchair", "write it like"),
        ("armchair", "no URL"),
    ],
)
def test_a_url_of_no_use_is_one_sentence_and_nothing_is_written(tmp_path, url, said):
    with pytest.raises(StoreError, match=said) as caught:
        Store.create(tmp_path / "store", index_url=url)
    assert "\n" not in str(caught.value) and "secret" not in str(caught.value)
    assert not (tmp_path / "store").exists()


def test_without_psycopg_one_is_told_what_to_install(tmp_path, monkeypatch):
    monkeypatch.setitem(sys.modules, "psycopg", None)
    with pytest.raises(StoreError, match=r"pip install 'armchair\[postgres\]'"):
        Store.create(tmp_path / "store", index_url="postgresql://ann@host/armchair")


def test_a_damaged_note_of_where_the_index_is(store):
    (store.root / "index.json").write_text("{")
    with pytest.raises(StoreError, match="does not say where the index is"):
        Store.open(store.root)


def test_a_file_is_what_a_store_has_unless_told_otherwise(tmp_path):
    assert isinstance(location.index_of(tmp_path), SqliteIndex)
