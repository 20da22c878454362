"""How the episodes of a store become rows of its index, and rows become values again."""

import dataclasses
import hashlib
from collections.abc import Sequence, Set
from pathlib import Path
from typing import Any

import sqlalchemy as sql
from upath import UPath

from datasets import features
from datasets.episode import Episode, EpisodeMetadata
from datasets.errors import BadEpisodeError, StoreError
from datasets.index import among, insert_new
from datasets.query import Query, split_of
from datasets.schema import Verdict
from datasets.shards import ShardDirectory, read_record
from datasets.tables import (
    ARCHIVE_FILES,
    EPISODE_TAGS,
    EPISODES,
    METADATA_FIELDS,
    NOTES,
    POLICIES,
    REWARD_SEQUENCES,
    TAGS,
    column_name,
)


@dataclasses.dataclass(frozen=True, kw_only=True)
class EpisodeRow(EpisodeMetadata):
    """What the index knows of an episode: its metadata, and where it is."""

    dataset: str
    shard: int  # number in the shard's name
    path: Path | UPath  # of the shard
    num_steps: int
    split: str  # "train" or "test", see `query.split_of`
    checksum: str  # SHA-256 of the shard file, hex
    content_hash: str | None  # of the steps, see `features.content_hash`; None: not known


# Those that are columns of the same name.
_ROW_FIELDS = (*METADATA_FIELDS, "dataset", "shard", "num_steps", "split", "checksum", "content_hash")

_SHARDS = "episodes"  # what paths in the index begin with, wherever the shards are


_BATCH = 10_000  # rows sent to the database at once: some 20 MB

FACETS = ("task_id", "tag", "policy_id", "source", "dataset", "robot", "episode_type", "verdict")
"""The conditions of a Query by which people choose."""


@dataclasses.dataclass(frozen=True)
class Group:
    """The episodes of one task in one dataset, counted."""

    dataset: str
    task_id: str
    episodes: int
    steps: int
    seconds: float  # by each episode's own rate
    successes: int
    failures: int
    tests: int  # of the test split
    policies: int  # that are named
    first: int  # Unix seconds
    last: int
    robots: tuple[str, ...]


