"""Notes: what people say of an episode besides drawing over it. Append-only, one small file each.

The newest of an episode's notes DELETED and RESTORED says whether it is deleted: then no query finds it. Nothing on the
disk is removed, and an episode that is deleted and ingested again is a duplicate.

The newest VERDICT about the task that an episode was recorded for overrules the recorded verdict in the index (column
`Verdict`, `EpisodeRow.verdict`, queries). The shard keeps what was recorded.
"""

import dataclasses
import enum
import json
import math
import time
import uuid
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

import sqlalchemy as sql

from datasets.errors import ArmchairError, StoreError
from datasets.index import among, insert_new
from datasets.schema import Verdict
from datasets.tables import EPISODES, NOTES, column_name
from datasets.validate import is_name

MAX_TEXT = 2_000  # characters; a page and a half: longer ones are pasted by mistake


class NoteKind(enum.StrEnum):
    """What a note says."""

    VERDICT = "verdict"  # whether the episode solved its task; the text is a schema.Verdict
    UNUSABLE = "unusable"  # nobody can judge this recording; the text is the reason
    SKIP = "skip"  # not now, or not by me
    COMMENT = "comment"
    DELETED = "deleted"  # no query is to find the episode; the text is the reason
    RESTORED = "restored"  # queries are to find it again


@dataclasses.dataclass(frozen=True)
class Note:
    """One thing that one person said about an episode."""

    episode_id: str
    note_id: str  # unique within the episode
    kind: str  # a NoteKind
    user: str
    text: str = ""  # at most MAX_TEXT characters
    task_id: str = ""  # the task that was looked at; a verdict counts where it is the episode's own
    timestamp: float = 0.0  # Unix seconds; fractions keep two notes of one second in order

    def __post_init__(self) -> None:
        """Raises ArmchairError unless it is something that can be kept and understood."""
        where = f"note {self.note_id!r} about episode {self.episode_id!r}"
        if not is_name(self.note_id):
            raise ArmchairError(f"{where} cannot have that id: use letters, digits, '.', '_' and '-'")
        if self.kind not in tuple(NoteKind):
            raise ArmchairError(f"{where} is of kind {self.kind!r}: choose one of {', '.join(NoteKind)}")
        if self.kind == NoteKind.VERDICT and self.text not in tuple(Verdict):
            raise ArmchairError(f"{where} has the verdict {self.text!r}: choose one of {', '.join(Verdict)}")
        if self.kind in (NoteKind.UNUSABLE, NoteKind.DELETED) and not self.text.strip():
            raise ArmchairError(f"{where} gives no reason why the episode is {self.kind}: say it in the text")
        if len(self.text) > MAX_TEXT:
            raise ArmchairError(f"{where} has a text of {len(self.text):,} characters: cut it to {MAX_TEXT:,}")
        for name in ("user", "text", "task_id"):
            # What no database keeps: a NUL, and the half of a character.
            if any(letter == "\0" or "\ud800" <= letter <= "\udfff" for letter in getattr(self, name)):
                raise ArmchairError(f"{where} has a {name} with characters that are no text: leave them out")
        if not math.isfinite(self.timestamp):
            raise ArmchairError(f"{where} has the timestamp {self.timestamp}: give Unix seconds")
        object.__setattr__(self, "kind", str(self.kind))
        object.__setattr__(self, "timestamp", float(self.timestamp))


def note_path(root: Path, note: Note) -> Path:
    """Where a note lies in the store at `root`."""
    return root / "notes" / note.episode_id / f"{note.note_id}.json"


def note_text(note: Note) -> str:
    """A note as the content of its file."""
    return json.dumps(dataclasses.asdict(note))


def read_note(path: Path) -> Note:
    """The inverse of `note_text`. Raises StoreError if the file is damaged."""
    try:
        return Note(**json.loads(path.read_text()))
    except (OSError, ValueError, TypeError, ArmchairError) as error:
        raise StoreError(f"{path} is no note ({error}): restore it from a copy") from error


def insert_note(connection: sql.Connection, root: Path, path: Path) -> None:
    """Indexes the file of a note. Raises StoreError if it is damaged or its episode is unknown."""
    note = read_note(path)
    known = sql.select(EPISODES.c.EpisodeId).where(EPISODES.c.EpisodeId == note.episode_id)
    if connection.execute(known).first() is None:
        raise StoreError(f"{path} is about episode {note.episode_id!r}, which the store does not hold: ingest it first")
    columns = {column_name(name): value for name, value in dataclasses.asdict(note).items()}
    insert_new(connection, NOTES, [columns | {"DataPath": path.relative_to(root).as_posix()}])
    if note.kind == NoteKind.VERDICT:
        _overrule(connection, note.episode_id)
    elif note.kind in (NoteKind.DELETED, NoteKind.RESTORED):
        _delete_or_restore(connection, note.episode_id)


def _overrule(connection: sql.Connection, episode_id: str) -> None:
    """Makes the newest verdict about the episode's own task its verdict; with none, the recorded one stays."""
    of_own_task = sql.select(EPISODES.c.TaskId).where(EPISODES.c.EpisodeId == episode_id).scalar_subquery()
    newest = _newest(episode_id).where(NOTES.c.Kind == NoteKind.VERDICT, NOTES.c.TaskId == of_own_task)
    verdict = connection.execute(newest).scalar()
    if verdict is not None:
        connection.execute(sql.update(EPISODES).where(EPISODES.c.EpisodeId == episode_id).values(Verdict=verdict))


def _delete_or_restore(connection: sql.Connection, episode_id: str) -> None:
    """Makes an episode deleted, or not, as the newest note about that says."""
    newest = _newest(episode_id, NOTES.c.Kind).where(NOTES.c.Kind.in_((NoteKind.DELETED, NoteKind.RESTORED)))
    is_deleted = connection.execute(newest).scalar() == NoteKind.DELETED
    connection.execute(sql.update(EPISODES).where(EPISODES.c.EpisodeId == episode_id).values(Deleted=is_deleted))


def _newest(episode_id: str, column: sql.ColumnElement[str] = NOTES.c.Text) -> sql.Select[Any]:
    """A column of the newest of an episode's notes."""
    newest_first = (NOTES.c.Timestamp.desc(), NOTES.c.NoteId.desc())
    return sql.select(column).where(NOTES.c.EpisodeId == episode_id).order_by(*newest_first).limit(1)


def select_notes(
    connection: sql.Connection,
    task_id: str | None = None,
    episode_ids: Collection[str] | None = None,
    kind: str | None = None,
) -> list[Note]:
    """The notes for which every condition that is not None holds, oldest first."""
    wanted = sql.select(NOTES).order_by(NOTES.c.Timestamp, NOTES.c.EpisodeId, NOTES.c.NoteId)
    if task_id is not None:
        wanted = wanted.where(NOTES.c.TaskId == task_id)
    if episode_ids is not None:
        wanted = wanted.where(among(NOTES.c.EpisodeId, episode_ids))
    if kind is not None:
        wanted = wanted.where(NOTES.c.Kind == kind)
    names = [f.name for f in dataclasses.fields(Note)]
    return [Note(**{name: row[column_name(name)] for name in names}) for row in connection.execute(wanted).mappings()]


def make_notes(episode_ids: Iterable[str], kind: NoteKind, user: str, text: str) -> list[Note]:
    """The same note about each of some episodes, of now. Raises ArmchairError if it cannot be kept."""
    now = time.time()
    note_id = f"{kind}-{uuid.uuid4().hex}"
    return [Note(episode_id, note_id, kind, user, text, timestamp=now) for episode_id in episode_ids]
