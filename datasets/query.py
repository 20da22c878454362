"""Choosing episodes: a query as a value, as text, and as SQL."""

import dataclasses
import datetime
import hashlib
import math
import re
import shlex
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import sqlalchemy as sql

from datasets import schema
from datasets.errors import StoreError
from datasets.index import among
from datasets.tables import EPISODE_TAGS, EPISODES, REWARD_SEQUENCES, column_name

TEST_FRACTION = 0.1  # our choice; the split is by episode, so that no frame of a test episode is ever trained on

_ORDERS = ("stored", "newest")
_MANY = 5_000  # rows of a tag, a sketched task or a prediction
_NO_TEXT = re.compile(r"[\0\ud800-\udfff]")  # a NUL and the half of a character, which no database keeps


def split_of(episode_id: str) -> str:
    """Returns "test" for a tenth of all episode ids and "train" for the others: a property of the id alone."""
    digest = hashlib.sha256(episode_id.encode()).digest()
    return "test" if int.from_bytes(digest[:8], "big") < TEST_FRACTION * 2**64 else "train"


@dataclasses.dataclass(frozen=True)
class ModelValue:
    """A number to compare a reward model's prediction with; as text `MODEL:NUMBER`."""

    model_id: str
    value: float

    def __str__(self) -> str:
        """The text."""
        return f"{self.model_id}:{self.value!r}"


