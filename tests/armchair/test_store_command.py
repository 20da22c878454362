"""`armchair store ...`: what it prints, and how it fails."""

import io
import json

import numpy as np
import pytest

from armchair import cli
from datasets.query import Query
from datasets.rewards import RewardSequence
from datasets.store import Store
from datasets.testing import make_episode


@pytest.fixture
def root(tmp_path):
    store = Store.create(tmp_path / "store")
    for seed in range(4):
        task = "lift_green" if seed < 3 else "stack_green_on_red"
        store.add(make_episode(seed, 3, cameras=(), task_id=task, tags="good" if seed == 1 else ""), "fake")
    store.publish()
    store.add_sketch(RewardSequence("fake-1", "lift_green", np.zeros(3), "s1", user="ann"))
    return store.root


def run(capsys, root, *words):
    status = cli.main(["store", *words, "--store", str(root)])
    captured = capsys.readouterr()
    return status, captured.out, captured.err


def test_ls(root, capsys):
    status, out, _ = run(capsys, root, "ls")
    assert status == 0
    lines = [line.split()[:4] for line in out.splitlines()]
    assert lines[1:] == [["fake", "lift_green", "3", "9"], ["fake", "stack_green_on_red", "1", "3"]]


def test_ls_as_json(root, capsys):
    _, out, _ = run(capsys, root, "ls", "--json")
    lift, stack = map(json.loads, out.splitlines())
    assert (lift["task"], lift["success"], lift["failure"]) == ("lift_green", 2, 1)
    assert (stack["episodes"], stack["steps"]) == (1, 3)


def test_ls_of_an_empty_store(tmp_path, capsys):
    Store.create(tmp_path)
    status, out, _ = run(capsys, tmp_path, "ls")
    assert status == 0 and "none yet" in out


def test_info(root, capsys):
    status, out, _ = run(capsys, root, "info")
    assert status == 0
    assert "4 in 1 datasets" in out and "12 (" in out and "sketches by 1, lift_green" in out


@pytest.mark.parametrize(
    ("words", "seeds"),
    [
        ([], [0, 1, 2, 3]),
        (["task_id=lift_green", "verdict=success"], [0, 2]),
        (["task_id=lift_green verdict=success limit=1"], [0]),
        (["tag=good"], [1]),
    ],
)
def test_query(root, capsys, words, seeds):
    status, out, _ = run(capsys, root, "query", *words, "--json")
    assert status == 0
    assert [json.loads(line)["seed"] for line in out.splitlines()] == seeds
    _, table, _ = run(capsys, root, "query", *words)
    assert len(table.splitlines()) == 1 + len(seeds)
    assert all(f"fake-{seed}" in table for seed in seeds)


def test_verify_is_silent_about_a_sound_store_and_fails_on_a_damaged_one(root, capsys):
    status, out, _ = run(capsys, root, "verify")
    assert (status, out) == (0, "4 episodes verified, 0 problems\n")
    shard = root / "episodes" / "fake" / "1.0.0" / "fake-train.tfrecord-00002"
    shard.write_bytes(shard.read_bytes()[:-1])
    with pytest.raises(SystemExit, match="1"):
        cli.main(["store", "verify", "--store", str(root)])
    out = capsys.readouterr().out
    assert out.startswith(f"error: {shard}: is not as it was written (episode 'fake-2')")


def test_rebuild_index(root, capsys):
    (root / "index.sqlite").unlink()
    status, out, _ = run(capsys, root, "rebuild-index")
    assert (status, out) == (0, "indexed 4 episodes, 1 sketches, 0 predictions, 0 notes\n")
    assert run(capsys, root, "verify")[0] == 0


@pytest.mark.parametrize(
    ("words", "said"),
    [
        (["query", "task_id=fold"], "no episode in"),
        (["query", "lift_green"], "cannot read 'lift_green' in a query"),
        (["query", "limit=few"], "limit=few is no number"),
    ],
)
def test_mistakes_in_a_query(root, capsys, words, said):
    status, out, err = run(capsys, root, *words)
    assert (status, out) == (2, "")
    assert said in err and err.count("\n") == 1


@pytest.mark.parametrize("command", ["ls", "info", "query", "verify", "rebuild-index"])
def test_a_path_that_is_no_store(tmp_path, capsys, command):
    status, out, err = run(capsys, tmp_path / "nowhere", command)
    assert (status, out) == (2, "")
    assert "is not a store" in err and err.count("\n") == 1
    assert not (tmp_path / "nowhere").exists()


def test_create_says_where_the_index_is(root, tmp_path, capsys, postgres_url):
    assert cli.main(["store", "create", "--store", str(tmp_path / "new")]) == 0
    assert "0 episodes, its index in " in capsys.readouterr().out
    status, out, _ = run(capsys, root, "create", "--index-url", postgres_url)
    assert status == 0 and "4 episodes, its index in postgresql+psycopg://" in out
    assert not (root / "index.sqlite").exists()
    assert run(capsys, root, "verify")[0] == 0
    status, _, said = run(capsys, root, "create", "--index-url", "mysql://host/db")
    assert status == 2 and "write it like postgresql+psycopg://" in said


