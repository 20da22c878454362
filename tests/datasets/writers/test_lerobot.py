import dataclasses
import functools
import itertools
import json
import os
from pathlib import Path

import av
import numpy as np
import pyarrow as pa
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from hypothesis.extra import numpy as hnp
from pyarrow import parquet

from beam_jobs import export as job
from beam_jobs.config import IngestConfig
from beam_jobs.ingest import ingest
from datasets import testing, video
from datasets.errors import ArmchairError
from datasets.features import ArraySpec, StepSpec, step_spec
from datasets.query import Query
from datasets.readers.logs import open_logs
from datasets.statistics import drawn
from datasets.store import Store
from datasets.writers import lerobot
from datasets.writers.lerobot import LerobotWriter
from datasets.writers.lerobot_features import Features
from datasets.writers.lerobot_statistics import Levels, Tally
from tests.datasets.writers.lerobot_exports import (
    CAMERAS,
    TEXTS,
    Exported,
    export_lerobot,
    make_rich,
    make_store,
    psnr,
)

QUANTILES = {"q01": 0.01, "q10": 0.1, "q50": 0.5, "q90": 0.9, "q99": 0.99}


def use_small_parts(patch):
    """Three episodes a part, so that there are several."""
    patch.setattr(job, "LerobotWriter", functools.partial(LerobotWriter, episodes_a_part=3))


@pytest.fixture
def small_parts(monkeypatch):
    use_small_parts(monkeypatch)


@pytest.fixture(scope="module")
def source(tmp_path_factory):
    """A store that stays as it is."""
    return make_store(tmp_path_factory.mktemp("source") / "store")


@pytest.fixture(scope="module")
def exported(source, tmp_path_factory):
    with pytest.MonkeyPatch.context() as patch:
        use_small_parts(patch)
        return Exported(export_lerobot(source, tmp_path_factory.mktemp("exported") / "out"))


@pytest.fixture
def store(tmp_path):
    return make_store(tmp_path / "store")


def originals(store):
    return list(store.read_many(store.query(Query())))


def read_back(path):
    (log,) = open_logs(path)
    readings = [reading for file in log.files() for reading in log.read(file)]
    assert not [problem for reading in readings for problem in reading.problems]
    return [reading.episode for reading in readings]


def tree(root):
    return {str(p.relative_to(root)): p.read_bytes() for p in sorted(root.rglob("*")) if p.is_file()}


def padded(frames):
    """Of even sizes and three channels, as videos are."""
    height, width = (size % 2 for size in frames.shape[1:3])
    frames = np.pad(frames, ((0, 0), (0, height), (0, width), (0, 0)), mode="edge")
    return np.broadcast_to(frames, (*frames.shape[:3], 3))


class TestRoundTrip:
    def test_our_reader_gives_equal_numbers(self, exported, source):
        for ours, theirs in zip(originals(source), read_back(exported.path), strict=True):
            assert theirs.num_steps == ours.num_steps - 1
            np.testing.assert_array_equal(theirs.action, ours.action[:-1])
            np.testing.assert_array_equal(theirs.reward, ours.reward[:-1])
            np.testing.assert_array_equal(theirs.is_terminal, ours.is_terminal[1:])
            for name in (
                "sawyer/joints/angle",
                "gripper/grasp",
                "objects/green/pose",
                "tactile/grid",
                "clock",
                "stage",
            ):
                array, wanted = theirs.observation[name], ours.observation[name][:-1]
                assert array.dtype == wanted.dtype and array.shape == wanted.shape
                np.testing.assert_array_equal(array, wanted, name)
            for name in ("progress", "is_success", "note"):
                np.testing.assert_array_equal(theirs.extras[name], ours.extras[name][:-1])
            texts = [text or "lift_green" for text in ours.extras["language_instruction"][:-1]]
            assert theirs.extras["language_instruction"].tolist() == texts
            for name in ("verdict", "robot", "control_rate_hz"):
                assert getattr(theirs.metadata, name) == getattr(ours.metadata, name)

    def test_pictures_come_back_above_35_decibels(self, exported, source):
        names = {"images/wrist": "pixels/wrist", "images/grey": "images/grey"}
        for ours, theirs in zip(originals(source), read_back(exported.path), strict=True):
            assert set(theirs.image_keys) == names.keys()
            for name, of in names.items():
                wanted = padded(video.decode_frames(ours.observation[of][:-1]))
                for one, other in zip(video.decode_frames(theirs.observation[name]), wanted, strict=True):
                    assert psnr(one, other) > 35

    def test_what_came_from_lerobot_goes_out_by_its_own_names(self, exported, tmp_path):
        names = {name for name, told in exported.info["features"].items() if told["dtype"] != "string"}
        ingest(IngestConfig((exported.path,), tmp_path / "again"))
        again = Exported(export_lerobot(Store.open(tmp_path / "again"), tmp_path / "other"))
        assert {n for n, told in again.info["features"].items() if told["dtype"] != "string"} == names
        assert again.info["total_frames"] == exported.info["total_frames"] - 7
        assert set(again.tasks.values()) == set(exported.tasks.values())


