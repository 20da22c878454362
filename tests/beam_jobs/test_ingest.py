import contextlib
import dataclasses
import os
import shutil
import signal
import sqlite3
import subprocess
import sys
import time
from pathlib import Path

import av
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds

from armchair import cli
from beam_jobs import journal
from beam_jobs.config import IngestConfig
from beam_jobs.ingest import ingest
from beam_jobs.options import beam_options
from datasets import features, testing, validate
from datasets.errors import ArmchairError, SpecMismatchError, StoreError
from datasets.query import Query
from datasets.readers import rlds
from datasets.readers.base import Defaults
from datasets.rewards import RewardSequence
from datasets.shards import ShardDirectory
from datasets.store import Store


def _record(path: Path, episodes, name="log") -> Path:
    """A recorder's folder: one episode a shard."""
    shards = ShardDirectory.create(path / name / "1.0.0", name, features.step_spec(episodes[0]))
    for episode in episodes:
        shards.append(features.serialize(episode, shards.features))
    return shards.path


def _files(root: Path) -> dict[str, bytes]:
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def _ids(root: Path) -> list[str]:
    return sorted(row.episode_id for row in Store.open(root).query(Query()))


def test_twice_is_once(tmp_path):
    log = _record(tmp_path / "log", [testing.make_episode(seed) for seed in range(5)])
    config = IngestConfig((tmp_path / "log",), tmp_path / "store")
    first = ingest(config)
    assert (first.added, first.duplicates, first.quarantined, first.problems) == (5, 0, 0, ())
    before = _files(tmp_path / "store" / "episodes")
    second = ingest(config)
    assert (second.added, second.duplicates) == (0, 5)
    assert _files(tmp_path / "store" / "episodes") == before
    assert Store.open(tmp_path / "store").verify() == []
    assert not [path for path in (tmp_path / "store").iterdir() if path.name.startswith(".job")]
    builder = tfds.builder_from_directory(os.fspath(tmp_path / "store" / "episodes" / "log" / "1.0.0"))
    assert builder.info.splits["train"].num_examples == 5 == len(list(builder.as_dataset("train")))
    assert len(list(log.glob("log-train*"))) == 5  # the source is as it was


def test_copies_under_another_id_are_told_and_not_stored(tmp_path, capsys):
    episodes = [testing.make_episode(seed) for seed in range(3)]
    _record(tmp_path / "log", episodes)
    renamed = [dataclasses.replace(e.metadata, episode_id=f"copy-{i}", timestamp=7) for i, e in enumerate(episodes)]
    copies = [dataclasses.replace(e, metadata=metadata) for e, metadata in zip(episodes, renamed, strict=True)]
    _record(tmp_path / "copies", [*copies, testing.make_episode(3)], "copies")
    arguments = ["ingest", "--source", str(tmp_path / "log"), str(tmp_path / "copies"), "--store"]
    assert cli.main([*arguments, str(tmp_path / "a")]) == 0
    told = capsys.readouterr().out
    assert "copies-train.tfrecord-00001" in told and "the steps of episode fake-1" in told
    assert _ids(tmp_path / "a") == ["fake-0", "fake-1", "fake-2", "fake-3"]
    summary = ingest(IngestConfig((tmp_path / "copies",), tmp_path / "a"))
    assert (summary.added, summary.duplicates, summary.quarantined, summary.problems) == (0, 4, 0, ())
    assert [of for _, of in summary.copies] == ["fake-0", "fake-1", "fake-2"]
    assert cli.main([*arguments, str(tmp_path / "b"), "--keep-duplicates"]) == 0
    assert len(_ids(tmp_path / "b")) == 7 and Store.open(tmp_path / "b").verify() == []


