"""A damaged store is noticed, and what its files still tell is restored."""

import json
import os

import pytest

from datasets.errors import StoreError
from datasets.notes import Note
from datasets.query import Query
from datasets.store import Added, Store
from datasets.validate import Severity
from tests.datasets.stores import connect, index_rows, only_sqlite, small


def test_a_sound_store_has_no_problems(full):
    assert full.verify() == []


def test_verify_finds_every_flipped_byte(full):
    row = full.query(Query(ids=("fake-2",)))[0]
    content = row.path.read_bytes()
    for position in (0, 11, len(content) // 2, len(content) - 1):
        damaged = bytearray(content)
        damaged[position] ^= 0x10
        row.path.write_bytes(damaged)
        (problem,) = full.verify()
        assert problem.severity is Severity.ERROR
        assert problem.where == str(row.path) and "fake-2" in problem.what and "restore" in problem.fix
    row.path.write_bytes(content)
    assert full.verify() == []


def spoil_shard(store):
    store.query(Query(ids=("fake-1",)))[0].path.unlink()


def spoil_side_shard(store):
    store.prediction_path("m1", "block-0").write_bytes(b"no Parquet")


def lose_side_shard(store):
    store.prediction_path("m1", "block-0").unlink()


def spoil_sketch(store):
    path = store.root / "rewards" / "sketches" / "fake-0" / "s1.json"
    path.write_text(json.dumps(json.loads(path.read_text()) | {"values": [0.0, 0.5, 0.75]}))


def lose_sketch(store):
    (store.root / "rewards" / "sketches" / "fake-0" / "s1.json").unlink()


def leave_temporary_file(store):
    (store.root / "rewards" / ".shard.1.abc.tmp").write_bytes(b"half")


def copy_shard_in(store):
    path = store.shards / "odd" / "1.0.0" / "odd-train.tfrecord-00002"
    path.write_bytes(path.with_name("odd-train.tfrecord-00000").read_bytes())


@pytest.mark.parametrize(
    ("spoil", "said"),
    [
        (spoil_shard, {"error: is gone, and with it episode 'fake-1'", "warning: tells plain TFDS of 2 of 1 episodes"}),
        (spoil_side_shard, {"error: is no readable Parquet file"}),
        (lose_side_shard, {"error: is not there"}),
        (spoil_sketch, {"error: differs from the index"}),
        (lose_sketch, {"error: is no sketch"}),
        (leave_temporary_file, {"warning: was left by a writer that was killed"}),
        (copy_shard_in, {"warning: is not in the index", "warning: tells plain TFDS of 2 of 3 episodes"}),
    ],
)
def test_verify_finds(full, spoil, said):
    spoil(full)
    found = [f"{problem.severity}: {problem.what}" for problem in full.verify()]
    assert len(found) == len(said)
    assert all(any(problem.startswith(start) for problem in found) for start in said), found


@only_sqlite
@pytest.mark.parametrize("how", ["lost", "lost with its log left", "garbage", "cut", "sound"])
def test_rebuild_index_restores_everything(full, how):
    before = index_rows(full.root)
    path = full.root / "index.sqlite"
    if how.startswith("lost"):
        path.unlink()
    if how == "lost with its log left":
        path.with_name("index.sqlite-wal").write_bytes(b"stale")
    if how == "garbage":
        path.write_bytes(b"not a database" * 999)
    if how == "cut":
        os.truncate(path, 5000)
    counts = Store(full.root).rebuild_index()
    assert (counts.episodes, counts.sketches, counts.predictions, counts.problems) == (5, 2, 5, ())
    assert index_rows(full.root) == before
    store = Store.open(full.root)
    assert store.verify() == []
    assert store.add(small(4), "even") is Added.DUPLICATE and store.add(small(6), "even") is Added.ADDED


def test_rebuild_says_what_it_cannot_read_and_takes_the_rest(full):
    row = full.query(Query(ids=("fake-1",)))[0]
    row.path.write_bytes(row.path.read_bytes()[:-1])
    full.prediction_path("m1", "x").with_name("card.json").write_text("{")
    counts = full.rebuild_index()
    assert (counts.episodes, counts.sketches, counts.predictions) == (4, 2, 0)
    said = [problem.where.rpartition("/")[2] for problem in counts.problems]
    assert said == ["odd-train.tfrecord-00000", "card.json", "block-0.parquet"]  # the last rates the lost episode too


def test_rebuild_with_a_lost_shard_keeps_those_after_it(full):
    full.query(Query(ids=("fake-2",)))[0].path.unlink()  # the second of three
    counts = full.rebuild_index()
    assert counts.episodes == 4
    assert [p.what.partition(" is gone")[0].rpartition("/")[2] for p in counts.problems[:1]] == [
        "even-train.tfrecord-00001"
    ]
    assert full.read("fake-4").metadata.seed == 4
    with pytest.raises(StoreError, match="restore it"):
        Store.open(full.root).add(small(8), "even")


@only_sqlite
def test_create_heals_a_lost_index(full):
    before = index_rows(full.root)
    (full.root / "index.sqlite").unlink()
    with pytest.raises(StoreError, match="rebuild-index"):
        Store.open(full.root)
    Store.create(full.root)
    assert index_rows(full.root) == before


@only_sqlite
def test_a_store_of_an_older_version_just_works(full):
    """It lacks tables and columns' indices that came later; they are made when it is first opened."""
    with connect(full.root) as connection:
        for table in ("Notes", "Leases", "SchemaVersion"):
            connection.execute(f'DROP TABLE "{table}"')
        connection.execute('DROP INDEX "EpisodesByTime"')
    store = Store.open(full.root)
    assert store.notes() == [] and store.leases("lift_green", 0) == [] and len(store.query(Query())) == 5
    store.add_note(Note("fake-0", "n", "comment", "ann", "fine"))
    assert [note.text for note in Store.open(full.root).notes()] == ["fine"]
    with connect(full.root) as connection:
        assert connection.execute("SELECT 1 FROM sqlite_master WHERE name = 'EpisodesByTime'").fetchone()
    assert store.verify() == []


@only_sqlite
def test_an_emptied_index_is_not_taken_for_an_old_one(full):
    (full.root / "index.sqlite").write_bytes(b"")
    with pytest.raises(StoreError, match="rebuild-index"):
        Store.open(full.root).query(Query())


@only_sqlite
def test_sqlite_counts_its_rows_whenever_they_have_doubled(store):
    def counted():
        with connect(store.root) as connection:
            return connection.execute("SELECT stat FROM sqlite_stat1 WHERE idx = 'EpisodesByTime'").fetchone()

    store.publish()
    for seed, expected in ((0, "1 1"), (1, "2 1"), (2, "2 1"), (3, "4 1")):
        store.add(small(seed), "fake")
        store.publish()
        assert counted() == (expected,)


@only_sqlite
def test_the_newest_of_many_conditions_are_found_without_sorting(full):
    """The plan, rather than the time that it takes: see `benchmarks/store_queries.py`."""
    full.rebuild_index()
    query = full.parse("task_id=lift_green verdict=success min_steps=3 order=newest limit=100")
    with full._index.read() as connection:
        for statement, way in ((query.select(connection), "USING INDEX"), (query.count(connection), "COVERING INDEX")):
            text = str(statement.compile(connection, compile_kwargs={"literal_binds": True}))
            (search, *_) = [row.detail for row in connection.exec_driver_sql(f"EXPLAIN QUERY PLAN {text}")]
            assert search.startswith("SEARCH") and f"{way} EpisodesBy" in search
