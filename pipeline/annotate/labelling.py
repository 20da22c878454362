"""Routes that write: reserve an episode, save a sketch, take a note; and the queue that they work off."""

import dataclasses
import itertools
import secrets
import threading
from collections.abc import Sequence

import numpy as np
from fastapi import APIRouter, Response

from datasets.errors import IdTakenError, LengthError
from datasets.leases import Lease
from datasets.notes import Note, NoteKind
from datasets.rewards import RewardSequence
from pipeline.annotate import wire
from pipeline.annotate.browsing import find_row
from pipeline.annotate.errors import ApiError, refusals
from pipeline.annotate.sessions import CurrentUser
from pipeline.annotate.state import AppState
from pipeline.annotate.version import TOOL

_UPCOMING = 20  # episodes of the queue that are shown
_CANDIDATES = 100  # episodes that are tried for a lease: more than people at work
_LOCKS = 64  # saves of different leases hardly ever wait for one another
_STALE = "another tab or person has this episode now, or it is saved already: open it again"


def router(state: AppState) -> APIRouter:
    """The routes under /api/queue, /api/leases, /api/sketches and /api/notes."""
    routes = APIRouter(tags=["labelling"])
    store, task = state.store, state.config.task
    locks = [threading.Lock() for _ in range(_LOCKS)]

    @routes.get("/queue", summary="How far the task is, and what comes next for you", responses=refusals(401, 403))
    def queue(user: CurrentUser) -> wire.QueueAnswer:
        labels = state.labels.read()
        waiting = list(state.queue.waiting(user, labels))
        progress = state.queue.progress(user, labels, waiting)
        leases = store.leases(task, state.clock())
        taken = {lease.episode_id for lease in leases if lease.user != user}
        return wire.QueueAnswer(
            total=progress.total,
            sketched=progress.sketched,
            mine=progress.mine,
            left=progress.total - progress.sketched,
            second_opinions_left=progress.second_opinions_left,
            by=[wire.Sketched(user=person, sketched=count) for person, count in progress.by.items()],
            upcoming=[
                wire.QueueItem(**wire.summary(w.row, labels.by(w.row.episode_id), False).model_dump(), why=w.why)
                for w in itertools.islice((w for w in waiting if w.row.episode_id not in taken), _UPCOMING)
            ],
            in_progress=[wire.InProgress(user=lease.user, episode_id=lease.episode_id) for lease in leases],
        )

    @routes.post(
        "/leases",
        status_code=201,
        summary="Reserve an episode, or the next of the queue, for yourself",
        responses=refusals(401, 403, 404, 409, 413),
    )
    def take(user: CurrentUser, body: wire.LeaseRequest) -> wire.LeaseAnswer:
        if body.episode_id is not None:
            return _answer(state, _take(state, find_row(state, body.episode_id).episode_id, user, body.anyway))
        labels = state.labels.read()
        waiting = (w.row for w in state.queue.waiting(user, labels))
        while rows := {row.episode_id: row for row in itertools.islice(waiting, _CANDIDATES)}:
            while rows and (lease := _lease(state, list(rows), user, shared=False)) is not None:
                row = rows.pop(lease.episode_id)
                # Somebody may have saved it, and so let go of it, since the labels were read; from now on nobody can.
                now = dataclasses.replace(labels, sketched=store.sketched(task, [row.episode_id]))
                if state.queue.why(row, user, now):
                    return _answer(state, lease)
                store.release_lease(lease.lease_id)
        if not state.queue.rows():
            raise ApiError(
                404, "nothing_yet", f"the store has no episode of {task} yet: demonstrate some, or record them"
            )
        raise ApiError(404, "nothing_left", "every episode of the queue is sketched or taken: nothing is left")

    @routes.put("/leases/{lease_id}", summary="Keep an episode reserved", responses=refusals(401, 403, 409, 413))
    def keep(user: CurrentUser, lease_id: str) -> wire.LeaseAnswer:
        lease = _own_lease(state, lease_id, user)
        renewed = None if lease is None else store.renew_lease(lease_id, state.config.lease_seconds, state.clock())
        if renewed is None:
            raise ApiError(409, "stale_lease", _STALE)
        return _answer(state, renewed)

    @routes.delete("/leases/{lease_id}", status_code=204, summary="Let go of an episode", responses=refusals(401, 403))
    def let_go(user: CurrentUser, lease_id: str) -> None:
        if _own_lease(state, lease_id, user) is not None:
            store.release_lease(lease_id)

    @routes.post(
        "/sketches",
        status_code=201,
        summary="Save a sketch; it is on the disk when this answers. The same again is answered the same, with 200",
        responses=refusals(401, 403, 404, 409, 413) | {200: {"model": wire.SketchSaved}},
    )
    def save(user: CurrentUser, body: wire.SketchRequest, response: Response) -> wire.SketchSaved:
        with locks[hash(body.lease_id) % _LOCKS]:
            sketch, new = _save(state, user, body)
        if not new:
            response.status_code = 200
        return wire.SketchSaved(
            sequence_id=sketch.sequence_id, episode_id=sketch.episode_id, user=user, timestamp=sketch.timestamp
        )

    @routes.post(
        "/notes",
        status_code=201,
        summary="Note a verdict, a comment, that an episode is unusable, or that you skip it",
        responses=refusals(401, 403, 404, 409, 413),
    )
    def note(user: CurrentUser, body: wire.NoteRequest) -> wire.NoteSaved:
        row = find_row(state, body.episode_id)
        taken = _note(state, row.episode_id, body.kind, user, body.text)
        return wire.NoteSaved(
            kind=taken.kind, user=user, text=taken.text, timestamp=int(taken.timestamp), episode_id=row.episode_id,
            note_id=taken.note_id,
        )  # fmt: skip

    return routes


