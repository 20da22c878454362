"""The two ways to talk to a store's index, whatever database keeps it: reading, and writing, one at a time.

`datasets.sqlite` and `datasets.postgres` say what differs between the databases; `datasets.location` says which of them
a store uses.
"""

import abc
import contextlib
import threading
import weakref
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from sqlalchemy.dialects import postgresql, sqlite
from sqlalchemy.ext.compiler import compiles
from sqlalchemy.sql.compiler import SQLCompiler
from sqlalchemy.sql.functions import GenericFunction

from datasets import migrations
from datasets.errors import StoreError
from datasets.tables import EPISODES

BUSY_TIMEOUT_S = 120  # a writer holds the lock for some 10 ms an episode: this is hundreds of writers in a queue
POOL = {"pool_size": 5, "max_overflow": 35}  # connections: as many as a web server has threads, 5 of them kept


class Index(abc.ABC):
    """The index of one store, which several threads, processes and machines read and write at once."""

    def __init__(self, root: Path, name: str, reader: sql.Engine, writer: sql.Engine):
        """Connects lazily. Picklable things hold the store's root, not this.

        Args:
          root: of the store.
          name: of the index, for messages.
          reader: begins transactions that see one state.
          writer: begins transactions that hold the lock; an engine over the same pool of connections.
        """
        self.root = root
        self.name = name
        self._reader = reader
        self._writer = writer
        # Threads of one process line up here: SQLite's waiters poll, and may starve; PostgreSQL's hold connections.
        self._queue = threading.Lock()
        self._is_current = False
        weakref.finalize(self, reader.dispose)  # or psycopg warns of connections that nobody closed

    @abc.abstractmethod
    def exists(self) -> bool:
        """Whether there is an index. Raises StoreError if that cannot be found out."""

    @abc.abstractmethod
    def create(self) -> None:
        """Makes an empty index, whole or not at all. Does nothing if there is one, whoever made it."""

    @abc.abstractmethod
    def make_usable(self) -> None:
        """Makes an empty index in place of a lost, damaged or newer one; a sound one stays as it is."""

    @abc.abstractmethod
    def backup(self, path: Path) -> None:
        """Copies the index to a file, whole or not at all. Raises StoreError if the database has a tool for that."""

    @abc.abstractmethod
    def analyze(self, connection: sql.Connection) -> None:
        """Lets the database count what it chooses its ways by, if there is much more than when it last did."""

    @abc.abstractmethod
    def explain(self, error: sql.exc.DatabaseError) -> StoreError:
        """What the database means, in one sentence."""

    @contextlib.contextmanager
    def read(self) -> Iterator[sql.Connection]:
        """A connection that sees one state of the index and never waits for writers."""
        with self.plain_errors():
            self._upgrade()
            with self._reader.begin() as connection:
                yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[sql.Connection]:
        """A connection that holds the only write lock, and commits if the block ends well.

        The lock is taken at the start: what the block reads stays true until it commits, and a process that is killed
        inside lets go of it with nothing written.
        """
        with self.plain_errors():
            self._upgrade()
            with self._queue, self._writer.begin() as connection:
                yield connection

    def close(self) -> None:
        """Closes idle connections; the next `read` or `write` opens them again."""
        self._reader.dispose()

    @contextlib.contextmanager
    def plain_errors(self) -> Iterator[None]:
        """Turns what the database says into a StoreError; a broken constraint is a bug of ours and passes."""
        try:
            yield
        except sql.exc.DatabaseError as error:
            if isinstance(error, sql.exc.IntegrityError):
                raise
            raise self.explain(error) from error

    def has_tables(self) -> bool:
        """Whether the database holds at least the table `Episodes`."""
        with self._reader.begin() as connection:
            return sql.inspect(connection).has_table(EPISODES.name)

    def migrate(self) -> None:
        """Makes the tables of today, under the lock, so that of two processes one finds nothing to do."""
        with self._queue, self._writer.begin() as connection:
            migrations.migrate(connection, self.name, self.root)
            self.analyze(connection)

    def _upgrade(self) -> None:
        """Migrates an index of an older Armchair when it is first used. Raises StoreError for one of a newer."""
        if self._is_current:
            return
        with self._reader.begin() as connection:
            is_outdated = migrations.is_outdated(connection, self.name, self.root)
        if is_outdated:
            self.migrate()
        self._is_current = True


def insert_new(connection: sql.Connection, table: sql.Table, rows: Iterable[Mapping[str, Any]]) -> int:
    """Inserts the rows whose primary key is new; returns how many those were."""
    rows = [dict(row) for row in rows]
    if not rows:
        return 0
    insert = postgresql.insert if connection.dialect.name == "postgresql" else sqlite.insert
    new = insert(table).on_conflict_do_nothing(index_elements=table.primary_key)
    # Without the option, SQLAlchemy does not count what it sends to PostgreSQL in batches.
    return connection.execute(new, rows, execution_options={"preserve_rowcount": True}).rowcount


class _JsonTexts(GenericFunction):
    """The texts of a JSON array, as a table with the column `value`."""

    name = "json_each"
    identifier = "armchair_json_texts"
    inherit_cache = True


@compiles(_JsonTexts, "postgresql")
def _json_texts_of_postgres(element: _JsonTexts, compiler: SQLCompiler, **options: Any) -> str:
    return f"json_array_elements_text{compiler.process(element.clause_expr, **options)}"


def among(column: sql.ColumnElement[str], values: Iterable[str]) -> sql.ColumnElement[bool]:
    """`column IN (values)` for any number of values (SQLite allows 32,766 bound parameters, PostgreSQL 65,535)."""
    wanted = _JsonTexts(sql.literal(list(values), sql.JSON)).table_valued("value")
    return column.in_(sql.select(wanted.c.value))
