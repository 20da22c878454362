"""Choosing episodes: a query as a value, as text, and as SQL."""

import dataclasses
import datetime
import hashlib
import shlex
from typing import Any

import sqlalchemy as sql

from datasets import schema
from datasets.errors import StoreError
from datasets.index import EPISODE_TAGS, EPISODES, REWARD_SEQUENCES, among, column_name

TEST_FRACTION = 0.1  # our choice; the split is by episode, so that no frame of a test episode is ever trained on


def split_of(episode_id: str) -> str:
    """Returns "test" for a tenth of all episode ids and "train" for the others: a property of the id alone."""
    digest = hashlib.sha256(episode_id.encode()).digest()
    return "test" if int.from_bytes(digest[:8], "big") < TEST_FRACTION * 2**64 else "train"


@dataclasses.dataclass(frozen=True)
class Query:
    """Which episodes. Every condition that is not None must hold."""

    task_id: str | None = None  # the task that the acting policy was for
    episode_type: str | None = None  # a schema.EpisodeType
    policy_id: str | None = None
    dataset: str | None = None
    robot: str | None = None
    tag: str | None = None
    verdict: str | None = None  # a schema.Verdict
    split: str | None = None  # "train" or "test"
    ids: tuple[str, ...] | None = None  # episode ids
    has_sketch: str | None = None  # a task that a person has sketched the episode for
    min_steps: int | None = None
    since: int | None = None  # Unix seconds, inclusive
    until: int | None = None  # Unix seconds, exclusive
    limit: int | None = None  # the first so many

    def __post_init__(self) -> None:
        """Raises StoreError for a value that no episode can have."""
        choices = {"episode_type": schema.EpisodeType, "verdict": schema.Verdict, "split": ("train", "test")}
        for name, known in choices.items():
            if (value := getattr(self, name)) is not None and value not in tuple(known):
                raise StoreError(f"no episode has {name}={value}: choose one of {', '.join(known)}")

    @classmethod
    def parse(cls, text: str) -> "Query":
        """`task_id=lift_green verdict=success since=2026-01-31 ids=a,b limit=10`; empty text selects everything.

        Raises:
          StoreError: for an unknown condition or a value of the wrong kind.
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
        words = (f"{k}={','.join(v) if isinstance(v, tuple) else v}" for k, v in conditions.items() if v is not None)
        return shlex.join(words)

    def select(self) -> sql.Select[Any]:
        """The rows of `Episodes` that match, by dataset and shard."""
        episode_id = EPISODES.c.EpisodeId
        chosen = sql.select(EPISODES).order_by(EPISODES.c.Dataset, EPISODES.c.Shard).limit(self.limit)
        for name in ("task_id", "episode_type", "policy_id", "dataset", "robot", "verdict", "split"):
            if (value := getattr(self, name)) is not None:
                chosen = chosen.where(EPISODES.c[column_name(name)] == value)
        if self.ids is not None:
            chosen = chosen.where(among(episode_id, self.ids))
        if self.tag is not None:
            tagged = sql.select(EPISODE_TAGS.c.EpisodeId).where(EPISODE_TAGS.c.Tag == self.tag)
            chosen = chosen.where(episode_id.in_(tagged))
        if self.has_sketch is not None:
            sketched = sql.select(REWARD_SEQUENCES.c.EpisodeId).where(
                REWARD_SEQUENCES.c.RewardTaskId == self.has_sketch,
                REWARD_SEQUENCES.c.Type == schema.RewardType.SKETCH,
            )
            chosen = chosen.where(episode_id.in_(sketched))
        if self.min_steps is not None:
            chosen = chosen.where(EPISODES.c.NumSteps >= self.min_steps)
        if self.since is not None:
            chosen = chosen.where(EPISODES.c.Timestamp >= self.since)
        if self.until is not None:
            chosen = chosen.where(EPISODES.c.Timestamp < self.until)
        return chosen


def _value(name: str, text: str) -> str | int | tuple[str, ...]:
    if name == "ids":
        return tuple(text.split(","))
    if name not in ("min_steps", "since", "until", "limit"):
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
