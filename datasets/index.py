"""The two ways to talk to a store's index: reading, which never waits, and writing, one at a time."""

import contextlib
import os
import sqlite3
import threading
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from sqlalchemy.dialects import sqlite

from datasets.errors import StoreError
from datasets.tables import tables

_BUSY_TIMEOUT_S = 120  # a writer holds the lock for some 10 ms an episode: this is hundreds of writers in a queue


class Index:
    """An index file that several processes read and write at once (SQLite, write-ahead log)."""

    def __init__(self, path: Path):
        """Connects lazily. Picklable things hold the path, not this."""
        self.path = path
        self._engine = sql.create_engine(f"sqlite:///{path}", connect_args={"timeout": _BUSY_TIMEOUT_S})
        sql.event.listen(self._engine, "connect", _on_connect)
        sql.event.listen(self._engine, "begin", _on_begin)
        self._writer = self._engine.execution_options(begin="BEGIN IMMEDIATE")
        self._queue = threading.Lock()  # SQLite's own waiters poll, and may starve; threads of one process line up
        self._is_current = False

    @staticmethod
    def create(path: Path) -> None:
        """Makes an empty index, whole or not at all. Does nothing if there is one, whoever made it."""
        if path.exists():
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        staged = path.with_name(f".{path.name}.{os.getpid()}.{os.urandom(4).hex()}.tmp")
        try:
            with contextlib.closing(sqlite3.connect(staged)) as connection:
                connection.execute("PRAGMA journal_mode=WAL")  # stays with the file
            engine = sql.create_engine(f"sqlite:///{staged}")
            tables.create_all(engine)
            engine.dispose()
            with contextlib.suppress(FileExistsError):
                os.link(staged, path)
        finally:
            staged.unlink(missing_ok=True)

    @contextlib.contextmanager
    def read(self) -> Iterator[sql.Connection]:
        """A connection that sees one state of the index and never waits for writers."""
        with _plain_errors(self.path):
            self._upgrade()
            with self._engine.begin() as connection:
                yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[sql.Connection]:
        """A connection that holds the only write lock, and commits if the block ends well.

        The lock is taken at the start (BEGIN IMMEDIATE): what the block reads stays true until it commits, and a
        process that is killed inside lets go of it with nothing written.
        """
        with _plain_errors(self.path):
            self._upgrade()
            with self._queue, self._writer.begin() as connection:
                yield connection

    def close(self) -> None:
        """Closes idle connections; the next `read` or `write` opens them again."""
        self._engine.dispose()

    def _upgrade(self) -> None:
        """Adds the tables that an index of an older Armchair lacks, when it is first used.

        An index without `Episodes` is not old but damaged: it stays as it is, for the first query to fail.
        """
        if self._is_current:
            return
        with self._engine.begin() as connection:
            there = sql.inspect(connection).get_table_names()
        if "Episodes" in there and not set(tables.tables) <= set(there):
            with self._queue, self._writer.begin() as connection:
                tables.create_all(connection)  # under the lock, so that of two processes one finds nothing to do
        self._is_current = True


def insert_new(connection: sql.Connection, table: sql.Table, rows: Iterable[Mapping[str, Any]]) -> int:
    """Inserts the rows whose primary key is new; returns how many those were."""
    rows = [dict(row) for row in rows]
    if not rows:
        return 0
    result = connection.execute(sqlite.insert(table).on_conflict_do_nothing(index_elements=table.primary_key), rows)
    return result.rowcount


def among(column: sql.ColumnElement[str], values: Iterable[str]) -> sql.ColumnElement[bool]:
    """`column IN (values)` for any number of values (SQLite allows 32,766 bound parameters)."""
    wanted = sql.func.json_each(sql.literal(list(values), sql.JSON)).table_valued("value")
    return column.in_(sql.select(wanted.c.value))


def _on_connect(connection: sqlite3.Connection, _record: object) -> None:
    connection.isolation_level = None  # SQLAlchemy says BEGIN itself; the driver would begin too late
    connection.execute("PRAGMA foreign_keys=ON")
    # A power cut may lose the last commits, never the file; the next `add` finds the shards again.
    connection.execute("PRAGMA synchronous=NORMAL")


def _on_begin(connection: sql.Connection) -> None:
    connection.exec_driver_sql(connection.get_execution_options().get("begin", "BEGIN"))


@contextlib.contextmanager
def _plain_errors(path: Path) -> Iterator[None]:
    try:
        yield
    except sql.exc.OperationalError as error:
        if "locked" not in str(error.orig):
            raise _damaged(path, error) from error
        raise StoreError(
            f"{path} has been locked by another process for {_BUSY_TIMEOUT_S} s: see which one hangs (`fuser {path}`)"
        ) from error
    except sql.exc.DatabaseError as error:
        if isinstance(error, sql.exc.IntegrityError):
            raise
        raise _damaged(path, error) from error


def _damaged(path: Path, error: sql.exc.DatabaseError) -> StoreError:
    return StoreError(f"{path} cannot be used ({error.orig}): run `armchair store rebuild-index --store {path.parent}`")