def test_bad_episodes_are_quarantined_and_the_others_kept(tmp_path, capsys):
    episodes = [testing.make_episode(seed) for seed in range(5)]
    episodes[1].reward[2] = np.nan
    log = _record(tmp_path / "log", episodes)
    content = bytearray((log / "log-train.tfrecord-00003").read_bytes())
    content[500] ^= 0xFF
    (log / "log-train.tfrecord-00003").write_bytes(content)
    store = tmp_path / "store"
    arguments = ["ingest", "--source", str(tmp_path / "log"), "--store", str(store)]
    for _ in range(2):  # quarantined once, however often it is met
        assert cli.main(arguments) == 2
        told = capsys.readouterr()
        assert "2 things could not be taken in, everything else was" in told.err and "Traceback" not in told.err
        assert "reward: is NaN" in told.out and "fails its checksum" in told.out
    assert _ids(store) == ["fake-0", "fake-2", "fake-4"]
    reasons = sorted(path.read_text() for path in (store / "quarantine").glob("*.json"))
    assert len(reasons) == 2 and "log-train.tfrecord-00003#0" in "".join(reasons)
    assert len(list((store / "quarantine").glob("*.record"))) == 2


def test_an_error_that_no_reader_foresaw_is_the_records(tmp_path, monkeypatch):
    _record(tmp_path / "log", [testing.make_episode(seed) for seed in range(4)])
    to_episode = rlds.to_episode

    def stumble(parsed, layout, where, defaults):
        return to_episode(parsed, layout, where, defaults) if "00002" not in where else [].pop()

    monkeypatch.setattr(rlds, "to_episode", stumble)
    summary = ingest(IngestConfig((tmp_path / "log",), tmp_path / "store"))
    assert (summary.added, summary.quarantined) == (3, 1) and "IndexError" in summary.problems[0][1]
    assert len(list((tmp_path / "store" / "quarantine").glob("*.record"))) == 1


def test_a_reader_that_fails_costs_the_rest_of_its_file(tmp_path, monkeypatch):
    _record(tmp_path / "log", [testing.make_episode(seed) for seed in range(4)])
    read = rlds.RldsLog.read

    def fail(self, file):
        yield from read(self, file)
        if "00002" in file.name:
            raise IndexError("of what comes next")

    monkeypatch.setattr(rlds.RldsLog, "read", fail)
    summary = ingest(IngestConfig((tmp_path / "log",), tmp_path / "store"))
    assert (summary.added, summary.quarantined) == (4, 1)
    ((where, what),) = summary.problems
    assert where.startswith("the rest of") and where.endswith("00002") and "of what comes next" in what


def test_repairs_can_be_refused(tmp_path):
    whole = testing.make_episode(0)
    lacking = dataclasses.replace(whole, is_last=np.zeros(5, bool))
    _record(tmp_path / "log", [lacking])
    refused = ingest(IngestConfig((tmp_path / "log",), tmp_path / "a", repair=False))
    assert (refused.added, refused.quarantined) == (0, 1) and "is_last: is not true" in refused.problems[0][1]
    mended = ingest(IngestConfig((tmp_path / "log",), tmp_path / "b"))
    assert (mended.added, mended.repaired) == (1, 1)
    stored = Store.open(tmp_path / "b").read("fake-0")
    assert stored.is_last[-1] and "is_last was never true" in stored.metadata.repairs


def test_mistakes_are_one_sentence_and_leave_nothing(tmp_path):
    _record(tmp_path / "log", [testing.make_episode(0)])
    with pytest.raises(StoreError, match="is not a folder"):
        ingest(IngestConfig((tmp_path / "log", tmp_path / "nowhere"), tmp_path / "store"))
    with pytest.raises(ArmchairError, match="there is no option --quary"):
        beam_options(["--quary", "x"])
    assert not (tmp_path / "store").exists()
    ingest(IngestConfig((tmp_path / "log",), tmp_path / "store"))
    _record(tmp_path / "other", [testing.make_episode(1, action_size=3)])
    with pytest.raises(SpecMismatchError, match="'log' with other observations or actions"):
        ingest(IngestConfig((tmp_path / "other",), tmp_path / "store"))
    assert ingest(IngestConfig((tmp_path / "other",), tmp_path / "store", dataset="other")).added == 1
    assert Store.open(tmp_path / "store").datasets() == ("log", "other")
    with pytest.raises(ArmchairError, match="cannot name a dataset"):  # met in a worker, told as it is
        ingest(IngestConfig((tmp_path / "log",), tmp_path / "new", dataset="1 2"))