class TestLayout:
    """By PyArrow and PyAV alone."""

    def test_totals_and_numbers_run_through_all_parts(self, exported, source):
        lengths = [row.num_steps - 1 for row in source.query(Query())]
        starts = np.cumsum([0, *lengths]).tolist()
        info = exported.info
        assert (info["codebase_version"], info["fps"], info["robot_type"]) == ("v3.0", 10, "fake")
        assert (info["total_episodes"], info["total_frames"], info["total_tasks"]) == (7, starts[-1], 3)
        assert info["splits"] == {"train": "0:7"}
        assert len(list((exported.path / "data").rglob("*.parquet"))) == 3
        for n, episode in enumerate(exported.episodes):
            assert (episode["episode_index"], episode["length"]) == (n, lengths[n])
            assert [episode["dataset_from_index"], episode["dataset_to_index"]] == starts[n : n + 2]
            assert (episode["data/file_index"], episode["meta/episodes/file_index"]) == (n // 3, n // 3)
            table = exported.rows(episode)
            assert table["index"].to_pylist() == list(range(*starts[n : n + 2]))
            assert table["frame_index"].to_pylist() == list(range(lengths[n]))
            assert table["episode_index"].to_pylist() == [n] * lengths[n]
            np.testing.assert_allclose(table["timestamp"], np.arange(lengths[n]) / 10, rtol=1e-6)

    def test_columns_are_as_declared(self, exported):
        features = exported.info["features"]
        for episode in exported.episodes:
            table = exported.rows(episode)
            assert {*table.column_names, *CAMERAS} == features.keys()
            for name in table.column_names:
                values = np.array(table[name].to_pylist())
                shape = features[name]["shape"]
                assert values.shape == (len(table), *(shape if shape != [1] else ()))
                kind = table.schema.field(name).type
                while pa.types.is_list(kind):
                    kind = kind.value_type
                dtype = features[name]["dtype"]
                assert kind == (pa.string() if dtype == "string" else pa.from_numpy_dtype(np.dtype(dtype)))

    def test_every_frame_is_at_its_time(self, exported, source):
        for episode, ours in zip(exported.episodes, originals(source), strict=True):
            steps = dict(ours.step_fields())
            for camera, field in CAMERAS.items():
                frames = exported.frames(episode, camera)
                np.testing.assert_allclose([time for time, _ in frames], np.arange(episode["length"]) / 10, atol=1e-6)
                wanted = padded(video.decode_frames(steps[field][:-1]))
                assert exported.info["features"][camera]["shape"] == list(wanted.shape[1:])
                assert min(psnr(one, other) for (_, one), other in zip(frames, wanted, strict=True)) > 35

    def test_a_video_has_the_frames_of_its_part_alone_and_many_keys(self, exported):
        for camera in CAMERAS:
            for number in range(3):
                lengths = [e["length"] for e in exported.episodes if e["data/file_index"] == number]
                path = exported.path / f"videos/{camera}/chunk-000/file-{number:03d}.mp4"
                with av.open(os.fspath(path)) as container:
                    keys = [frame.key_frame for frame in container.decode(video=0)]
                    stream = container.streams.video[0]
                    assert stream.average_rate == 10 and stream.codec_context.name == "h264"
                assert len(keys) == sum(lengths) and keys[0]
                assert all(one or other for one, other in itertools.pairwise(keys))

    def test_tasks_are_numbered_as_they_come(self, exported, source):
        texts = [[text or "lift_green" for text in e.extras["language_instruction"][:-1]] for e in originals(source)]
        assert list(exported.tasks.values()) == list(dict.fromkeys(text for of in texts for text in of))
        assert set(exported.tasks.values()) == {*TEXTS[:2], "lift_green"}
        for episode, of in zip(exported.episodes, texts, strict=True):
            assert [exported.tasks[n] for n in exported.rows(episode)["task_index"].to_pylist()] == of
            assert episode["tasks"] == list(dict.fromkeys(of)) and len(episode["tasks"]) == 2
        pandas = json.loads(parquet.read_schema(exported.path / "meta/tasks.parquet").metadata[b"pandas"])
        assert pandas["index_columns"] == ["task"]

    def test_our_metadata_are_kept_beside_each_episode(self, exported, source):
        for episode, ours in zip(exported.episodes, originals(source), strict=True):
            assert json.loads(episode["episode_metadata"]) == dataclasses.asdict(ours.metadata)

    def test_the_state_is_what_a_policy_may_see(self, exported, source):
        declared = exported.info["features"]["observation.state"]
        assert declared["names"] == ["clock", "gripper.grasp", *(f"sawyer.joints.angle.{n}" for n in range(7))]
        for episode, ours in zip(exported.episodes, originals(source), strict=True):
            seen = [ours.observation[k].reshape(ours.num_steps, -1) for k in ("clock", "gripper/grasp")]
            wanted = np.concatenate([*seen, ours.observation["sawyer/joints/angle"]], 1)[:-1]
            np.testing.assert_array_equal(exported.rows(episode)["observation.state"].to_pylist(), np.float32(wanted))

    def test_done_is_terminal_and_success_is_the_last_row(self, exported, source):
        for episode, ours in zip(exported.episodes, originals(source), strict=True):
            table, last = exported.rows(episode), np.arange(ours.num_steps - 1) == ours.num_steps - 2
            assert table["next.done"].to_pylist() == ours.is_terminal[1:].tolist()
            assert table["next.success"].to_pylist() == (last & (ours.metadata.verdict == "success")).tolist()

    def test_success_is_left_out_where_it_is_not_known(self, store, tmp_path):
        store.add(make_rich(50, verdict="unknown"), "some")
        info = Exported(export_lerobot(store, tmp_path / "out")).info
        assert "next.success" not in info["features"] and "next.done" in info["features"]


class TestStatistics:
    def test_of_each_episode_and_of_all(self, exported, source):
        tables = [exported.rows(episode) for episode in exported.episodes]
        for name, declared in exported.info["features"].items():
            if declared["dtype"] in ("string", "video"):
                assert (name in exported.stats) == (declared["dtype"] == "video")
                continue
            values = [np.array(table[name].to_pylist(), float).reshape(-1, *declared["shape"]) for table in tables]
            self._check(exported.stats[name], np.concatenate(values))
            for episode, of in zip(exported.episodes, values, strict=True):
                if name != "task_index":
                    self._check({k: episode[f"stats/{name}/{k}"] for k in exported.stats[name]}, of)

    def test_of_pictures(self, exported, source):
        for camera, field in CAMERAS.items():
            frames = [padded(video.decode_frames(dict(e.step_fields())[field][:-1])) for e in originals(source)]
            frames = [f[:, :47, :65] for f in frames]  # what was padded does not count
            self._check_pictures(exported.stats[camera], np.concatenate(frames))
            for episode, of in zip(exported.episodes, frames, strict=True):
                told = {k: episode[f"stats/{camera}/{k}"] for k in exported.stats[camera]}
                self._check_pictures(told, of)

    def _check(self, told, values):
        assert told.keys() == {"min", "max", "mean", "std", "count", *QUANTILES}
        assert told["count"] == [len(values)]
        np.testing.assert_array_equal(told["min"], values.min(0))
        np.testing.assert_array_equal(told["max"], values.max(0))
        np.testing.assert_allclose(told["mean"], values.mean(0), rtol=1e-12)
        np.testing.assert_allclose(told["std"], values.std(0), rtol=1e-6, atol=1e-9)
        for name, q in QUANTILES.items():
            np.testing.assert_allclose(told[name], np.quantile(values, q, axis=0), rtol=1e-12)

    def _check_pictures(self, told, frames):
        assert told["count"] == [len(frames)]
        levels = frames.reshape(-1, 3) / 255
        for name, wanted in (("min", levels.min(0)), ("max", levels.max(0)), ("mean", levels.mean(0))):
            np.testing.assert_allclose(np.array(told[name]), wanted.reshape(3, 1, 1), rtol=1e-9)
        np.testing.assert_allclose(np.ravel(told["std"]), levels.std(0), rtol=1e-9, atol=1e-12)
        for name, q in QUANTILES.items():
            wanted = np.quantile(levels, q, axis=0, method="inverted_cdf")
            np.testing.assert_allclose(np.ravel(told[name]), wanted, rtol=1e-9)

    def test_of_long_episodes_every_so_many_pictures(self, tmp_path):
        store = make_store(tmp_path / "store", 2, testing.make_episode, num_steps=251, cameras=("wrist",))
        exported = Exported(export_lerobot(store, tmp_path / "out"))
        frames = [video.decode_frames(e.observation["pixels/wrist"][:-1])[::2] for e in originals(store)]
        self._check_pictures(exported.stats["observation.images.wrist"], np.concatenate(frames))
        assert exported.stats["action"]["count"] == [500]

    def test_of_many_rows_a_sample_has_the_quantiles(self, source, tmp_path, monkeypatch):
        monkeypatch.setattr(lerobot, "_SAMPLE", 12)
        exported = Exported(export_lerobot(source, tmp_path / "out"))
        episodes, rows = originals(source), exported.info["total_frames"]
        chosen = [drawn(e.metadata.episode_id, e.num_steps - 1, 12 / rows) for e in episodes]
        sample = np.concatenate([e.action[n] for e, n in zip(episodes, chosen, strict=True)])
        assert 0 < len(sample) < rows
        for name, q in QUANTILES.items():
            np.testing.assert_allclose(exported.stats["action"][name], np.quantile(sample, q, axis=0), rtol=1e-6)
        assert exported.stats["action"]["count"] == [rows]

    @given(hnp.arrays(np.uint8, st.tuples(st.integers(1, 5), st.just(3), st.just(2), st.just(3))), st.integers(0, 5))
    def test_levels_add_up(self, frames, cut):
        whole, parts = Levels.of(frames), Levels.of(frames[:cut]) + Levels.of(frames[cut:])
        assert parts.describe() == whole.describe() == Levels.from_json(whole.to_json()).describe()
        self._check_pictures(whole.describe(), frames)


_NAMES = st.from_regex(r"[a-z]{2,5}(/[a-z]{2,5})?", fullmatch=True)
_SHAPES = st.lists(st.integers(1, 3), max_size=3).map(tuple)
_DTYPES = st.sampled_from(["float32", "float64", "int64", "int32", "uint8", "bool"])


@given(
    st.dictionaries(
        st.from_regex(r"[a-z]{2,5}(/[a-z]{2,5})?", fullmatch=True), st.tuples(_DTYPES, _SHAPES), max_size=4
    ),
    st.integers(2, 5),
    st.integers(0, 2**31),
)
@settings(max_examples=25)
def test_any_numbers_lie_in_a_table_as_declared(fields, num_steps, seed):
    rng = np.random.default_rng(seed)
    observation = {
        name: rng.integers(0, 2, (num_steps, *shape)).astype(dtype)
        for name, (dtype, shape) in fields.items()
        if not (dtype == "uint8" and len(shape) == 3)  # that is a picture
    }
    episode = testing.make_episode(seed % 1000, num_steps, cameras=(), action_size=1 + seed % 8)
    episode = dataclasses.replace(episode, observation={**observation, "x": np.zeros((num_steps, 2), np.float32)})
    features = Features(step_spec(episode), judged=True)
    declared, table = features.declare(10), features.table(episode, 3, 100)
    assert declared.keys() == {*table.column_names, "task_index"}
    for name, field in features.fields.items():
        wanted = dict(episode.step_fields())[field][:-1]
        assert declared[name]["dtype"] == wanted.dtype.name
        got = np.array(table[name].to_pylist(), wanted.dtype).reshape(-1, *declared[name]["shape"])
        np.testing.assert_array_equal(got.reshape(wanted.shape), wanted)
    whole, halves = Tally(declared), Tally(declared)
    whole.add(table)
    halves.add(table.slice(0, 1))
    if len(table) > 1:
        halves.add(table.slice(1))
    for name, told in whole.describe().items():
        for statistic, values in halves.describe()[name].items():
            np.testing.assert_allclose(values, told[statistic], rtol=1e-9, atol=1e-12)


class TestJob:
    def test_a_stopped_one_goes_on_and_is_the_same(self, store, tmp_path, small_parts, monkeypatch):
        whole = export_lerobot(store, tmp_path / "whole")
        write, finish = LerobotWriter.write, LerobotWriter.finish

        def stop_writing(self, out, part, parts, episodes):
            if part.number == 1:
                for _ in zip(range(2), episodes, strict=False):
                    pass
                raise RuntimeError("pulled the plug")
            return write(self, out, part, parts, episodes)

        def stop_finishing(self, out, parts, facts):
            finish(self, out, parts, facts)  # so it is done a second time to files that are finished
            raise RuntimeError("pulled the plug again")

        monkeypatch.setattr(LerobotWriter, "write", stop_writing)
        with pytest.raises(RuntimeError, match="plug"):
            export_lerobot(store, tmp_path / "out")
        there = {p: p.stat().st_mtime_ns for p in (tmp_path / "out").rglob("*.mp4")}
        assert there and not list((tmp_path / "out").rglob("*.tmp"))
        monkeypatch.setattr(LerobotWriter, "write", write)
        monkeypatch.setattr(LerobotWriter, "finish", stop_finishing)
        with pytest.raises(RuntimeError, match="again"):
            export_lerobot(store, tmp_path / "out")
        monkeypatch.setattr(LerobotWriter, "finish", finish)
        export_lerobot(store, tmp_path / "out")
        assert tree(tmp_path / "out") == tree(whole)
        assert {p: p.stat().st_mtime_ns for p in there} == there

    def test_parts_do_not_change_what_is_told(self, exported, source, tmp_path):
        several, one = exported, Exported(export_lerobot(source, tmp_path / "one"))
        assert several.info == one.info and several.tasks == one.tasks
        for ours, theirs in zip(several.episodes, one.episodes, strict=True):
            assert several.rows(ours) == one.rows(theirs)
        for name, told in one.stats.items():
            for statistic, values in told.items():
                np.testing.assert_allclose(several.stats[name][statistic], values, rtol=1e-9)

    def test_without_cameras_or_texts(self, tmp_path):
        store = make_store(tmp_path / "store", 2, testing.make_episode, cameras=())
        exported = Exported(export_lerobot(store, tmp_path / "out"))
        assert exported.info["video_path"] is None and not (tmp_path / "out" / "videos").exists()
        assert exported.tasks == {0: "lift_green"}
        assert [e.num_steps for e in read_back(tmp_path / "out")] == [4, 4]

    def test_a_rate_that_is_no_whole_number(self, tmp_path):
        store = make_store(tmp_path / "store", 3, control_rate_hz=12.5, num_steps=30)
        exported = Exported(export_lerobot(store, tmp_path / "out"))
        assert exported.info["fps"] == 12.5
        for episode in exported.episodes:
            for camera in CAMERAS:
                times = [time for time, _ in exported.frames(episode, camera)]
                np.testing.assert_allclose(times, np.arange(29) / 12.5, atol=1e-4)


class TestMistakes:
    @pytest.mark.parametrize(
        ("change", "told"),
        [
            ({"num_steps": 1}, "1 episodes have no transition, fake-99 for one: add min_steps=2"),
            ({"control_rate_hz": 5.0}, r"have 5 \(fake-99\) and 10 \(fake-6\) steps a second"),
        ],
    )
    def test_episodes_that_do_not_fit(self, store, tmp_path, change, told):
        store.add(make_rich(99, **change), "some")
        with pytest.raises(ArmchairError, match=told):
            export_lerobot(store, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    @pytest.mark.parametrize(
        ("observation", "told"),
        [
            ({"a/b": np.zeros(5), "a.b": np.zeros(5)}, "'observation/a.b' and 'observation/a/b' would both be called"),
            (
                {"pixels/a": video.encode_jpeg(np.ones((5, 8, 8, 3), np.uint8))} | {"images/a": video.encode_jpeg(
                    np.ones((5, 8, 8, 3), np.uint8))},
                "would both be called 'observation.images.a': rename one by a mapping",
            ),
        ],
    )  # fmt: skip
    def test_names_that_would_be_one(self, tmp_path, observation, told):
        store = Store.create(tmp_path / "store")
        store.add(dataclasses.replace(testing.make_episode(0), observation=observation), "some")
        with pytest.raises(ArmchairError, match=told):
            export_lerobot(store, tmp_path / "out")
        assert not (tmp_path / "out").exists()

    def test_pictures_that_no_video_holds(self):
        spec = StepSpec({"pixels/four": ArraySpec((8, 8, 4), "uint8")}, ArraySpec((7,), "float32"))
        with pytest.raises(ArmchairError, match="observation/pixels/four has pictures of 4 channels"):
            LerobotWriter(spec, judged=True).check([])


def test_real_bridge(tmp_path):
    if "ARMCHAIR_REAL_DATA" not in os.environ:
        pytest.skip("real recordings are read only where ARMCHAIR_REAL_DATA says where they are")
    real = Path(os.environ["ARMCHAIR_REAL_DATA"])
    ingest(IngestConfig((real / "octo_bridge_debug",), tmp_path / "store"))
    store = Store.open(tmp_path / "store")
    exported = Exported(export_lerobot(store, tmp_path / "out"))
    rows = store.query(Query())
    assert exported.info["total_frames"] == sum(row.num_steps - 1 for row in rows) and len(exported.tasks) > 1
    for episode, ours, theirs in zip(exported.episodes, originals(store), read_back(exported.path), strict=True):
        np.testing.assert_array_equal(theirs.observation["state"], ours.observation["state"][:-1])
        np.testing.assert_array_equal(theirs.action, ours.action[:-1])
        assert theirs.extras["language_instruction"].tolist() == ours.extras["language_instruction"][:-1].tolist()
        frames = np.stack([pixels for _, pixels in exported.frames(episode, "observation.images.image_0")])
        assert (
            psnr(frames, video.decode_frames(ours.observation["image_0"][:-1])) > 30
        )  # 64x64, so that half the colours are lost
    reference = json.loads((real / "lerobot_v30_apple_storage/meta/info.json").read_text())
    assert reference.keys() <= exported.info.keys()
    there = set(parquet.read_schema(real / "lerobot_v30_apple_storage/meta/episodes/chunk-000/file-000.parquet").names)
    named = {name.replace("observation.image/", "observation.images.image_0/") for name in there}
    assert {name for name in named if not name.startswith("stats/task_index")} <= exported.episodes[0].keys()
