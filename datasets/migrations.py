"""Which version the tables of an index have, and how an older index becomes one of today.

An index says its version in the table `SchemaVersion`; one that does not is of version 1. It is migrated in place, in
one transaction under the index's lock, by whoever uses it first; the others wait and find it done. Making it anew from
the files would be simpler, but reads every episode again: hours for a million, where a migration reads side shards at
most. What only the episodes tell (`ContentHash`) stays NULL until somebody rebuilds the index; `verify` says so.

Whoever changes a table in `datasets.tables` counts `VERSION` up and adds to `_STEPS`.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from sqlalchemy.schema import CreateColumn

from datasets.console import track
from datasets.errors import StoreError
from datasets.predictions import read_predictions, summary
from datasets.tables import EPISODES, REWARD_SEQUENCES, SCHEMA_VERSION, tables

VERSION = 3
"""Of the tables in `datasets.tables`."""


def version_of(connection: sql.Connection) -> int:
    """The version of an index, 1 if it does not say."""
    if not sql.inspect(connection).has_table(SCHEMA_VERSION.name):
        return 1
    return connection.execute(sql.select(SCHEMA_VERSION.c.Version)).scalar() or 1


def is_outdated(connection: sql.Connection, name: str, root: Path) -> bool:
    """Whether an index is of an older version.

    One without `Episodes` is not old but damaged: it stays as it is, for the first query to fail.

    Args:
      connection: to the index.
      name: of the index, for the message.
      root: of the store.

    Raises:
      StoreError: if it is of a newer version.
    """
    return _known_version(connection, name, root) < VERSION and sql.inspect(connection).has_table(EPISODES.name)


def migrate(connection: sql.Connection, name: str, root: Path) -> None:
    """Makes the tables of today, in an empty database or out of an older index. Must run under the index's lock.

    Raises:
      StoreError: if the index is of a newer version.
    """
    version = _known_version(connection, name, root)
    tables.create_all(connection)
    for number in range(version + 1, VERSION + 1):
        if number in _STEPS:
            _STEPS[number](connection, root)
    for table in tables.sorted_tables:
        for index in table.indexes:  # those that came later than their table
            index.create(connection, checkfirst=True)
    connection.execute(sql.delete(SCHEMA_VERSION))
    connection.execute(sql.insert(SCHEMA_VERSION).values(Version=VERSION))


def _known_version(connection: sql.Connection, name: str, root: Path) -> int:
    version = version_of(connection)
    if version > VERSION:
        raise StoreError(
            f"{name} is an index of version {version}, and this Armchair knows version {VERSION}: update Armchair, or "
            f"make the index anew with `armchair store rebuild-index --store {root}`"
        )
    return version


_INDEXES_OF_1 = (
    "RewardSequencesByTask", "RewardSequencesByModel", "EpisodesByTask",
    *(f"EpisodesBy{name}" for name in ("PolicyId", "Source", "Robot", "EpisodeType", "Verdict")),
)  # fmt: skip
"""Those that are of other columns today, or not at all."""


def _to_2(connection: sql.Connection, root: Path) -> None:
    table = REWARD_SEQUENCES.c
    _add_columns(connection, EPISODES.c.Deleted, table.Return, table.Final)
    for name in _INDEXES_OF_1:
        connection.exec_driver_sql(f'DROP INDEX IF EXISTS "{name}"')
    by_path = sql.select(table.DataPath).where(table.ModelId.is_not(None)).distinct().order_by(table.DataPath)
    paths = connection.execute(by_path).scalars().all()
    chosen = (table.EpisodeId == sql.bindparam("episode"), table.DataPath == sql.bindparam("path"))
    update = sql.update(REWARD_SEQUENCES).where(*chosen)
    for path in track(paths, "Indexing predictions") if paths else ():
        try:
            predictions = read_predictions(root / path)
        except StoreError:
            continue  # `verify` reports it
        rows = [{"episode": i, "path": path, **summary(values)} for i, values in predictions.items()]
        connection.execute(update, rows)


def _to_3(connection: sql.Connection, root: Path) -> None:
    _add_columns(connection, EPISODES.c.ContentHash)


def _add_columns(connection: sql.Connection, *columns: sql.Column[Any]) -> None:
    """Adds those that a table has not got."""
    for column in columns:
        there = {known["name"] for known in sql.inspect(connection).get_columns(column.table.name)}
        if column.name not in there:
            what = CreateColumn(column).compile(dialect=connection.dialect)
            connection.exec_driver_sql(f'ALTER TABLE "{column.table.name}" ADD COLUMN {what}')


_STEPS: Mapping[int, Callable[[sql.Connection, Path], None]] = {2: _to_2, 3: _to_3}
"""Version -> what leads to it from the one before, besides tables and indexes that are missing, which are made anyway.

A step finds tables of the version before, or empty ones of today."""
