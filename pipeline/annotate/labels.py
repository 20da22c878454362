"""What people have done for a task so far, as every list and the queue need it."""

import collections
import dataclasses
import threading
from collections.abc import Mapping, Set

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
        self._lock = threading.Lock()

    def read(self) -> Labels:
        """The labels as they are now."""
        with self._lock:
            revision = self._store.revision()  # before reading: what is written meanwhile is read again next time
            if revision != self._revision:
                self._labels, self._revision = self._read(), revision
            return self._labels

    def sketched(self, episode_id: str, user: str) -> None:
        """Takes in a sketch that this process has just stored, so that the others need not be read again for it."""
        with self._lock:
            people = self._labels.by(episode_id)
            if user not in people and self._revision:  # else it is a correction, or was read already: read anew or not
                episodes, sequences, notes = self._revision
                sketched = self._labels.sketched
                sketched[episode_id] = people | {user}  # others look at the labels meanwhile: the set they see stays
                self._revision = (episodes, sequences + 1, notes)

    def _read(self) -> Labels:
        skipped: dict[str, set[str]] = collections.defaultdict(set)
        for note in self._store.notes(self._task_id, kind=NoteKind.SKIP):
            skipped[note.user].add(note.episode_id)
        unusable = {note.episode_id for note in self._store.notes(self._task_id, kind=NoteKind.UNUSABLE)}
        return Labels(dict(self._store.sketched(self._task_id)), unusable, dict(skipped))