@dataclasses.dataclass(frozen=True)
class Query:
    """Which episodes, of those that are not deleted. Every condition that is not None must hold."""

    task_id: str | None = None  # the task that the acting policy was for
    episode_type: str | None = None  # a schema.EpisodeType
    policy_id: str | None = None
    source: str | None = None  # where a foreign log came from, in full
    dataset: str | None = None
    robot: str | None = None
    tag: str | None = None
    verdict: str | None = None  # a schema.Verdict
    split: str | None = None  # "train" or "test"
    operator: str | None = None
    object_set: str | None = None
    ids: tuple[str, ...] | None = None  # episode ids
    exclude: tuple[str, ...] | None = None  # ids of episodes that are left out
    not_tag: str | None = None  # a tag that the episode has not
    text: str | None = None  # a part of the id, task, policy, source or a tag; big and small letters (A-Z) are the same
    has_sketch: str | None = None  # a task that a person has sketched the episode for
    not_sketched: str | None = None  # a task that nobody has sketched the episode for
    min_return: ModelValue | None = None  # a return that a reward model predicts at least, see `predictions.summary`
    max_return: ModelValue | None = None
    min_final: ModelValue | None = None  # a reward in [0, 1] that it predicts at least for the last frame
    max_final: ModelValue | None = None
    min_steps: int | None = None
    max_steps: int | None = None
    since: int | None = None  # Unix seconds, inclusive
    until: int | None = None  # Unix seconds, exclusive
    order: str = "stored"  # "stored": by dataset and shard; "newest": the latest recording first
    offset: int | None = None  # leave out the first so many
    limit: int | None = None  # the first so many of the others

    def __post_init__(self) -> None:
        """Raises StoreError for a value that no episode can have."""
        choices = {
            "episode_type": schema.EpisodeType, "verdict": schema.Verdict, "split": ("train", "test"), "order": _ORDERS,
        }  # fmt: skip
        for name, known in choices.items():
            if (value := getattr(self, name)) is not None and value not in tuple(known):
                raise StoreError(f"no episode has {name}={value}: choose one of {', '.join(known)}")
        for name, value in vars(self).items():
            least = 0 if name in ("limit", "offset") else -(2**63)
            if isinstance(value, int) and not least <= value < 2**63:  # what a database can count
                raise StoreError(f"{name}={value} is out of range: write a number from {least} to {2**63 - 1}")
            if any(map(_NO_TEXT.search, value if isinstance(value, tuple) else (str(value),))):
                raise StoreError(f"{name}={value!r} holds characters that are no text: leave them out")
            if isinstance(value, ModelValue) and not (value.model_id and math.isfinite(value.value)):
                raise StoreError(f"{name}={value} compares with no number of a reward model: write {name}=MODEL:NUMBER")

    @classmethod
    def parse(cls, text: str) -> "Query":
        """`task_id=lift_green since=2026-01-31 min_return=MODEL:25 ids=a,b limit=10`; empty text selects everything.

        `ids=@FILE` and `exclude=@FILE` take the ids from a text file, one a line; what follows a `#` is a comment. The
        query holds the ids, not the file's name: later changes of the file do not change it.

        Raises:
          StoreError: for an unknown condition, a value of the wrong kind, or a file that cannot be read.
        """
        names = [f.name for f in dataclasses.fields(cls)]
        conditions: dict[str, Any] = {}
        try:
            words = shlex.split(text)
        except ValueError as error:
            raise StoreError(f"cannot read the query {text!r} ({error}): close the quotation") from error
        for word in words:
            name, equals, value = word.partition("=")
            if not equals or name not in names:
                raise StoreError(
                    f"cannot read {word!r} in a query: write name=value with name one of {', '.join(names)}"
                )
            conditions[name] = _value(name, value)
        return cls(**conditions)

    def __str__(self) -> str:
        """The text that `parse` reads."""
        conditions = {f.name: getattr(self, f.name) for f in dataclasses.fields(self)}
        chosen = {k: v for k, v in conditions.items() if v != getattr(type(self), k)}  # others than the defaults
        words = (f"{k}={','.join(v) if isinstance(v, tuple) else v}" for k, v in chosen.items())
        return shlex.join(words)

    def select(self, connection: sql.Connection, deleted: bool | None = False) -> sql.Select[Any]:
        """The rows of `Episodes` that match, in order.

        Args:
          connection: to the index, for looking how many have a tag and the like: what is the fastest way depends on it.
          deleted: whether to look among the deleted episodes instead, or, if None, among all.
        """
        stored = (EPISODES.c.Dataset, EPISODES.c.Shard)
        order = stored if self.order == "stored" else (EPISODES.c.Timestamp.desc(), *stored)
        matching = sql.select(EPISODES).where(*self._conditions(connection, deleted)).order_by(*order)
        return matching.limit(self.limit).offset(self.offset)

    def count(self, connection: sql.Connection, deleted: bool | None = False) -> sql.Select[Any]:
        """The number of rows of `Episodes` that match, whatever `limit` and `offset`; as `select`."""
        return sql.select(sql.func.count()).select_from(EPISODES).where(*self._conditions(connection, deleted))

    def _conditions(self, connection: sql.Connection, deleted: bool | None) -> Iterator[sql.ColumnElement[bool]]:
        episodes, tags = EPISODES.c, EPISODE_TAGS.c
        if deleted is not None:
            yield episodes.Deleted.is_(deleted)
        equal = ("task_id", "episode_type", "policy_id", "source", "dataset", "robot", "verdict", "split", "operator",
                 "object_set")  # fmt: skip
        for name in equal:
            if (value := getattr(self, name)) is not None:
                yield episodes[column_name(name)] == value
        if self.ids is not None:
            yield among(episodes.EpisodeId, self.ids)
        if self.exclude is not None:
            yield sql.not_(among(episodes.EpisodeId, self.exclude))
        if self.tag is not None:
            yield _has(connection, EPISODE_TAGS, tags.Tag == self.tag)
        if self.not_tag is not None:
            yield ~_has(connection, EPISODE_TAGS, tags.Tag == self.not_tag)
        if self.text is not None:
            names = episodes.EpisodeId + "\n" + episodes.TaskId + "\n" + episodes.PolicyId + "\n" + episodes.Source
            yield sql.or_(
                _contains(names, self.text),  # once a row: four times cost twice the time
                episodes.EpisodeId.in_(sql.select(tags.EpisodeId).where(_contains(tags.Tag, self.text))),
            )
        if self.has_sketch is not None:
            yield _has(connection, REWARD_SEQUENCES, *_sketched(self.has_sketch))
        if self.not_sketched is not None:
            yield ~_has(connection, REWARD_SEQUENCES, *_sketched(self.not_sketched))
        for name in ("min_return", "max_return", "min_final", "max_final"):
            if (predicted := getattr(self, name)) is not None:
                yield _has(connection, REWARD_SEQUENCES, *_predicted(name, predicted))
        if self.min_steps is not None:
            yield episodes.NumSteps >= self.min_steps
        if self.max_steps is not None:
            yield episodes.NumSteps <= self.max_steps
        if self.since is not None:
            yield episodes.Timestamp >= self.since
        if self.until is not None:
            yield episodes.Timestamp < self.until


