"""An index in a PostgreSQL database, for a team whose machines share a store: one database a store.

The files stay under the store's root, which all machines see. The user that the URL names needs a database of their
own (`createdb NAME`); the tables are made in it. There is no password in a URL of ours: the PostgreSQL library takes it
from `~/.pgpass` or `PGPASSWORD`.
"""

from pathlib import Path
from typing import Any

import sqlalchemy as sql

from datasets import migrations
from datasets.errors import StoreError
from datasets.index import BUSY_TIMEOUT_S, POOL, Index
from datasets.tables import tables

_LOCK_ID = 0x41_52_4D  # any number; locks of this kind are counted a database, and a database is one store's
_CONNECT_TIMEOUT_S = 10  # a server that is there answers in milliseconds
_DRIVER = "postgresql+psycopg"
_EXAMPLE = "postgresql+psycopg://USER@HOST/DATABASE"


class PostgresIndex(Index):
    """PostgreSQL 13 or newer, spoken to by psycopg 3."""

    def __init__(self, root: Path, url: str):
        """Names the index of the store at `root` without connecting.

        Raises:
          StoreError: if the URL is none, holds a password, or psycopg is not installed.
        """
        target = parse(url)
        try:
            engine = sql.create_engine(
                target,
                connect_args={"connect_timeout": _CONNECT_TIMEOUT_S, "application_name": "armchair"},
                pool_pre_ping=True,  # a server that was started again costs no request
                **POOL,
            )
        except ModuleNotFoundError as error:
            raise StoreError(
                f"the index of {root} is in PostgreSQL, which needs psycopg: pip install 'armchair[postgres]'"
            ) from error
        # Each trip to the server counts: what a transaction is goes into its BEGIN, what all share is said once.
        reader = engine.execution_options(isolation_level="REPEATABLE READ", postgresql_readonly=True)
        writer = engine.execution_options()
        sql.event.listen(engine, "connect", _on_connect)
        sql.event.listen(writer, "begin", _lock)
        super().__init__(root, target.render_as_string(), reader, writer)

    def exists(self) -> bool:
        """Whether the database has our tables."""
        with self.plain_errors():
            return self.has_tables()

    def create(self) -> None:
        """Makes the tables that are missing, all or none, and migrates older ones."""
        with self.plain_errors():
            self.migrate()

    def make_usable(self) -> None:
        """Makes lost tables anew, and all of them where a newer Armchair made them."""
        with self.plain_errors(), self._queue, self._writer.begin() as connection:
            if migrations.version_of(connection) > migrations.VERSION:
                for name in tables.tables:
                    connection.exec_driver_sql(f'DROP TABLE IF EXISTS "{name}" CASCADE')
            migrations.migrate(connection, self.name, self.root)

    def backup(self, path: Path) -> None:
        """Not ours to do."""
        raise StoreError(f"{self.name} is backed up by PostgreSQL's own tool: `pg_dump` its database to {path}")

    def analyze(self, connection: sql.Connection) -> None:
        """Nothing: PostgreSQL's autovacuum does."""

    def explain(self, error: sql.exc.DatabaseError) -> StoreError:
        """What PostgreSQL, or its absence, means, in one sentence."""
        state = getattr(error.orig, "sqlstate", None)
        reason = " ".join(str(error.orig).split("\n")[0].split())
        if state == "55P03":  # lock_not_available
            return StoreError(
                f"{self.name} has been locked by another process for {BUSY_TIMEOUT_S} s: "
                "see which one hangs (`SELECT * FROM pg_stat_activity`)"
            )
        if state is None or state.startswith(("08", "28", "3D", "57P")):  # connection, user, database, shutdown
            return StoreError(
                f"{self.name}, the index of {self.root}, cannot be reached ({reason}): "
                "start the server, or see to user, database and ~/.pgpass"
            )
        return StoreError(
            f"{self.name} cannot be used ({reason}): run `armchair store rebuild-index --store {self.root}`"
        )


def parse(url: str) -> sql.URL:
    """The URL of a database, with our driver. Raises StoreError if it is none, or holds a password."""
    try:
        parsed = sql.make_url(url)
    except (sql.exc.ArgumentError, ValueError) as error:
        raise StoreError(f"the index cannot be at {url!r}, which is no URL: write it like {_EXAMPLE}") from error
    if parsed.password is not None or "password" in parsed.query:
        raise StoreError(
            "the index's URL holds a password, which would lie in the store: take it out, and put it into ~/.pgpass"
        )
    if parsed.drivername not in ("postgresql", _DRIVER) or not parsed.database:
        raise StoreError(f"the index cannot be at {url!r}: write it like {_EXAMPLE}")
    return parsed.set(drivername=_DRIVER)


def _on_connect(connection: Any, _record: object) -> None:
    connection.execute(f"SET lock_timeout = '{BUSY_TIMEOUT_S}s'")
    connection.commit()


def _lock(connection: sql.Connection) -> None:
    # Statements of a writer see what others committed before it had the lock: the default isolation.
    connection.exec_driver_sql(f"SELECT pg_advisory_xact_lock({_LOCK_ID})")