def _wait_for(condition, process, seconds=120):
    end = time.monotonic() + seconds
    while not condition():
        assert process.poll() is None, "the job ended before it could be killed"
        assert time.monotonic() < end
        time.sleep(0.01)


def _mapping(tmp_path, text):
    path = tmp_path / "mapping.yaml"
    path.write_text(text)
    return path


def test_a_mapping_gives_names_of_ours(tmp_path):
    _record(tmp_path / "log", [testing.make_episode(seed) for seed in range(2)])
    mapping = _mapping(tmp_path, "robot: widowx\nobservation:\n  elbow: {source: action, columns: [3, 4], unit: deg}\n")
    summary = ingest(IngestConfig((tmp_path / "log",), tmp_path / "store", mapping=mapping))
    assert (summary.added, summary.quarantined) == (2, 0)
    [kept] = [remark for remark in summary.remarks if remark.startswith("not in the mapping, kept: ")]
    assert "observation/sawyer/joints/angle" in kept and "elbow" not in kept
    store = Store.open(tmp_path / "store")
    for row in store.query(Query(robot="widowx")):
        episode = store.read(row)
        np.testing.assert_allclose(episode.observation["elbow"], np.radians(episode.action[:, 3:4]), rtol=1e-6)
    assert len(store.query(Query(robot="widowx"))) == 2


def test_a_mapping_that_does_not_fit_is_told_before_anything_is_written(tmp_path):
    _record(tmp_path / "log", [testing.make_episode(0)])
    mapping = _mapping(tmp_path, "observation: {elbow: observation/nothing}")
    with pytest.raises(ArmchairError, match="observation/nothing, which is not there"):
        ingest(IngestConfig((tmp_path / "log",), tmp_path / "store", mapping=mapping))
    assert not (tmp_path / "store").exists()


def test_inspect_proposes_what_ingest_takes(tmp_path, capsys):
    _record(tmp_path / "log", [testing.make_episode(0)])
    assert cli.main(["ingest", "inspect", str(tmp_path / "log")]) == 0
    told = capsys.readouterr().out
    assert "first episode" in told and "observation/sawyer/joints/angle" in told and "action_space" in told
    out = tmp_path / "mapping.yaml"
    assert cli.main(["ingest", "inspect", str(tmp_path / "log"), "--out", str(out)]) == 0
    assert ingest(IngestConfig((tmp_path / "log",), tmp_path / "store", mapping=out)).added == 1
    assert cli.main(["ingest", "inspect", str(tmp_path / "nothing")]) == 2


def test_killed_and_started_again_is_complete(tmp_path):
    log, store = tmp_path / "log", tmp_path / "store"
    _record(log, [testing.make_episode(seed, 2, cameras=()) for seed in range(300)])
    command = [sys.executable, "-m", "beam_jobs.ingest", "--source", log, "--store", store]
    process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
    _wait_for(lambda: len(list(store.glob("episodes/log/1.0.0/log-train*"))) >= 20, process)
    os.kill(process.pid, signal.SIGKILL)
    process.wait()
    there = len(list(store.glob("episodes/log/1.0.0/log-train*")))
    assert 20 <= there < 300
    summary = ingest(IngestConfig((log,), store))
    assert summary.added in (300 - there, 300 - there + 1)  # a shard that had no row yet may count as either
    assert summary.added + summary.duplicates == 300
    assert len(_ids(store)) == 300
    assert [p for p in Store.open(store).verify() if p.severity == validate.Severity.ERROR] == []  # may leave a .tmp