def test_a_query_gets_a_name(root, capsys):
    status, out, _ = run(capsys, root, "save", "lifts", "task_id=lift_green")
    assert status == 0 and out.startswith("saved=lifts@1: 3 episodes (")
    assert run(capsys, root, "save", "lifts", "task_id=lift_green", "tag=good")[1].startswith(
        "saved=lifts@2: 1 episodes"
    )
    for words, count in ((["saved=lifts"], 1), (["saved=lifts@1"], 3), (["saved=lifts@1", "limit=2"], 2)):
        _, out, _ = run(capsys, root, "query", *words, "--json")
        assert len(out.splitlines()) == count
    Store.open(root).add(make_episode(9, 3, cameras=()), "fake")
    lines = [line.split() for line in run(capsys, root, "saved")[1].splitlines()]
    assert [(line[0], line[3], line[4]) for line in lines[1:]] == [
        ("saved=lifts@1", "3", "4"),
        ("saved=lifts@2", "1", "1"),
    ]
    status, _, err = run(capsys, root, "query", "saved=folds")
    assert status == 2 and "no query is saved as 'folds'" in err


def test_delete_asks_and_restore_undoes(root, capsys, monkeypatch):
    words = ("delete", "task_id=lift_green", "verdict=success", "--reason", "bumped")
    monkeypatch.setattr("sys.stdin", io.StringIO("n\n"))
    status, out, err = run(capsys, root, *words)
    assert (status, out) == (2, "") and "Delete 2 episodes of" in err and "nothing was changed" in err
    monkeypatch.setattr("sys.stdin", io.StringIO(""))  # nobody is there
    assert run(capsys, root, *words)[0] == 2 and Store.open(root).count(Query()) == 4
    monkeypatch.setattr("sys.stdin", io.StringIO("y\n"))
    status, out, _ = run(capsys, root, *words, "--user", "ann")
    assert status == 0 and out.startswith("deleted 2 episodes")
    assert {(note.user, note.text) for note in Store.open(root).notes(kind="deleted")} == {("ann", "bumped")}
    assert len(run(capsys, root, "query", "--json")[1].splitlines()) == 2
    found = [json.loads(line)["seed"] for line in run(capsys, root, "query", "--deleted", "--json")[1].splitlines()]
    assert found == [0, 2]
    assert "2 more episodes, which no query finds" in run(capsys, root, "info")[1]
    assert run(capsys, root, "verify")[1] == "4 episodes verified, 2 of them deleted, 0 problems\n"
    assert "episode 'fake-2' is deleted: see `armchair store restore" in run_play(capsys, root, "fake-2")
    assert run(capsys, root, "restore", "ids=fake-2", "--yes")[1] == "restored 1 episodes\n"
    assert run(capsys, root, "restore", "--yes")[1] == "restored 1 episodes\n"
    status, _, err = run(capsys, root, "restore", "--yes")
    assert status == 2 and "no deleted episode in" in err
    assert Store.open(root).count(Query()) == 4


def run_play(capsys, root, episode_id):
    assert cli.main(["play", "--store", str(root), "--episode", episode_id, "--out", str(root / "x.mp4")]) == 2
    return capsys.readouterr().err


@pytest.mark.parametrize("words", [[], [""]])
def test_everything_is_not_deleted_by_accident(root, capsys, words):
    status, _, err = run(capsys, root, "delete", *words, "--reason", "oops", "--yes")
    assert status == 2 and "an empty query means every episode" in err
    assert Store.open(root).count(Query()) == 4


def test_nothing_is_saved_yet(root, capsys):
    assert "none yet" in run(capsys, root, "saved")[1]


def test_conditions_may_hold_spaces(root, capsys):
    _, out, _ = run(capsys, root, "save", "odd", "text='put the cup'")
    assert out.startswith("saved=odd@1: 0 episodes")
    assert "text=put the cup" in run(capsys, root, "saved")[1]
    assert run(capsys, root, "query", "saved=odd")[0] == 2  # nothing is there, but it can be read


def test_the_index_is_copied_while_it_is_in_use(root, tmp_path, capsys):
    store = Store.open(root)
    with store._index.write():  # somebody holds the lock
        assert run(capsys, root, "backup", "--out", str(tmp_path / "copy.sqlite"))[0] == 0
    status, _, err = run(capsys, root, "backup", "--out", str(tmp_path / "copy.sqlite"))
    assert status == 2 and "is there already" in err
    before = store.query(Query())
    (root / "index.sqlite").unlink()
    for name in ("index.sqlite-wal", "index.sqlite-shm"):
        (root / name).unlink(missing_ok=True)
    (tmp_path / "copy.sqlite").rename(root / "index.sqlite")
    assert Store.open(root).query(Query()) == before


def test_of_postgresql_its_own_tool_makes_the_copy(tmp_path, capsys, postgres_url):
    root = Store.create(tmp_path / "store", index_url=postgres_url).root
    status, _, err = run(capsys, root, "backup", "--out", str(tmp_path / "copy"))
    assert status == 2 and "`pg_dump` its database" in err
    assert not (tmp_path / "copy").exists()
