import dataclasses
import functools
import itertools
import json
import os
import signal
import subprocess
import sys
import time

import av
import h5py
import numpy as np
import pytest
import tensorflow_datasets as tfds
from pyarrow import parquet

from armchair import cli
from beam_jobs import export as job
from beam_jobs.config import ExportConfig, Format
from beam_jobs.export import export
from beam_jobs.options import beam_options
from datasets import testing, video
from datasets.errors import ArmchairError
from datasets.query import Query
from datasets.readers.logs import open_logs
from datasets.store import Store
from datasets.writers import lerobot, rlds
from datasets.writers.lerobot import LerobotWriter
from tests.datasets.stores import CARD, add_predictions, sketch
from tests.datasets.writers.lerobot_exports import psnr

COUNT = 7


def make_store(root, count=COUNT, **changes):
    store = Store.create(root)
    for seed in range(count):
        store.add(testing.make_episode(seed, 3 + seed % 3, terminal=seed % 2 == 0, **changes), "some")
    store.publish()
    return store


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path / "store")


@pytest.fixture
def small_parts(monkeypatch):
    """Three episodes a part, so that there are several."""
    monkeypatch.setattr(job, "RldsWriter", functools.partial(rlds.RldsWriter, episodes_a_part=3))


def tree(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def read_back(out):
    [log] = open_logs(out)
    readings = [reading for file in log.files() for reading in log.read(file)]
    assert not [problem for reading in readings for problem in reading.problems]
    return [reading.episode for reading in readings]


def assert_equal(one, other):
    assert one.metadata == other.metadata
    ours, theirs = dict(one.step_fields()), dict(other.step_fields())
    assert ours.keys() == theirs.keys()
    for name, array in ours.items():
        assert array.dtype == theirs[name].dtype
        np.testing.assert_array_equal(array, theirs[name], err_msg=name)


class TestRlds:
    def test_what_comes_back_is_equal(self, store, tmp_path):
        summary = export(ExportConfig(store.root, tmp_path / "out", Format.RLDS))
        assert (summary.episodes, summary.problems) == (COUNT, ())
        for episode, row in zip(read_back(tmp_path / "out"), store.query(Query()), strict=True):
            assert_equal(episode, store.read(row))

    def test_plain_tfds_reads_it(self, store, tmp_path, small_parts):
        export(ExportConfig(store.root, tmp_path / "out", Format.RLDS, name="mine"))
        assert (tmp_path / "out" / "mine-train.tfrecord-00002-of-00003").exists()
        builder = tfds.builder_from_directory(os.fspath(tmp_path / "out"))
        assert builder.info.splits["train"].num_examples == COUNT
        examples = list(builder.as_dataset("train"))
        rows = store.query(Query())
        assert [e["episode_metadata"]["episode_id"].numpy().decode() for e in examples] == [r.episode_id for r in rows]
        for example, episode in zip(examples, store.read_many(rows), strict=True):
            steps = list(example["steps"].as_numpy_iterator())
            np.testing.assert_array_equal([s["action"] for s in steps], episode.action)
            frames = video.decode_frames(episode.observation["pixels/basket_front_left"]).astype(int)
            theirs = np.array([s["observation"]["pixels"]["basket_front_left"] for s in steps], int)
            assert np.abs(theirs - frames).max() <= 8  # TFDS decodes JPEG a little less exactly

    def test_with_the_rewards_of_a_model(self, store, tmp_path):
        store.register_model(CARD)
        values = {r.episode_id: np.linspace(0, 1, r.num_steps, dtype=np.float32) for r in store.query(Query())}
        add_predictions(store, "all", values)
        export(ExportConfig(store.root, tmp_path / "out", Format.RLDS, rewards="model:m1"))
        for episode in read_back(tmp_path / "out"):
            rated = values[episode.metadata.episode_id]
            np.testing.assert_array_equal(episode.reward, [*rated[1:], 0])  # r_t is that of o_{t+1}

    def test_with_sketched_rewards(self, store, tmp_path):
        store.add_sketch(sketch(0, values=(0, 0.5, 1)))
        config = ExportConfig(
            store.root, tmp_path / "out", Format.RLDS, "has_sketch=lift_green", "sketch", "lift_green"
        )
        assert export(config).episodes == 1
        [episode] = read_back(tmp_path / "out")
        np.testing.assert_array_equal(episode.reward, np.float32([0.5, 1, 0]))


class TestRobomimic:
    def test_holds_every_transition(self, store, tmp_path):
        export(ExportConfig(store.root, tmp_path / "out", Format.ROBOMIMIC, name="mine"))
        rows = store.query(Query())
        with h5py.File(tmp_path / "out" / "mine.hdf5") as file:
            assert file["data"].attrs["total"] == sum(row.num_steps - 1 for row in rows)
            assert json.loads(file["data"].attrs["env_args"])["env_name"] == "lift_green"
            masks = {name: [x.decode() for x in file[f"mask/{name}"]] for name in ("train", "valid")}
            for number, (row, episode) in enumerate(zip(rows, store.read_many(rows), strict=True)):
                demo = file[f"data/demo_{number}"]
                assert demo.attrs["num_samples"] == episode.num_steps - 1 == len(demo["actions"])
                assert f"demo_{number}" in masks["valid" if row.split == "test" else "train"]
                np.testing.assert_array_equal(demo["actions"], episode.action[:-1])
                np.testing.assert_array_equal(demo["rewards"], episode.reward[:-1])
                np.testing.assert_array_equal(demo["dones"], episode.is_terminal[1:])
                angles = episode.observation["sawyer/joints/angle"]
                np.testing.assert_array_equal(demo["obs/sawyer_joints_angle"], angles[:-1])
                np.testing.assert_array_equal(demo["next_obs/sawyer_joints_angle"], angles[1:])
                frames = video.decode_frames(episode.observation["pixels/basket_front_left"])
                np.testing.assert_array_equal(demo["next_obs/pixels_basket_front_left"], frames[1:])
                assert json.loads(demo.attrs["episode_metadata"]) == dataclasses.asdict(episode.metadata)

    def test_texts_and_pictures_beside_the_observation_are_kept(self, tmp_path):
        store = Store.create(tmp_path / "store")
        episode = testing.make_episode(0)
        words = np.array([f"step {t}" for t in range(5)], object)
        pictures = episode.observation["pixels/basket_front_left"]
        states = np.arange(10.0).reshape(5, 2)  # as of a simulator
        extras = {"language_instruction": words, "goal": pictures, "states": states}
        store.add(dataclasses.replace(episode, extras=extras), "some")
        export(ExportConfig(store.root, tmp_path / "out", Format.ROBOMIMIC))
        with h5py.File(tmp_path / "out" / "armchair.hdf5") as file:
            assert list(file["data/demo_0/extras/language_instruction"].asstr()) == list(words[:-1])
            np.testing.assert_array_equal(file["data/demo_0/extras/goal"], video.decode_frames(pictures)[:-1])
        (back,) = read_back(tmp_path / "out")
        assert back.extras.keys() == {"discounts", "extras/language_instruction", "extras/goal", "states"}
        np.testing.assert_array_equal(back.extras["states"][:-1], states[:-1])

    @pytest.mark.parametrize("text", ["\0", "a\0b"])
    def test_an_episode_with_a_text_that_hdf5_cannot_hold_is_left_out_and_told(self, tmp_path, text):
        store = Store.create(tmp_path / "store")
        for seed, words in enumerate((["one", "two", "three"], ["one", text, "three"])):
            episode = testing.make_episode(seed, 3)
            store.add(dataclasses.replace(episode, extras={"note": np.array(words, object)}), "some")
        summary = export(ExportConfig(store.root, tmp_path / "out", Format.ROBOMIMIC))
        ((name, problem),) = summary.problems
        assert (name, summary.episodes) == ("fake-1", 1)
        assert "note has a text with NUL at step 1, which HDF5 cannot hold: export as rlds" in problem

    def test_an_episode_without_a_transition_is_told(self, tmp_path):
        store = make_store(tmp_path / "store")
        store.add(testing.make_episode(99, 1), "some")
        with pytest.raises(ArmchairError, match="1 episodes have no transition, fake-99 for one: add min_steps=2"):
            export(ExportConfig(store.root, tmp_path / "out", Format.ROBOMIMIC))
        assert not (tmp_path / "out").exists()

    def test_names_that_would_be_one_are_told(self, tmp_path):
        store = Store.create(tmp_path / "store")
        episode = testing.make_episode(0)
        twice = {"a/b": np.zeros((5, 1), np.float32), "a_b": np.zeros((5, 1), np.float32)}
        store.add(dataclasses.replace(episode, observation=twice), "some")
        with pytest.raises(ArmchairError, match="'a/b' and 'a_b' would both be called 'a_b'"):
            export(ExportConfig(store.root, tmp_path / "out", Format.ROBOMIMIC))


class TestLerobot:
    """What is in its files, `tests/datasets/writers/test_lerobot.py` looks at."""

    def test_with_the_rewards_of_a_model(self, store, tmp_path):
        store.register_model(CARD)
        values = {r.episode_id: np.linspace(0, 1, r.num_steps, dtype=np.float32) for r in store.query(Query())}
        add_predictions(store, "all", values)
        export(ExportConfig(store.root, tmp_path / "out", Format.LEROBOT, rewards="model:m1"))
        for episode, rated in zip(read_back(tmp_path / "out"), values.values(), strict=True):
            np.testing.assert_array_equal(episode.reward, rated[1:])

    def test_a_damaged_episode_is_left_out_and_numbers_have_no_gap(self, store, tmp_path, capsys):
        rows = store.query(Query())
        rows[2].path.write_bytes(rows[2].path.read_bytes()[:-20])
        arguments = ["export", "--store", str(store.root), "--out", str(tmp_path / "out"), "--format", "lerobot"]
        assert cli.main(arguments) == 2
        assert rows[2].episode_id in capsys.readouterr().out
        table = parquet.read_table(tmp_path / "out/data/chunk-000/file-000.parquet")
        kept = [row.num_steps - 1 for row in rows if row != rows[2]]
        assert table["index"].to_pylist() == list(range(sum(kept)))
        assert table["episode_index"].to_pylist() == [n for n, count in enumerate(kept) for _ in range(count)]
        assert [episode.num_steps for episode in read_back(tmp_path / "out")] == kept

    def test_two_processes_write_the_same(self, store, tmp_path, monkeypatch):
        small = functools.partial(LerobotWriter, episodes_a_part=2)
        monkeypatch.setattr(job, "LerobotWriter", small)
        flags = ["--direct_num_workers", "2", "--direct_running_mode", "multi_processing"]
        export(ExportConfig(store.root, tmp_path / "two", Format.LEROBOT), beam_options(flags))
        export(ExportConfig(store.root, tmp_path / "one", Format.LEROBOT))
        assert tree(tmp_path / "two") == tree(tmp_path / "one")


def test_videos(store, tmp_path):
    export(ExportConfig(store.root, tmp_path / "out", Format.MP4))
    for row in store.query(Query()):
        with av.open(os.fspath(tmp_path / "out" / f"{row.episode_id}.mp4")) as container:
            assert len(list(container.decode(video=0))) == row.num_steps


def test_rewards_are_drawn_under_the_pictures(store, tmp_path):
    """fake-0 gets a sketch, then a prediction too; fake-1 nothing."""

    def videos(name):
        export(ExportConfig(store.root, tmp_path / name, Format.MP4, query="ids=fake-0,fake-1"))
        found = {}
        for path in (tmp_path / name).glob("*.mp4"):
            with av.open(os.fspath(path)) as container:
                found[path.stem] = np.stack([f.to_ndarray(format="rgb24") for f in container.decode(video=0)])
        return found

    plain = videos("plain")
    store.add_sketch(sketch(0, values=(0, 0.5, 1)))
    sketched = videos("sketched")
    store.register_model(CARD)
    add_predictions(store, "all", {"fake-0": np.float32([1, 0.5, 0])})
    rated = videos("rated")
    np.testing.assert_array_equal(rated["fake-1"], plain["fake-1"])

    height = plain["fake-0"].shape[1]
    for drawn in (sketched["fake-0"], rated["fake-0"]):
        assert drawn.shape[1] > height
        assert psnr(drawn[:, :height], plain["fake-0"]) > 30  # the pictures stay as they are
    sketch_panel, both_panel = (drawn["fake-0"][:, height:].astype(int) for drawn in (sketched, rated))
    assert sketch_panel.max() > 200  # a light curve on black
    assert (np.abs(both_panel - sketch_panel).max(axis=-1) > 60).sum() > 100  # the model's, and its number
    for panel in (sketch_panel, both_panel):
        for before, after in itertools.pairwise(panel):
            assert (np.abs(after - before).max(axis=-1) > 60).sum() > 50  # the cursor moves on


def test_videos_need_pictures(tmp_path):
    store = make_store(tmp_path / "store", cameras=())
    with pytest.raises(ArmchairError, match="have no pictures"):
        export(ExportConfig(store.root, tmp_path / "out", Format.MP4))


class TestJob:
    def test_twice_is_once(self, store, tmp_path, small_parts):
        config = ExportConfig(store.root, tmp_path / "out", Format.RLDS)
        first = export(config)
        before = {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")}
        assert export(config) == first
        assert {path: path.stat().st_mtime_ns for path in (tmp_path / "out").rglob("*")} == before

    def test_another_export_is_not_overwritten(self, store, tmp_path):
        export(ExportConfig(store.root, tmp_path / "out", Format.RLDS))
        with pytest.raises(ArmchairError, match="holds something else"):
            export(ExportConfig(store.root, tmp_path / "out", Format.RLDS, query="limit=2"))
        (tmp_path / "other").mkdir()
        (tmp_path / "other" / "precious").write_text("")
        with pytest.raises(ArmchairError, match="not empty"):
            export(ExportConfig(store.root, tmp_path / "other", Format.RLDS))

    def test_a_stopped_one_goes_on(self, store, tmp_path, small_parts, monkeypatch):
        config = ExportConfig(store.root, tmp_path / "out", Format.RLDS)
        export(dataclasses.replace(config, out=tmp_path / "whole"))
        write = rlds.RldsWriter.write

        def stop(self, out, part, parts, episodes):
            if part.number == 1:
                raise RuntimeError("pulled the plug")
            return write(self, out, part, parts, episodes)

        monkeypatch.setattr(rlds.RldsWriter, "write", stop)
        with pytest.raises(RuntimeError, match="plug"):
            export(config)
        assert not (tmp_path / "out" / "armchair.json").exists()
        there = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").glob("*.tfrecord*")}
        monkeypatch.setattr(rlds.RldsWriter, "write", write)
        export(config)
        assert tree(tmp_path / "out") == tree(tmp_path / "whole")
        assert {p: p.stat().st_mtime_ns for p in there} == there

    def test_a_damaged_episode_is_left_out_and_told(self, store, tmp_path, small_parts, capsys):
        rows = store.query(Query())
        for row in (rows[1], rows[5]):
            row.path.write_bytes(row.path.read_bytes()[:-20])
        arguments = ["export", "--store", str(store.root), "--out", str(tmp_path / "out"), "--format", "rlds"]
        assert cli.main(arguments) == 2
        told = capsys.readouterr()
        assert rows[1].episode_id in told.out and rows[5].episode_id in told.out
        assert "2 episodes could not be written, all others were" in told.err
        kept = [row.episode_id for row in rows if row not in (rows[1], rows[5])]
        assert [e.metadata.episode_id for e in read_back(tmp_path / "out")] == kept
        assert tfds.builder_from_directory(os.fspath(tmp_path / "out")).info.splits["train"].num_examples == 5
        assert cli.main(arguments) == 2  # done before, and said again

    def test_an_error_that_nobody_foresaw_is_the_episodes(self, store, tmp_path, small_parts, monkeypatch):
        read = Store.read

        def stumble(self, row):
            return read(self, row) if row.episode_id != "fake-4" else [].pop()

        monkeypatch.setattr(Store, "read", stumble)
        summary = export(ExportConfig(store.root, tmp_path / "out", Format.RLDS))
        ((name, problem),) = summary.problems
        assert (name, summary.episodes) == ("fake-4", COUNT - 1) and "IndexError" in problem
        assert len(read_back(tmp_path / "out")) == COUNT - 1

    @pytest.mark.parametrize("kind", [Format.MP4, Format.ROBOMIMIC, Format.LEROBOT])
    def test_an_episode_with_a_broken_picture_is_left_out_and_told(self, store, tmp_path, monkeypatch, kind):
        monkeypatch.setattr(lerobot, "_DECODED", 1)  # so that the broken one is not in the first bundle
        episode = testing.make_episode(50)
        pictures = episode.observation["pixels/basket_front_left"].copy()
        pictures[1] = pictures[1][:40]  # the store looks at the first, the middle and the last one
        observation = {**episode.observation, "pixels/basket_front_left": pictures}
        store.add(dataclasses.replace(episode, observation=observation), "some")
        summary = export(ExportConfig(store.root, tmp_path / "out", kind))
        ((name, problem),) = summary.problems
        assert (name, summary.episodes) == ("fake-50", COUNT) and "frame 1 is not a readable JPEG" in problem

    def test_two_processes_write_the_same(self, store, tmp_path, small_parts):
        """Three parts of RLDS; every other format, and every other engine: `test_engines`."""
        flags = ["--direct_num_workers", "2", "--direct_running_mode", "multi_processing"]
        export(ExportConfig(store.root, tmp_path / "two", Format.RLDS), beam_options(flags))
        export(ExportConfig(store.root, tmp_path / "one", Format.RLDS))
        assert len(list((tmp_path / "two").glob("*.tfrecord-*"))) == 3
        assert tree(tmp_path / "two") == tree(tmp_path / "one")

    def test_killed_and_started_again_is_complete(self, tmp_path):
        store = make_store(tmp_path / "store", 12, image_size=(64, 64))
        command = [sys.executable, "-m", "armchair", "export", "--store", store.root, "--out", tmp_path / "out",
                   "--format", "mp4"]  # fmt: skip
        process = subprocess.Popen(command, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)
        while not list((tmp_path / "out").glob("*.mp4")):
            assert process.poll() is None
            time.sleep(0.02)
        process.send_signal(signal.SIGKILL)
        process.wait()
        (tmp_path / "out" / ".fake-9.mp4.1.0a1b2c3d.tmp").write_bytes(b"hal")  # it may have been at one, or not
        subprocess.run(command, check=True, capture_output=True)
        export(ExportConfig(store.root, tmp_path / "whole", Format.MP4))
        assert tree(tmp_path / "out") == tree(tmp_path / "whole")

    @pytest.mark.parametrize(
        ("changes", "told"),
        [
            ({"query": "task_id=nothing"}, "no episode"),
            ({"rewards": "sketch"}, "say which with --task"),
            ({"rewards": "model:m9"}, "have no rewards from model:m9"),
            ({"rewards": "gold"}, "'gold' are not known"),
        ],
    )
    def test_mistakes_are_told_and_leave_nothing(self, store, tmp_path, changes, told):
        with pytest.raises(ArmchairError, match=told):
            export(ExportConfig(store.root, tmp_path / "out", Format.RLDS, **changes))
        assert not (tmp_path / "out").exists()

    def test_datasets_of_other_features_do_not_mix(self, store, tmp_path):
        store.add(testing.make_episode(50, cameras=()), "blind")
        with pytest.raises(ArmchairError, match="datasets blind and some have different"):
            export(ExportConfig(store.root, tmp_path / "out", Format.RLDS))
        assert export(ExportConfig(store.root, tmp_path / "out", Format.RLDS, query="dataset=blind")).episodes == 1


def test_what_robomimic_gets_comes_back(store, tmp_path):
    export(ExportConfig(store.root, tmp_path / "out", Format.ROBOMIMIC))
    for episode, row in zip(read_back(tmp_path / "out"), store.query(Query()), strict=True):
        ours = store.read(row)
        assert episode.num_steps == ours.num_steps
        np.testing.assert_array_equal(episode.action[:-1], ours.action[:-1])
        np.testing.assert_array_equal(episode.reward[:-1], ours.reward[:-1])
        np.testing.assert_array_equal(episode.is_terminal, ours.is_terminal)
        np.testing.assert_array_equal(episode.discount[:-1], ours.discount[:-1])
        assert episode.observation.keys() == {name.replace("/", "_") for name in ours.observation}
        for name in ("sawyer/joints/angle", "gripper/grasp"):
            np.testing.assert_array_equal(episode.observation[name.replace("/", "_")], ours.observation[name])
        assert (episode.metadata.task_id, episode.metadata.robot) == ("lift_green", "fake")
        assert episode.metadata.tags == ("valid" if row.split == "test" else "train")
