"""How the sketches and predictions of a store become rows of its index, and rows become curves again."""

import collections
import dataclasses
import json
from collections.abc import Collection, Set
from pathlib import Path
from typing import Any

import numpy as np
import sqlalchemy as sql

from datasets.catalogue import deleted_ids
from datasets.errors import ArmchairError, LengthError, StoreError
from datasets.index import among, insert_new
from datasets.predictions import read_origin, read_predictions, summary
from datasets.rewards import RewardSequence
from datasets.schema import RewardType
from datasets.tables import EPISODES, REWARD_MODELS, REWARD_SEQUENCES


@dataclasses.dataclass(frozen=True)
class RewardCount:
    """How many episodes have reward sequences of one kind."""

    type: str  # a schema.RewardType
    task_id: str
    model_id: str | None  # None for sketches
    episodes: int
    users: int  # people who drew them


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
        .where(table.RewardTaskId == task_id, table.Type == RewardType.SKETCH, _of(episode_ids))
        .order_by(table.Timestamp, table.RewardSequenceId, table.EpisodeId)
    )
    return [
        RewardSequence(
            row["EpisodeId"], row["RewardTaskId"], np.frombuffer(row["Values"], "<f4"), row["RewardSequenceId"],
            row["Type"], row["User"], "", row["Timestamp"], row["Tool"], row["SecondsSpent"],
        )
        for row in connection.execute(wanted).mappings()
    ]  # fmt: skip


def select_sketched(
    connection: sql.Connection, task_id: str, episode_ids: Collection[str] | None
) -> dict[str, Set[str]]:
    """Who has sketched what for a task, of some episodes or of all: episode id -> users. Reads no curve."""
    table = REWARD_SEQUENCES.c
    drawn = sql.select(table.EpisodeId, table.User).where(
        table.RewardTaskId == task_id, table.Type == RewardType.SKETCH, _of(episode_ids)
    )
    users = collections.defaultdict[str, set[str]](set)
    for episode_id, user in connection.execute(drawn):
        users[episode_id].add(user)
    return dict(users)


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
    rows = [{"EpisodeId": i, **row, **summary(values)} for i, values in predictions.items()]
    return insert_new(connection, REWARD_SEQUENCES, rows)


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


def select_cards(connection: sql.Connection) -> list[dict[str, Any]]:
    """Cards of the registered reward models, by id."""
    table = REWARD_MODELS.c
    cards = sql.select(table.Card).where(table.Card.is_not(None)).order_by(table.ModelId)
    return [json.loads(card) for card in connection.execute(cards).scalars()]


def select_predicted(
    connection: sql.Connection, model_id: str, episode_ids: Collection[str] | None = None
) -> dict[str, list[str]]:
    """Where a model's predictions of some episodes, or of all, are: path relative to the store -> episode ids."""
    table = REWARD_SEQUENCES.c
    wanted = sql.select(table.DataPath, table.EpisodeId).where(table.ModelId == model_id, _of(episode_ids))
    ids_of: dict[str, list[str]] = {}
    for data_path, episode_id in connection.execute(wanted):
        ids_of.setdefault(data_path, []).append(episode_id)
    return ids_of


def count_rewards(connection: sql.Connection) -> list[RewardCount]:
    """See `Store.rewards`."""
    table = REWARD_SEQUENCES.c
    group = (table.Type, table.RewardTaskId, table.ModelId)
    episodes, users = (sql.func.count(column.distinct()) for column in (table.EpisodeId, table.User))
    counted = sql.select(*group, episodes, users).where(_of(None)).group_by(*group)
    return [RewardCount(*row) for row in connection.execute(counted.order_by(table.Type.desc(), *group[1:]))]


def _of(episode_ids: Collection[str] | None) -> sql.ColumnElement[bool]:
    """Whether a sequence is of these episodes, deleted or not; None: of any that is not deleted."""
    if episode_ids is None:
        return REWARD_SEQUENCES.c.EpisodeId.not_in(deleted_ids())
    return among(REWARD_SEQUENCES.c.EpisodeId, episode_ids)