def new_id(state: AppState) -> str:
    """An id that nobody guesses and that sorts by time; `_started` reads the time from it."""
    return f"{int(state.clock() * 1000):012x}-{secrets.token_hex(8)}"


def _started(lease_id: str) -> float:
    """Unix seconds at which a lease was taken."""
    return int(lease_id.partition("-")[0], 16) / 1000


def _lease(state: AppState, episode_ids: Sequence[str], user: str, shared: bool) -> Lease | None:
    seconds, now = state.config.lease_seconds, state.clock()
    return state.store.lease(episode_ids, state.config.task, user, new_id(state), seconds, now, shared)


def _take(state: AppState, episode_id: str, user: str, shared: bool) -> Lease:
    """Leases one episode. Raises ApiError 409 if somebody else has it and it is not `shared`."""
    lease = _lease(state, [episode_id], user, shared)
    if lease is None:
        leases = state.store.leases(state.config.task, state.clock())
        others = (other.user for other in leases if other.episode_id == episode_id and other.user != user)
        holder = next(others, "somebody else")
        told = f"{holder} is sketching this episode: take another, or open it anyway"
        raise ApiError(409, "taken", told, holder=holder)
    return lease


def _answer(state: AppState, lease: Lease) -> wire.LeaseAnswer:
    return wire.LeaseAnswer(
        lease_id=lease.lease_id, episode_id=lease.episode_id, user=lease.user, seconds=state.config.lease_seconds
    )


def _own_lease(state: AppState, lease_id: str, user: str) -> Lease | None:
    lease = None if "\0" in lease_id else state.store.find_lease(lease_id)
    return lease if lease is not None and (lease.user, lease.task_id) == (user, state.config.task) else None


def _save(state: AppState, user: str, body: wire.SketchRequest) -> tuple[RewardSequence, bool]:
    """The sketch in the store, and whether it is new there. Raises ApiError 409 or 422."""
    sketch, new = _store(state, user, body)
    # The comment under the sketch's own id: saving again after a crash in between adds it, and doubles nothing.
    if body.comment.strip() and not _is_noted(state, sketch):
        _note(state, sketch.episode_id, NoteKind.COMMENT, user, body.comment, sketch.sequence_id)
    return sketch, new


def _store(state: AppState, user: str, body: wire.SketchRequest) -> tuple[RewardSequence, bool]:
    lease = _own_lease(state, body.lease_id, user)
    values = np.array(body.values, np.float32)
    if lease is None:  # the answer was lost
        return _saved(state, body.lease_id, user, values), False
    now = state.clock()
    try:
        sketch = RewardSequence(
            lease.episode_id,
            lease.task_id,
            values,
            sequence_id=lease.lease_id,
            user=user,
            timestamp=int(now),
            tool=TOOL,
            seconds_spent=min(body.seconds_spent, max(0.0, now - _started(lease.lease_id))),
        )
        with state.labels.saving(sketch.episode_id, user):
            state.store.add_sketch(sketch)
    except LengthError as error:
        frames = find_row(state, lease.episode_id).num_steps
        told = f"values: {len(values)} for the {frames} frames of the episode: give one for each frame"
        raise ApiError(422, "invalid", told) from error
    except IdTakenError:  # its file was there, from a server that was killed before it made the row
        return _saved(state, lease.lease_id, user, values), False
    return sketch, True


def _saved(state: AppState, lease_id: str, user: str, values: np.ndarray) -> RewardSequence:
    """The sketch that a lease was used up for, if that is what is being saved again; else raises ApiError 409."""
    sketches = state.store.all_sketches(state.config.task)
    saved = next((s for s in sketches if (s.sequence_id, s.user) == (lease_id, user)), None)
    if saved is None or not np.array_equal(saved.values, values):
        raise ApiError(409, "stale_lease", _STALE)
    return saved


def _is_noted(state: AppState, sketch: RewardSequence) -> bool:
    return any(note.note_id == sketch.sequence_id for note in state.store.notes(episode_ids=[sketch.episode_id]))


def _note(state: AppState, episode_id: str, kind: str, user: str, text: str, note_id: str = "") -> Note:
    note = Note(episode_id, note_id or new_id(state), kind, user, text, state.config.task, state.clock())
    state.store.add_note(note)
    return note
