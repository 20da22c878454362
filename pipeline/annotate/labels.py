"""What people have done for a task so far, as every list and the queue need it."""

import collections
import contextlib
import dataclasses
import threading
from collections.abc import Iterator, Mapping, Set

from datasets.notes import NoteKind
from datasets.store import Store


@dataclasses.dataclass(frozen=True)
class Labels:
    """Who has sketched what, and what nobody, or somebody, should be asked again."""

    sketched: dict[str, Set[str]]  # episode id -> annotators
    unusable: Set[str]  # episode ids
    skipped: Mapping[str, Set[str]]  # annotator -> episode ids

    def by(self, episode_id: str) -> Set[str]:
        """Who has sketched an episode."""
        return self.sketched.get(episode_id, frozenset())


class LabelReader:
    """Reads the labels of a task anew only when the store has changed, which other processes do too."""

    def __init__(self, store: Store, task_id: str):
        """Reads nothing yet."""
        self._store = store
        self._task_id = task_id
        self._revision: tuple[int, ...] = ()
        self._labels = Labels({}, frozenset(), {})
        self._saving = 0  # sketches that are being stored
        self._lock = threading.Lock()

    def read(self) -> Labels:
        """The labels as they are now; of sketches that this process is just storing, with or without them."""
        revision = self._store.revision()  # before reading: what is written meanwhile is read again next time
        with self._lock:
            # Nothing is ever lost, so the numbers only grow; another thread may know greater ones by now.
            if not self._revision or any(now > then for now, then in zip(revision, self._expected(), strict=True)):
                self._labels, self._revision = self._read(), revision
            return self._labels

    @contextlib.contextmanager
    def saving(self, episode_id: str, user: str) -> Iterator[None]:
        """Takes in the sketch that the block stores, so that the others need not be read again for it."""
        with self._lock:
            self._saving += 1
        try:
            yield
            with self._lock:
                people = self._labels.by(episode_id)
                if user not in people and self._revision:  # else it is a correction, or was read already: count anew
                    episodes, sequences, notes = self._revision
                    self._labels.sketched[episode_id] = people | {user}  # who holds the older set keeps it
                    self._revision = (episodes, sequences + 1, notes)
        finally:
            with self._lock:
                self._saving -= 1

    def _expected(self) -> tuple[int, ...]:
        """The greatest revision that needs no reading."""
        episodes, sequences, notes = self._revision
        return episodes, sequences + self._saving, notes

    def _read(self) -> Labels:
        skipped: dict[str, set[str]] = collections.defaultdict(set)
        for note in self._store.notes(self._task_id, kind=NoteKind.SKIP):
            skipped[note.user].add(note.episode_id)
        unusable = {note.episode_id for note in self._store.notes(self._task_id, kind=NoteKind.UNUSABLE)}
        return Labels(self._store.sketched(self._task_id), unusable, dict(skipped))
