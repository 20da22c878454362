"""What has been sketched for a task: by whom, when, how fast, and how far the annotators agree."""

import collections
import dataclasses
import datetime
import itertools
import threading
from collections.abc import Iterable, Sequence

from datasets.rewards import RewardSequence
from datasets.store import Store
from pipeline.annotate import agreement
from pipeline.annotate.agreement import Estimate


@dataclasses.dataclass(frozen=True)
class Pair:
    """How far two people agree about one episode; None: their curves do not tell."""

    users: frozenset[str]
    order: float | None
    tau: float | None


Comparisons = dict[tuple[str, str, str], Pair]
"""By episode and the ids of the two sketches."""


@dataclasses.dataclass(frozen=True)
class Work:
    """An amount of sketching."""

    episodes: int  # different ones
    versions: int  # sketches, with those that were corrected later
    frames: int  # of all versions
    minutes: float  # spent drawing, where the tool told
    frames_per_minute: float | None  # of the versions whose time is known; None: of none


@dataclasses.dataclass(frozen=True)
class Agreement:
    """How far people draw the same; each episode that two or more have sketched counts once."""

    order: Estimate | None  # see `agreement.order_agreement`
    tau: Estimate | None  # Kendall's tau-b


@dataclasses.dataclass(frozen=True)
class Annotator:
    """One person's work, and how far it agrees with that of everybody else."""

    user: str
    work: Work
    agreement: Agreement


@dataclasses.dataclass(frozen=True)
class Day:
    """The work of one day."""

    day: str  # 2026-01-31, in UTC
    work: Work


@dataclasses.dataclass(frozen=True)
class Statistics:
    """Everything that the statistics view shows."""

    total: Work
    annotators: tuple[Annotator, ...]  # those with the most episodes first
    days: tuple[Day, ...]  # with work, oldest first; sketches without a date are in none
    shared: int  # episodes that two or more have sketched
    agreement: Agreement


class Counter:
    """The statistics of a store for one task, kept until the store changes. Used by many threads at once."""

    def __init__(self, store: Store, task_id: str):
        """Reads nothing yet."""
        self._store = store
        self._task_id = task_id
        self._lock = threading.Lock()
        self._compared: Comparisons = {}
        self._known: tuple[tuple[int, ...], Statistics] | None = None

    def statistics(self) -> Statistics:
        """All numbers, as of now."""
        with self._lock:
            revision = self._store.revision()
            if self._known is None or self._known[0] != revision:
                self._known = revision, statistics(self._store.all_sketches(self._task_id), self._compared)
            return self._known[1]


def statistics(sketches: Sequence[RewardSequence], compared: Comparisons | None = None) -> Statistics:
    """All numbers of a task's sketches.

    Args:
      sketches: every version, oldest first, as from `Store.all_sketches`.
      compared: remembers comparisons from one call to the next: each takes some milliseconds.
    """
    compared = {} if compared is None else compared
    by_user: dict[str, list[RewardSequence]] = collections.defaultdict(list)
    by_day: dict[str, list[RewardSequence]] = collections.defaultdict(list)
    newest: dict[str, dict[str, RewardSequence]] = collections.defaultdict(dict)  # episode -> user
    for sketch in sketches:
        by_user[sketch.user].append(sketch)
        newest[sketch.episode_id][sketch.user] = sketch
        if sketch.timestamp:
            by_day[_day(sketch.timestamp)].append(sketch)
    shared = [_compare(list(people.values()), compared) for people in newest.values() if len(people) > 1]
    annotators = []
    for user, drawn in by_user.items():
        with_others = [[pair for pair in pairs if user in pair.users] for pairs in shared]
        annotators.append(Annotator(user, work(drawn), _agreement(with_others)))
    return Statistics(
        total=work(sketches),
        annotators=tuple(sorted(annotators, key=lambda a: (-a.work.episodes, a.user))),
        days=tuple(Day(day, work(by_day[day])) for day in sorted(by_day)),
        shared=len(shared),
        agreement=_agreement(shared),
    )


def work(sketches: Sequence[RewardSequence]) -> Work:
    """How much some sketches are."""
    timed = [sketch for sketch in sketches if sketch.seconds_spent > 0]
    minutes = sum(sketch.seconds_spent for sketch in timed) / 60
    return Work(
        episodes=len({sketch.episode_id for sketch in sketches}),
        versions=len(sketches),
        frames=sum(len(sketch.values) for sketch in sketches),
        minutes=minutes,
        frames_per_minute=sum(len(sketch.values) for sketch in timed) / minutes if minutes else None,
    )


def _compare(sketches: Sequence[RewardSequence], compared: Comparisons) -> list[Pair]:
    """Every pair of an episode's annotators."""
    pairs = []
    for first, second in itertools.combinations(sketches, 2):
        key = first.episode_id, first.sequence_id, second.sequence_id
        if key not in compared:
            both = first.values, second.values
            users = frozenset((first.user, second.user))
            compared[key] = Pair(users, agreement.order_agreement(*both), agreement.kendall_tau(*both))
        pairs.append(compared[key])
    return pairs


def _agreement(episodes: Iterable[Sequence[Pair]]) -> Agreement:
    """Estimates from the pairs of each episode."""
    means = [(agreement.mean(p.order for p in pairs), agreement.mean(p.tau for p in pairs)) for pairs in episodes]
    return Agreement(
        order=agreement.estimate([order for order, _ in means]), tau=agreement.estimate([tau for _, tau in means])
    )


def _day(timestamp: int) -> str:
    return datetime.datetime.fromtimestamp(timestamp, datetime.UTC).date().isoformat()