def checksum(path: Path | UPath) -> str:
    """SHA-256 of a file, hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def describe(episode: Episode, content_hash: str, directory: ShardDirectory, shard: Path | UPath) -> EpisodeRow:
    """The row of an episode that lies in `shard`."""
    return EpisodeRow(
        **dataclasses.asdict(episode.metadata),
        dataset=directory.name,
        shard=shard_number(shard),
        path=shard,
        num_steps=episode.num_steps,
        split=split_of(episode.metadata.episode_id),
        checksum=checksum(shard),
        content_hash=content_hash,
    )


def is_indexed(connection: sql.Connection, episode_id: str) -> bool:
    """Whether there is an episode of this id."""
    found = sql.select(EPISODES.c.EpisodeId).where(EPISODES.c.EpisodeId == episode_id)
    return connection.execute(found).first() is not None


def unknown_among(connection: sql.Connection, episode_ids: Set[str]) -> Set[str]:
    """Those of some ids of which there is no episode."""
    found = sql.select(EPISODES.c.EpisodeId).where(among(EPISODES.c.EpisodeId, episode_ids))
    return episode_ids - set(connection.execute(found).scalars())


def find_content(connection: sql.Connection, content_hash: str) -> str | None:
    """The id of the first episode with these steps, deleted or not; None if there is none."""
    same = sql.select(EPISODES.c.EpisodeId).where(EPISODES.c.ContentHash == content_hash)
    return connection.execute(same.order_by(EPISODES.c.Timestamp, EPISODES.c.EpisodeId).limit(1)).scalar()


def describe_shard(directory: ShardDirectory, shard: Path | UPath) -> EpisodeRow:
    """The row of the episode in a shard. Raises BadEpisodeError if it cannot be read."""
    record = read_record(shard)
    return describe(features.deserialize(record, directory.features), features.content_hash(record), directory, shard)


def insert_episode(connection: sql.Connection, row: EpisodeRow) -> bool:
    """Indexes an episode; False if its id is there already."""
    if is_indexed(connection, row.episode_id):
        return False
    insert_episodes(connection, [row])
    return True


def insert_episodes(connection: sql.Connection, rows: Sequence[EpisodeRow]) -> None:
    """Indexes episodes in bulk; their ids are new, and none comes twice."""
    for start in range(0, len(rows), _BATCH):
        batch = rows[start : start + _BATCH]
        tags = {row.episode_id: {tag.strip() for tag in row.tags.split(",")} - {""} for row in batch}
        sources = {row.episode_id: row.source for row in batch if row.source}
        insert_new(connection, EPISODES, [_columns(row) for row in batch])
        insert_new(connection, TAGS, [{"Name": tag} for tag in set().union(*tags.values())])
        insert_new(connection, EPISODE_TAGS, [{"EpisodeId": i, "Tag": tag} for i in tags for tag in tags[i]])
        insert_new(connection, POLICIES, [{"PolicyId": name} for name in {row.policy_id for row in batch} - {""}])
        insert_new(connection, ARCHIVE_FILES, [{"EpisodeId": i, "ArchiveFile": s} for i, s in sources.items()])


def _columns(row: EpisodeRow) -> dict[str, Any]:
    columns = {column_name(name): getattr(row, name) for name in _ROW_FIELDS}
    return columns | {"DataPath": "/".join((_SHARDS, *row.path.parts[-3:]))}  # dataset, version, file


def select_episodes(
    connection: sql.Connection, shards: Path | UPath, query: Query, deleted: bool | None = False
) -> list[EpisodeRow]:
    """Rows of the episodes that match, by (dataset, shard).

    Args:
      connection: to the index.
      shards: the folder of all shards.
      query: see there.
      deleted: as in `Query.select`.
    """
    found = connection.execute(query.select(connection, deleted)).mappings().all()
    tags: dict[str, list[str]] = {}
    tagged = sql.select(EPISODE_TAGS).where(among(EPISODE_TAGS.c.EpisodeId, [row["EpisodeId"] for row in found]))
    for episode_id, tag in connection.execute(tagged.order_by(EPISODE_TAGS.c.Tag)):
        tags.setdefault(episode_id, []).append(tag)
    return [
        EpisodeRow(
            **{name: row[column_name(name)] for name in _ROW_FIELDS},
            path=shards / row["DataPath"].removeprefix(f"{_SHARDS}/"),
            tags=",".join(tags.get(row["EpisodeId"], ())),
        )
        for row in found
    ]


def deleted_ids() -> sql.Select[tuple[str]]:
    """Ids of the deleted episodes, few."""
    return sql.select(EPISODES.c.EpisodeId).where(EPISODES.c.Deleted.is_(True))


def count_facets(connection: sql.Connection) -> dict[str, dict[str, int]]:
    """See `Store.facets`."""
    counts: dict[str, dict[str, int]] = {}
    for name in FACETS:
        column = EPISODE_TAGS.c.Tag if name == "tag" else EPISODES.c[column_name(name)]
        episodes = sql.func.count()
        shown = EPISODE_TAGS.c.EpisodeId.not_in(deleted_ids()) if name == "tag" else EPISODES.c.Deleted.is_(False)
        counted = sql.select(column, episodes).where(column != "", shown).group_by(column)
        counted = counted.order_by(episodes.desc(), column)
        counts[name] = {row[0]: row[1] for row in connection.execute(counted)}
    return counts


def count_groups(connection: sql.Connection) -> list[Group]:
    """See `Store.groups`."""
    episodes, shown = EPISODES.c, EPISODES.c.Deleted.is_(False)
    key = (episodes.Dataset.label("dataset"), episodes.TaskId.label("task_id"))
    named = sql.select(*key, episodes.Robot).where(shown).distinct().order_by(episodes.Robot)
    robots: dict[tuple[str, str], list[str]] = {}
    for dataset, task_id, robot in connection.execute(named):
        robots.setdefault((dataset, task_id), []).append(robot)

    def number(condition: sql.ColumnElement[bool]) -> sql.ColumnElement[int]:
        return sql.func.sum(sql.case((condition, 1), else_=0))

    numbers = {
        "episodes": sql.func.count(),
        "steps": sql.func.sum(episodes.NumSteps),
        "seconds": sql.func.sum(episodes.NumSteps / episodes.ControlRateHz),
        "successes": number(episodes.Verdict == Verdict.SUCCESS),
        "failures": number(episodes.Verdict == Verdict.FAILURE),
        "tests": number(episodes.Split == "test"),
        "policies": sql.func.count(sql.func.nullif(episodes.PolicyId, "").distinct()),
        "first": sql.func.min(episodes.Timestamp),
        "last": sql.func.max(episodes.Timestamp),
    }
    columns = (*key, *(column.label(name) for name, column in numbers.items()))
    counted = sql.select(*columns).where(shown).group_by(*key).order_by(*key)
    return [
        Group(**row, robots=tuple(robots[row["dataset"], row["task_id"]]))
        for row in connection.execute(counted).mappings()
    ]


def count_rows(connection: sql.Connection) -> tuple[int, ...]:
    """How many episodes, reward sequences and notes there are."""
    tables = (EPISODES, REWARD_SEQUENCES, NOTES)
    counts = (sql.select(sql.func.count()).select_from(table).scalar_subquery() for table in tables)
    return tuple(connection.execute(sql.select(*counts)).one())


def shard_number(shard: Path | UPath) -> int:
    """The number in a shard's name."""
    return int(shard.name.rpartition("-")[2])


def adopt(connection: sql.Connection, directory: ShardDirectory) -> None:
    """Indexes the shards past the last indexed one, which a killed writer left without their rows.

    Raises:
      StoreError: if shards are missing, because the next one would take the number of a lost episode.
    """
    newest = sql.select(sql.func.max(EPISODES.c.Shard)).where(EPISODES.c.Dataset == directory.name)
    newest_number = connection.execute(newest).scalar()
    expected = 0 if newest_number is None else newest_number + 1
    if len(directory) < expected:
        raise StoreError(
            f"{directory.shard_path(len(directory))} is gone though episodes up to shard {expected - 1} are indexed: "
            "restore it from a copy before adding more"
        )
    for number in range(expected, len(directory)):
        shard = directory.shard_path(number)
        try:
            row = describe_shard(directory, shard)
        except BadEpisodeError:
            continue  # `verify` reports it
        insert_episode(connection, row)
