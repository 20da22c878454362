"""What people say of an episode is kept, counts in queries, and survives the loss of the index."""

import dataclasses
import json

import pytest

from datasets import files
from datasets.errors import ArmchairError, StoreError
from datasets.notes import MAX_TEXT, Note, NoteKind, read_note
from datasets.query import Query
from datasets.store import Store
from datasets.testing import make_episode


def note(seed=0, note_id="n1", kind=NoteKind.COMMENT, user="ann", text="the gripper slips", **fields):
    return Note(f"fake-{seed}", note_id, kind, user, text, **fields)


def verdict(text, note_id, timestamp, seed=0, task_id="lift_green", user="ann"):
    return note(seed, note_id, NoteKind.VERDICT, user, text, task_id=task_id, timestamp=timestamp)


@pytest.fixture
def store(create_store):
    store = create_store()
    for seed in range(3):  # success, failure, success
        store.add(make_episode(seed, 3, cameras=()), "fake")
    store.publish()
    return store


def verdicts(store):
    return {row.seed: row.verdict for row in store.query(Query())}


def test_notes_come_back_oldest_first(store):
    said = [
        note(1, "b", NoteKind.SKIP, text="", timestamp=3, task_id="stack"),
        note(0, "a", text="Größe „x“ 💡", timestamp=1.25),
        note(0, "c", NoteKind.UNUSABLE, "bob", "camera covered", timestamp=2),
    ]
    for one in said:
        store.add_note(one)
    assert store.notes() == sorted(said, key=lambda one: one.timestamp)
    assert store.notes(task_id="stack") == said[:1]
    assert store.notes(episode_ids=["fake-0"]) == said[1:]
    assert store.notes(episode_ids=[]) == []
    assert store.notes(kind=NoteKind.UNUSABLE) == said[2:]


def test_the_same_note_twice_is_once_and_another_of_its_id_is_refused(store):
    store.add_note(note())
    store.add_note(note())
    with pytest.raises(StoreError, match="holds another note"):
        store.add_note(note(text="something else"))
    assert store.notes() == [note()]


def test_a_note_about_nothing_leaves_no_file(store):
    for unknown in ("fake-9", "../../fake-0", ""):
        with pytest.raises(StoreError, match="no episode"):
            store.add_note(dataclasses.replace(note(), episode_id=unknown))
    assert not list(store.root.glob("notes/**/*"))


@pytest.mark.parametrize(
    ("fields", "said"),
    [
        ({"note_id": "../n"}, "use letters"),
        ({"kind": "praise"}, "choose one of verdict, unusable, skip, comment"),
        ({"kind": "verdict", "text": "maybe"}, "choose one of success, failure, unknown"),
        ({"kind": "unusable", "text": " "}, "gives no reason"),
        ({"text": "x" * (MAX_TEXT + 1)}, "cut it to 2,000"),
        ({"text": "half \ud83d"}, "no text"),
        ({"user": "a\0b"}, "no text"),
        ({"timestamp": float("nan")}, "Unix seconds"),
    ],
)
def test_mistakes_are_one_sentence(fields, said):
    with pytest.raises(ArmchairError, match=said) as caught:
        dataclasses.replace(note(), **fields)
    assert "\n" not in str(caught.value)


def test_the_newest_verdict_about_the_own_task_counts(store):
    assert verdicts(store) == {0: "success", 1: "failure", 2: "success"}
    store.add_note(verdict("failure", "a", 5.5))
    store.add_note(verdict("success", "b", 5.25, user="bob"))  # older, though it came later
    store.add_note(verdict("unknown", "c", 9, task_id="stack"))  # another task
    store.add_note(note(2, text="failure", timestamp=9))  # no verdict
    assert verdicts(store) == {0: "failure", 1: "failure", 2: "success"}
    assert store.count(Query(verdict="failure")) == 2
    assert store.facets()["verdict"] == {"failure": 2, "success": 1}
    store.add_note(verdict("unknown", "d", 6))
    assert verdicts(store)[0] == "unknown"
    assert store.read("fake-0").metadata.verdict == "success"  # the shard keeps what was recorded


def test_notes_and_verdicts_survive_the_index(store):
    for one in (verdict("failure", "z", 1), verdict("unknown", "a", 2), note(1)):
        store.add_note(one)
    before = store.notes(), store.query(Query())
    counts = store.rebuild_index()
    assert (counts.notes, counts.problems) == (3, ())
    assert (store.notes(), store.query(Query())) == before
    assert verdicts(store)[0] == "unknown" and store.verify() == []


def test_verify_finds_what_is_wrong_with_notes(store):
    for name in ("lost", "spoilt", "changed"):
        store.add_note(note(0, name))
    folder = store.root / "notes" / "fake-0"
    (folder / "lost.json").unlink()
    (folder / "spoilt.json").write_text("{")
    fields = json.loads((folder / "changed.json").read_text())
    (folder / "changed.json").write_text(json.dumps(fields | {"user": "eve"}))
    (folder / "copied.json").write_text(json.dumps(fields | {"note_id": "copied"}))
    found = {problem.where.rpartition("/")[2]: f"{problem.severity}: {problem.what}" for problem in store.verify()}
    assert {name: what.split(" (")[0] for name, what in found.items()} == {
        "lost.json": "error: is no note",
        "spoilt.json": "error: is no note",
        "changed.json": "error: differs from the index",
        "copied.json": "warning: is not in the index",
    }
    counts = store.rebuild_index()
    assert counts.notes == 2 and len(counts.problems) == 1
    assert {one.note_id for one in store.notes()} == {"changed", "copied"}


def test_the_file_is_whole_before_the_row_is_there(store, monkeypatch):
    def die(connection, root, path):
        assert read_note(path) == note() and not list(path.parent.glob("*.tmp"))
        raise KeyboardInterrupt

    with monkeypatch.context() as patched:
        patched.setattr("datasets.notes.insert_note", die)
        with pytest.raises(KeyboardInterrupt):
            store.add_note(note())
    assert store.notes() == []
    again = Store.open(store.root)
    again.add_note(note())  # the page sends what it got no answer to again
    assert again.notes() == [note()] and again.verify() == []


def test_what_a_killed_writer_left_wins_over_another_of_its_id(store, monkeypatch):
    with monkeypatch.context() as patched:
        patched.setattr("datasets.notes.insert_note", lambda *_: 1 / 0)
        with pytest.raises(ZeroDivisionError):
            store.add_note(note())
    with pytest.raises(StoreError, match="holds another note"):
        store.add_note(note(text="something else"))
    assert store.notes() == [note()]  # it has its row now


def test_nothing_is_said_if_the_disk_is_full(store, monkeypatch):
    def full(path):
        raise OSError(28, "No space left on device")

    with monkeypatch.context() as patched:
        patched.setattr(files, "sync", full)
        with pytest.raises(OSError, match="No space"):
            store.add_note(note())
    assert store.notes() == [] and not list(store.root.glob("notes/*/*"))
