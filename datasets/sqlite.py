"""An index in a file of the store, `ROOT/index.sqlite`: what a store has unless told otherwise."""

import contextlib
import os
import sqlite3
import time
from pathlib import Path

import sqlalchemy as sql

from datasets import files, migrations
from datasets.errors import StoreError
from datasets.index import BUSY_TIMEOUT_S, POOL, Index
from datasets.tables import EPISODES

_CACHE_KIB = 64 * 1024  # a connection, if it reads so much: with SQLite's 2 MB, queries of a million take twice as long


class SqliteIndex(Index):
    """SQLite with a write-ahead log: for processes of one machine."""

    def __init__(self, root: Path):
        """Names the index of the store at `root` without looking at the disk."""
        self.path = root / "index.sqlite"
        engine = sql.create_engine(f"sqlite:///{self.path}", connect_args={"timeout": BUSY_TIMEOUT_S}, **POOL)
        sql.event.listen(engine, "connect", _on_connect)
        sql.event.listen(engine, "begin", _on_begin)
        super().__init__(root, str(self.path), engine, engine.execution_options(writes=True))

    def exists(self) -> bool:
        """Whether the file is there."""
        return self.path.is_file()

    def create(self) -> None:
        """Makes an empty index, whole or not at all. Does nothing if there is one, whoever made it."""
        if self.path.exists():
            return
        self.root.mkdir(parents=True, exist_ok=True)
        staged = self.path.with_name(f".{self.path.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
        try:
            with contextlib.closing(sqlite3.connect(staged)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")  # stays with the file
            engine = sql.create_engine(f"sqlite:///{staged}")
            with engine.begin() as connection:
                migrations.migrate(connection, self.name, self.root)
            engine.dispose()
            with contextlib.suppress(FileExistsError):
                os.link(staged, self.path)
        finally:
            staged.unlink(missing_ok=True)

    def make_usable(self) -> None:
        """Makes an empty index in place of a lost, damaged or newer one, which is kept under another name."""
        try:
            if self.path.exists():
                with self.read() as connection:
                    connection.execute(sql.select(EPISODES).limit(1)).all()
                    found = connection.exec_driver_sql("PRAGMA quick_check(1)").scalar_one()
                    if found != "ok":
                        raise StoreError(f"{self.path} is damaged ({found})")
        except StoreError:
            self.path.rename(self.path.with_name(f"{self.path.name}.damaged-{int(time.time())}"))
        if not self.path.exists():
            self.remove()
            self.create()

    def backup(self, path: Path) -> None:
        """SQLite's own copy of a database in use, which waits for nobody."""
        with (
            files.staged_file(path) as staged,
            contextlib.closing(sqlite3.connect(self.path, timeout=BUSY_TIMEOUT_S)) as ours,
            contextlib.closing(sqlite3.connect(staged)) as copy,
        ):
            ours.backup(copy)

    def remove(self) -> None:
        """Deletes the index with its log, which SQLite would replay into the next one."""
        self.close()
        for suffix in ("", "-wal", "-shm"):
            Path(f"{self.path}{suffix}").unlink(missing_ok=True)

    def analyze(self, connection: sql.Connection) -> None:
        """Counts when there are twice as many episodes: 3 s for a million. Without, SQLite may take the slowest way."""
        counted = None
        if sql.inspect(connection).has_table("sqlite_stat1"):
            known = "SELECT stat FROM sqlite_stat1 WHERE idx = 'EpisodesByTime'"  # rows, and rows of one time
            counted = connection.exec_driver_sql(known).scalar()
        there = connection.exec_driver_sql('SELECT max(rowid) FROM "Episodes"').scalar() or 0
        if there >= 2 * int(counted.split()[0] if counted else 0):
            connection.exec_driver_sql("ANALYZE")

    def explain(self, error: sql.exc.DatabaseError) -> StoreError:
        """What SQLite means, in one sentence."""
        if isinstance(error, sql.exc.OperationalError) and "locked" in str(error.orig):
            return StoreError(
                f"{self.name} has been locked by another process for {BUSY_TIMEOUT_S} s: "
                f"see which one hangs (`fuser {self.name}`)"
            )
        return StoreError(
            f"{self.name} cannot be used ({error.orig}): run `armchair store rebuild-index --store {self.root}`"
        )


def _on_connect(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # SQLAlchemy says BEGIN itself; the driver would begin too late
    connection.execute("PRAGMA foreign_keys=ON")
    connection.execute(f"PRAGMA cache_size=-{_CACHE_KIB}")
    # A power cut may lose the last commits, never the file; the next `add` finds the shards again.
    connection.execute("PRAGMA synchronous=NORMAL")


def _on_begin(connection: sql.Connection) -> None:
    writes = connection.get_execution_options().get("writes", False)
    connection.exec_driver_sql("BEGIN IMMEDIATE" if writes else "BEGIN")