def _contains(column: sql.ColumnElement[str], part: str) -> sql.ColumnElement[bool]:
    # Both databases fold A-Z and nothing else here; Python would fold more.
    folded = "".join(letter.lower() if letter.isascii() else letter for letter in part)
    return sql.func.lower(column).contains(folded, autoescape=True)


def _sketched(task_id: str) -> tuple[sql.ColumnElement[bool], ...]:
    drawn = REWARD_SEQUENCES.c
    return drawn.RewardTaskId == task_id, drawn.Type == schema.RewardType.SKETCH


def _has(connection: sql.Connection, table: sql.Table, *conditions: sql.ColumnElement[bool]) -> sql.ColumnElement[bool]:
    """Whether an episode has a row of `table` for which the conditions hold.

    Of a few, SQLite had better go from the rows to the episodes, of many from the episodes to the rows: the other way
    takes seconds of a million. It cannot know which it is, PostgreSQL can.
    """
    ids = sql.select(table.c.EpisodeId).where(*conditions)
    if connection.dialect.name == "sqlite" and len(connection.execute(ids.limit(_MANY)).all()) == _MANY:
        return _exists(table, *conditions)
    return EPISODES.c.EpisodeId.in_(ids)


def _exists(table: sql.Table, *conditions: sql.ColumnElement[bool]) -> sql.Exists:
    return sql.exists().where(table.c.EpisodeId == EPISODES.c.EpisodeId, *conditions)


def _predicted(name: str, limit: ModelValue) -> tuple[sql.ColumnElement[bool], ...]:
    rated = REWARD_SEQUENCES.c
    bound, _, column = name.partition("_")
    number = rated[column_name(column)]
    holds = number >= limit.value if bound == "min" else number <= limit.value
    return rated.ModelId == limit.model_id, holds


def _value(name: str, text: str) -> str | int | tuple[str, ...] | ModelValue:
    if name in ("ids", "exclude"):
        return _listed(name, Path(text[1:])) if text.startswith("@") else tuple(text.split(","))
    if name in ("min_return", "max_return", "min_final", "max_final"):
        model_id, _, number = text.rpartition(":")
        try:
            return ModelValue(model_id, float(number))
        except ValueError:
            raise StoreError(f"{name}={text} compares with no number: write {name}=MODEL:NUMBER") from None
    if name not in ("min_steps", "max_steps", "since", "until", "offset", "limit"):
        return text
    try:
        return int(text)
    except ValueError:
        if name in ("since", "until"):
            try:
                return int(datetime.datetime.fromisoformat(text).replace(tzinfo=datetime.UTC).timestamp())
            except ValueError as error:
                raise StoreError(f"{name}={text} is no time: write a date like 2026-01-31 or Unix seconds") from error
        raise StoreError(f"{name}={text} is no number: write a whole number") from None


def _listed(name: str, path: Path) -> tuple[str, ...]:
    """The ids in a file."""
    try:
        lines = path.read_text().splitlines()
    except (OSError, ValueError) as error:
        raise StoreError(f"{name}=@{path} cannot be read ({error}): give a text file of episode ids") from error
    ids = [line.partition("#")[0].strip() for line in lines]
    if several := [text for text in ids if re.search(r"[\s,]", text)]:
        raise StoreError(f"{name}=@{path} has a line {several[0]!r}, which is no id: write one episode id a line")
    return tuple(filter(None, ids))