@pytest.mark.slow
def test_two_processes(tmp_path, capfd):
    _record(tmp_path / "log", [testing.make_episode(seed) for seed in range(6)])
    options = beam_options(["--direct_num_workers=2", "--direct_running_mode=multi_processing"])
    assert ingest(IngestConfig((tmp_path / "log",), tmp_path / "store"), options).added == 6
    assert Store.open(tmp_path / "store").verify() == []
    assert "sdk_worker" not in capfd.readouterr().err  # the workers' own logs do not bury the progress bar


def test_a_journal_is_read_while_it_is_written(tmp_path):
    with journal.Journal(tmp_path) as notes:
        one, other = journal.Writer(notes.directory), journal.Writer(notes.directory)
        one.write("a", "good", 3)
        other.write("b", "bad", why="w")
        with next(notes.directory.glob("*.jsonl")).open("a") as file:
            file.write('{"item": "c", "outc')  # in the middle of a line
        notes.poll()
        assert notes.outcomes() == {"good": 1, "bad": 1} and notes.entries["a"]["weight"] == 3
        with next(notes.directory.glob("*.jsonl")).open("a") as file:
            file.write('ome": "good", "weight": 1}\n')
        other.write("b", "good")  # done again
        notes.poll()
        assert notes.outcomes() == {"good": 3}
    assert not list(tmp_path.iterdir())


def _sketch_by_time(store, episode_id):
    steps = store.read(episode_id).num_steps
    values = np.linspace(0, 1, steps, dtype=np.float32)
    store.add_sketch(RewardSequence(episode_id, "whatever", values, "by-time", user="clock"))


def _play(store: Path, episode_id: str, out: Path) -> int:
    """Number of frames of the video."""
    assert cli.main(["play", "--store", str(store), "--episode", episode_id, "--out", str(out)]) == 0
    with av.open(str(out)) as container:
        return sum(1 for _ in container.decode(video=0))


def test_real_bridge_data(real, tmp_path, capsys):
    """25 episodes of a real WidowX arm, twice in the source: ingested, listed, sketched, played, and read by others."""
    source, root = real / "octo_bridge_debug", tmp_path / "store"
    before = _files(source)
    defaults = Defaults(task_id="tidy", robot="widowx", control_rate_hz=5.0)
    summary = ingest(IngestConfig((source,), root, defaults=defaults))
    assert (summary.added, summary.duplicates, summary.repaired, summary.quarantined) == (25, 25, 25, 0)
    assert summary.remarks["is_last was never true and is now true at the last step."] == 25
    assert sum("has_image_0: is false" in remark for remark in summary.remarks) == 1
    assert _files(source) == before
    assert cli.main(["store", "ls", "--store", str(root)]) == 0
    assert "bridge_dataset" in capsys.readouterr().out
    store = Store.open(root)
    rows = store.query(Query(robot="widowx"))
    assert len(rows) == 25 and rows[0].task_id == "tidy"
    _sketch_by_time(store, rows[0].episode_id)
    assert len(store.sketches("whatever")) == 1
    assert _play(root, rows[0].episode_id, tmp_path / "bridge.mp4") == 10

    # Plain TFDS, which knows nothing of us, reads the same numbers and pixels from the store as from the source.
    def read(path):
        examples = tfds.builder_from_directory(os.fspath(path)).as_dataset("train")
        steps = [list(example["steps"].as_numpy_iterator()) for example in examples]
        return {tf.io.serialize_tensor([s["action"] for s in episode]).numpy(): episode for episode in steps}

    theirs, ours = read(source / "bridge_dataset/1.0.0"), read(root / "episodes/bridge_dataset/1.0.0")
    assert theirs.keys() == ours.keys() and len(ours) == 25
    for action, episode in theirs.items():
        for step, stored in zip(episode, ours[action], strict=True):
            np.testing.assert_array_equal(step["observation"]["image_0"], stored["observation"]["image_0"])
            np.testing.assert_array_equal(step["observation"]["state"], stored["observation"]["state"])
            assert step["language_instruction"] == stored["language_instruction"]
        assert not episode[-1]["is_last"] and ours[action][-1]["is_last"]


