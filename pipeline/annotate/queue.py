"""What is next to sketch: one order for all, from which everybody takes the first episode that waits for them."""

import collections
import dataclasses
import threading
from collections.abc import Iterator, Sequence

from datasets.catalogue import EpisodeRow
from datasets.query import Query
from datasets.store import Store
from pipeline.annotate.labels import Labels
from pipeline.annotate.order import in_order, is_demonstration, wants_second_opinion

DEMONSTRATION, NEXT, SECOND_OPINION = "demonstration", "next", "second opinion"
"""Why an episode waits."""


@dataclasses.dataclass(frozen=True)
class Waiting:
    """An episode that waits for somebody."""

    row: EpisodeRow
    why: str


@dataclasses.dataclass(frozen=True)
class Progress:
    """How far the task is sketched. Episodes that are unusable do not count."""

    total: int
    sketched: int  # by anybody
    mine: int
    second_opinions_left: int  # that this person could give
    by: dict[str, int]  # annotator -> episodes


class SketchQueue:
    """The episodes of a task that are to be sketched, in order. Used by many threads at once."""

    def __init__(self, store: Store, task_id: str, query: str = "", second_opinions: float = 0.05, seed: int = 0):
        """See `state.ServerConfig`. Raises StoreError for a query that cannot be read."""
        self._store = store
        self._task_id = task_id
        self._query = store.parse(query) if query else Query(task_id=task_id)
        self._share = second_opinions
        self._seed = seed
        self._rows: list[EpisodeRow] = []
        self._twice: set[str] = set()  # ids of those that want a second opinion
        self._count = -1
        self._lock = threading.Lock()

    def rows(self) -> list[EpisodeRow]:
        """Every episode of the queue, in order. Kept until the number of episodes in the store changes."""
        count = self._store.count(self._query)
        with self._lock:
            if count != self._count:
                self._rows = in_order(self._store.query(self._query), self._seed)
                ids = (row.episode_id for row in self._rows)
                self._twice = {i for i in ids if wants_second_opinion(i, self._task_id, self._share)}
                self._count = count
            return self._rows

    def why(self, row: EpisodeRow, user: str, labels: Labels) -> str | None:
        """Why an episode waits for a person; None if it does not."""
        episode_id = row.episode_id
        if episode_id in labels.unusable or episode_id in labels.skipped.get(user, ()):
            return None
        people = labels.by(episode_id)
        if not people:
            return DEMONSTRATION if is_demonstration(row) else NEXT
        return SECOND_OPINION if episode_id in self._twice and len(people) == 1 and user not in people else None

    def waiting(self, user: str, labels: Labels) -> Iterator[Waiting]:
        """What waits for one person, in order; who has reserved what is not looked at."""
        return (Waiting(row, why) for row in self.rows() if (why := self.why(row, user, labels)))

    def progress(self, user: str, labels: Labels, waiting: Sequence[Waiting]) -> Progress:
        """How far the task is; `waiting` is what waits for the person."""
        usable = [row.episode_id for row in self.rows() if row.episode_id not in labels.unusable]
        by = collections.Counter(person for i in usable for person in labels.by(i))
        return Progress(
            total=len(usable),
            sketched=sum(bool(labels.by(i)) for i in usable),
            mine=by[user],
            second_opinions_left=sum(w.why == SECOND_OPINION for w in waiting),
            by={person: count for person, count in sorted(by.items(), key=lambda item: (-item[1], item[0])) if count},
        )
