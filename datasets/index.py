"""The store's index: SQL tables with the Sketchy dataset's public names, and the two ways to talk to them.

```
Episodes         EpisodeId*  one column a field of EpisodeMetadata, + DataPath Dataset Shard NumSteps Split Checksum
Tags             Name*
EpisodeTags      EpisodeId* Tag*
RewardSequences  EpisodeId* RewardSequenceId* RewardTaskId Type User "Values" + ModelId DataPath ...
ArchiveFiles     EpisodeId* ArchiveFile          the foreign log that an episode came from
+ Policies       PolicyId*
+ RewardModels   ModelId* ModelHash TaskId Card
```
(* primary key.) `Values` is an SQL keyword: write `SELECT "Values"`. It holds packed little-endian float32, one a
frame, for a sketch; it is NULL for a model's prediction, which lives in the side shard at `DataPath`.

The index holds nothing that cannot be rebuilt from the files of the store.
"""

import contextlib
import dataclasses
import os
import sqlite3
from collections.abc import Iterable, Iterator, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from sqlalchemy.dialects import sqlite

from datasets.episode import EpisodeMetadata
from datasets.errors import StoreError

_BUSY_TIMEOUT_S = 120  # a writer holds the lock for some 10 ms an episode: this is hundreds of writers in a queue


def column_name(field: str) -> str:
    """`control_rate_hz` -> `ControlRateHz`."""
    return "".join(part.capitalize() for part in field.split("_"))


_SQL_TYPES = {str: sql.String, int: sql.BigInteger, float: sql.Float}
METADATA_FIELDS = tuple(f.name for f in dataclasses.fields(EpisodeMetadata) if f.name != "tags")
"""Fields of EpisodeMetadata that are columns of `Episodes`; tags have their own table."""

tables = sql.MetaData()

EPISODES = sql.Table(
    "Episodes",
    tables,
    *(
        sql.Column(column_name(f.name), _SQL_TYPES[f.type], nullable=False, primary_key=f.name == "episode_id")  # type: ignore[index]
        for f in dataclasses.fields(EpisodeMetadata)
        if f.name in METADATA_FIELDS
    ),
    sql.Column("DataPath", sql.String, nullable=False),  # of the shard, relative to the store
    sql.Column("Dataset", sql.String, nullable=False),
    sql.Column("Shard", sql.Integer, nullable=False),  # the number in the shard's name
    sql.Column("NumSteps", sql.Integer, nullable=False),
    sql.Column("Split", sql.String, nullable=False),  # "train" or "test"
    sql.Column("Checksum", sql.String, nullable=False),  # SHA-256 of the shard file, hex
    sql.UniqueConstraint("Dataset", "Shard"),
    sql.Index("EpisodesByTask", "TaskId", "EpisodeType"),
)
_EPISODE_KEY = "Episodes.EpisodeId"

TAGS = sql.Table("Tags", tables, sql.Column("Name", sql.String, primary_key=True))

EPISODE_TAGS = sql.Table(
    "EpisodeTags",
    tables,
    sql.Column("EpisodeId", sql.ForeignKey(_EPISODE_KEY), primary_key=True),
    sql.Column("Tag", sql.ForeignKey("Tags.Name"), primary_key=True, index=True),
)

POLICIES = sql.Table("Policies", tables, sql.Column("PolicyId", sql.String, primary_key=True))

REWARD_MODELS = sql.Table(
    "RewardModels",
    tables,
    sql.Column("ModelId", sql.String, primary_key=True),
    sql.Column("ModelHash", sql.String, nullable=False),
    sql.Column("TaskId", sql.String, nullable=False),
    sql.Column("Card", sql.Text),  # JSON; NULL until the model is registered
)

REWARD_SEQUENCES = sql.Table(
    "RewardSequences",
    tables,
    sql.Column("EpisodeId", sql.ForeignKey(_EPISODE_KEY), primary_key=True),
    sql.Column("RewardSequenceId", sql.String, primary_key=True),
    sql.Column("RewardTaskId", sql.String, nullable=False),
    sql.Column("Type", sql.String, nullable=False),
    sql.Column("User", sql.String, nullable=False),
    sql.Column("Values", sql.LargeBinary),  # NULL for a prediction
    sql.Column("ModelId", sql.ForeignKey("RewardModels.ModelId")),  # NULL for a sketch
    sql.Column("DataPath", sql.String, nullable=False),  # sketch or side shard, relative to the store
    sql.Column("Timestamp", sql.BigInteger, nullable=False),
    sql.Column("Tool", sql.String, nullable=False),
    sql.Column("SecondsSpent", sql.Float, nullable=False),
    sql.Index("RewardSequencesByTask", "RewardTaskId", "Type"),
    sql.Index("RewardSequencesByModel", "ModelId"),
)

ARCHIVE_FILES = sql.Table(
    "ArchiveFiles",
    tables,
    sql.Column("EpisodeId", sql.ForeignKey(_EPISODE_KEY), primary_key=True),
    sql.Column("ArchiveFile", sql.String),
)


class Index:
    """An index file that several processes read and write at once (SQLite, write-ahead log)."""

    def __init__(self, path: Path):
        """Connects lazily. Picklable things hold the path, not this."""
        self.path = path
        self._engine = sql.create_engine(f"sqlite:///{path}", connect_args={"timeout": _BUSY_TIMEOUT_S})
        sql.event.listen(self._engine, "connect", _on_connect)
        sql.event.listen(self._engine, "begin", _on_begin)
        self._writer = self._engine.execution_options(begin="BEGIN IMMEDIATE")

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
        with _plain_errors(self.path), self._engine.begin() as connection:
            yield connection

    @contextlib.contextmanager
    def write(self) -> Iterator[sql.Connection]:
        """A connection that holds the only write lock, and commits if the block ends well.

        The lock is taken at the start (BEGIN IMMEDIATE): what the block reads stays true until it commits, and a
        process that is killed inside lets go of it with nothing written.
        """
        with _plain_errors(self.path), self._writer.begin() as connection:
            yield connection

    def close(self) -> None:
        """Closes idle connections; the next `read` or `write` opens them again."""
        self._engine.dispose()


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