def test_real_bridge_data_by_a_mapping(real, tmp_path):
    """Its state is the tool's position, roll, pitch and yaw, and the gripper; two of its cameras are black."""
    mapping = _mapping(
        tmp_path,
        """
        robot: widowx
        control_rate_hz: 5
        observation:
          sawyer/tcp/pose:
          - {source: observation/state, columns: [0, 3]}
          - {source: observation/state, columns: [3, 6], rotation: rpy}
          gripper/state: {source: observation/state, columns: [6, 7]}
          pixels/basket_front_left: observation/image_0
        drop: [observation/image_1, observation/image_2, observation/image_3, has_image_1, has_image_2, has_image_3]
        """,
    )
    summary = ingest(IngestConfig((real / "octo_bridge_debug",), tmp_path / "store", mapping=mapping))
    assert (summary.added, summary.duplicates, summary.quarantined) == (25, 25, 0)
    store = Store.open(tmp_path / "store")
    rows = store.query(Query())
    features_of = next(store.read_many(rows)).observation
    assert set(features_of) == {"sawyer/tcp/pose", "gripper/state", "pixels/basket_front_left"}
    for episode in store.read_many(rows):
        pose = episode.observation["sawyer/tcp/pose"]
        np.testing.assert_allclose(np.linalg.norm(pose[:, 3:], axis=1), 1, atol=1e-5)
        assert (pose[:, 2] > -0.2).all() and (pose[:, 0] > 0).all()  # before the arm, not under its table


def test_real_sketchy_data(real, tmp_path):
    """The reward-sketching paper's own cell, with a database in its published layout."""
    source, root = tmp_path / "sketchy", tmp_path / "store"
    source.mkdir()
    episode_id = "10000313341320364033"
    name = f"{episode_id}_b615a417-ce34-41a8-8411-2a1ce3f3bd07"
    shutil.copyfile(real / "sketchy/example_data.tfrecords", source / name)
    with contextlib.closing(sqlite3.connect(source / "metadata.sqlite")) as database:
        database.executescript(
            """
            CREATE TABLE "Episodes"("EpisodeId", "TaskId", "DataPath", "Timestamp", "EpisodeType");
            CREATE TABLE "EpisodeTags"("EpisodeId", "Tag");
            CREATE TABLE "RewardSequences"("EpisodeId", "RewardSequenceId", "RewardTaskId", "Type", "User", "Values");
            """
        )
        row = [episode_id, "lift_green", name, 1561731200, "EPISODE_ROBOT_AGENT"]
        database.execute('INSERT INTO "Episodes" VALUES (?,?,?,?,?)', row)
        for number, length in enumerate((4, 3)):
            values = np.linspace(0, 1, length).astype("<f4").tobytes()
            row = [episode_id, f"{number}", "lift_green", "REWARD_SKETCH", f"user{number}", values]
            database.execute('INSERT INTO "RewardSequences" VALUES (?,?,?,?,?,?)', row)
        database.commit()
    summary = ingest(IngestConfig((source,), root))
    assert (summary.added, summary.sketches, summary.quarantined) == (1, 1, 0)
    assert episode_id in summary.problems[0][1] and "3 values for 4 frames" in summary.problems[0][1]
    store = Store.open(root)
    (row,) = store.query(Query(has_sketch="lift_green"))
    assert row.episode_id == episode_id
    np.testing.assert_allclose(store.sketches("lift_green")[0].values, np.linspace(0, 1, 4), rtol=1e-6)
    assert _play(root, episode_id, tmp_path / "sketchy.mp4") == 4
    assert ingest(IngestConfig((source,), root)).duplicates == 1
    (example,) = tfds.builder_from_directory(os.fspath(root / "episodes/sketchy/1.0.0")).as_dataset("train")
    steps = list(example["steps"].as_numpy_iterator())
    assert steps[0]["observation"]["pixels"]["basket_front_left"].shape == (600, 960, 3)
