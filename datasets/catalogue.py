"""How the files of a store become rows of its index, and rows become values again."""

import dataclasses
import hashlib
import json
from collections.abc import Collection
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sql
from upath import UPath

from datasets import features
from datasets.episode import Episode, EpisodeMetadata
from datasets.errors import ArmchairError, BadEpisodeError, LengthError, StoreError
from datasets.index import among, insert_new
from datasets.predictions import read_origin, read_predictions
from datasets.query import Query, split_of
from datasets.rewards import RewardSequence
from datasets.schema import RewardType
from datasets.shards import ShardDirectory, read_record
from datasets.tables import (
    ARCHIVE_FILES,
    EPISODE_TAGS,
    EPISODES,
    METADATA_FIELDS,
    POLICIES,
    REWARD_MODELS,
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


_ROW_FIELDS = (*METADATA_FIELDS, "dataset", "shard", "num_steps", "split", "checksum")  # columns of the same name

_SHARDS = "episodes"  # what paths in the index begin with, wherever the shards are


FACETS = ("task_id", "tag", "policy_id", "source", "dataset", "robot", "episode_type", "verdict")
"""The conditions of a Query by which people choose."""


def checksum(path: Path | UPath) -> str:
    """SHA-256 of a file, hex."""
    return hashlib.sha256(path.read_bytes()).hexdigest()


def describe(episode: Episode, directory: ShardDirectory, shard: Path | UPath) -> EpisodeRow:
    """The row of an episode that lies in `shard`."""
    return EpisodeRow(
        **dataclasses.asdict(episode.metadata),
        dataset=directory.name,
        shard=shard_number(shard),
        path=shard,
        num_steps=episode.num_steps,
        split=split_of(episode.metadata.episode_id),
        checksum=checksum(shard),
    )


def is_indexed(connection: sql.Connection, episode_id: str) -> bool:
    """Whether there is an episode of this id."""
    found = sql.select(EPISODES.c.EpisodeId).where(EPISODES.c.EpisodeId == episode_id)
    return connection.execute(found).first() is not None


def insert_episode(connection: sql.Connection, row: EpisodeRow) -> bool:
    """Indexes an episode; False if its id is there already."""
    columns: dict[str, Any] = {column_name(name): getattr(row, name) for name in _ROW_FIELDS}
    columns["DataPath"] = "/".join((_SHARDS, *row.path.parts[-3:]))  # dataset, version, file
    if not insert_new(connection, EPISODES, [columns]):
        return False
    tags = {tag.strip() for tag in row.tags.split(",")} - {""}
    insert_new(connection, TAGS, [{"Name": tag} for tag in tags])
    insert_new(connection, EPISODE_TAGS, [{"EpisodeId": row.episode_id, "Tag": tag} for tag in tags])
    if row.policy_id:
        insert_new(connection, POLICIES, [{"PolicyId": row.policy_id}])
    if row.source:
        insert_new(connection, ARCHIVE_FILES, [{"EpisodeId": row.episode_id, "ArchiveFile": row.source}])
    return True


def select_episodes(connection: sql.Connection, shards: Path | UPath, query: Query) -> list[EpisodeRow]:
    """Rows of the episodes that match, by (dataset, shard); `shards` is the folder of all shards."""
    found = connection.execute(query.select()).mappings().all()
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


def count_facets(connection: sql.Connection) -> dict[str, dict[str, int]]:
    """See `Store.facets`."""
    counts: dict[str, dict[str, int]] = {}
    for name in FACETS:
        column = EPISODE_TAGS.c.Tag if name == "tag" else EPISODES.c[column_name(name)]
        episodes = sql.func.count()
        counted = sql.select(column, episodes).where(column != "").group_by(column).order_by(episodes.desc(), column)
        counts[name] = {row[0]: row[1] for row in connection.execute(counted)}
    return counts


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
            episode = features.deserialize(read_record(shard), directory.features)
        except BadEpisodeError:
            continue  # `verify` reports it
        insert_episode(connection, describe(episode, directory, shard))


def insert_sketch(connection: sql.Connection, root: Path, path: Path) -> None:
    """Indexes the JSON file of a sketch. Raises ArmchairError if it is damaged or its episode is unknown."""
    sketch = read_sketch(path)
    check_lengths(connection, path, {sketch.episode_id: sketch.values})
    row = {
        "EpisodeId": sketch.episode_id,
        "RewardSequenceId": sketch.sequence_id,
        "RewardTaskId": sketch.task_id,
        "Type": RewardType.SKETCH,
        "User": sketch.user,
        "Values": sketch.values.astype("<f4").tobytes(),
        "DataPath": path.relative_to(root).as_posix(),
        "Timestamp": sketch.timestamp,
        "Tool": sketch.tool,
        "SecondsSpent": sketch.seconds_spent,
    }
    insert_new(connection, REWARD_SEQUENCES, [row])


def sketch_text(sketch: RewardSequence) -> str:
    """A sketch as the content of its JSON file."""
    return json.dumps(dataclasses.asdict(sketch) | {"values": sketch.values.tolist()})


def read_sketch(path: Path) -> RewardSequence:
    """The inverse of `sketch_text`. Raises StoreError if the file is damaged."""
    try:
        fields = json.loads(path.read_text())
        return RewardSequence(**fields | {"values": np.array(fields["values"], np.float32)})
    except (OSError, ValueError, TypeError, KeyError, ArmchairError) as error:
        raise StoreError(f"{path} is no sketch ({error}): restore it from a copy") from error


def select_sketches(
    connection: sql.Connection, task_id: str, episode_ids: Collection[str] | None
) -> list[RewardSequence]:
    """Every sketch for a task, of some episodes or of all, oldest first."""
    table = REWARD_SEQUENCES.c
    wanted = (
        sql.select(REWARD_SEQUENCES)
        .where(table.RewardTaskId == task_id, table.Type == RewardType.SKETCH)
        .order_by(table.Timestamp, table.RewardSequenceId, table.EpisodeId)
    )
    if episode_ids is not None:
        wanted = wanted.where(among(table.EpisodeId, episode_ids))
    return [
        RewardSequence(
            row["EpisodeId"], row["RewardTaskId"], np.frombuffer(row["Values"], "<f4"), row["RewardSequenceId"],
            row["Type"], row["User"], "", row["Timestamp"], row["Tool"], row["SecondsSpent"],
        )
        for row in connection.execute(wanted).mappings()
    ]  # fmt: skip


def insert_model(connection: sql.Connection, model_id: str, model_hash: str, task_id: str) -> None:
    """Notes a reward model. Raises StoreError if one of this id has other weights or another task."""
    row = {"ModelId": model_id, "ModelHash": model_hash, "TaskId": task_id}
    insert_new(connection, REWARD_MODELS, [row])
    known = sql.select(REWARD_MODELS.c.ModelHash, REWARD_MODELS.c.TaskId).where(REWARD_MODELS.c.ModelId == model_id)
    if connection.execute(known).one() != (model_hash, task_id):
        raise StoreError(f"reward model {model_id!r} is known with other weights or another task: give it a new id")


def insert_card(connection: sql.Connection, card: dict[str, Any]) -> None:
    """Notes a reward model with its card, which may replace an older card of the same weights."""
    insert_model(connection, card["model_id"], card["model_hash"], card["task_id"])
    text = json.dumps(card, sort_keys=True)
    connection.execute(sql.update(REWARD_MODELS).where(REWARD_MODELS.c.ModelId == card["model_id"]).values(Card=text))


def insert_predictions(connection: sql.Connection, root: Path, path: Path) -> int:
    """Indexes a side shard; returns how many of its episodes had no prediction of this model before.

    Raises:
      StoreError: if it is damaged, names an unknown episode, has a wrong length, or its model id has other weights.
    """
    model_id, model_hash, task_id = read_origin(path)
    predictions = read_predictions(path)
    check_lengths(connection, path, predictions)
    insert_model(connection, model_id, model_hash, task_id)
    row = {
        "RewardSequenceId": f"@{model_id}",  # no sketch's id starts like this
        "RewardTaskId": task_id,
        "Type": RewardType.PREDICTION,
        "User": "",
        "Values": None,
        "ModelId": model_id,
        "DataPath": path.relative_to(root).as_posix(),
        "Timestamp": 0,  # a prediction follows from the model and the episode: the same whenever it is made
        "Tool": "",
        "SecondsSpent": 0.0,
    }
    return insert_new(connection, REWARD_SEQUENCES, [{"EpisodeId": i, **row} for i in predictions])


def check_lengths(connection: sql.Connection, where: Path, values: dict[str, np.ndarray]) -> None:
    """Raises StoreError unless each episode is in the index; LengthError unless it has as many steps as values."""
    wanted = sql.select(EPISODES.c.EpisodeId, EPISODES.c.NumSteps).where(among(EPISODES.c.EpisodeId, values))
    num_steps = {row.EpisodeId: row.NumSteps for row in connection.execute(wanted)}
    for episode_id, numbers in values.items():
        if episode_id not in num_steps:
            raise StoreError(f"{where} rates episode {episode_id!r}, which the store does not hold: ingest it first")
        if len(numbers) != num_steps[episode_id]:
            raise LengthError(
                f"{where} has {len(numbers)} values for the {num_steps[episode_id]} frames of episode {episode_id!r}: "
                "give one a frame"
            )
