import json
import os
import pickle
from pathlib import Path

import h5py
import numpy as np
import pytest
import tensorflow as tf
import tensorflow_datasets as tfds
from hypothesis import given, settings
from hypothesis import strategies as st

from beam_jobs.config import IngestConfig
from beam_jobs.ingest import ingest
from datasets import validate, video
from datasets.query import Query
from datasets.readers.base import Defaults
from datasets.readers.logs import open_logs
from datasets.store import Store
from tests.datasets.readers import tfds_steps

_ENV = {"env_name": "Lift", "type": 1, "env_kwargs": {"robots": ["Panda"], "control_freq": 20}}


def _demo(seed, num=4, image=False):
    """Arrays of a demonstration of so many actions, and all its frames, one more."""
    rng = np.random.default_rng(seed)
    frames = {"eef": rng.normal(size=(num + 1, 3)), "gripper/qpos": rng.normal(size=(num + 1, 2)).astype(np.float32)}
    if image:
        frames["agentview_image"] = np.repeat(rng.integers(0, 255, (num + 1, 1, 1, 3), np.uint8), 16, 1).repeat(16, 2)
    arrays = {"actions": rng.uniform(-1, 1, (num, 7)), "rewards": rng.random(num), "states": rng.normal(size=(num, 9))}
    arrays["dones"] = (np.arange(num) == num - 1).astype(np.int64)
    return arrays, frames


def _fill(group, arrays, frames, with_next=True):
    for name, values in arrays.items():
        group[name] = values
    for name, values in frames.items():
        group[f"obs/{name}"] = values[:-1]
        if with_next:
            group[f"next_obs/{name}"] = values[1:]
    group.attrs["num_samples"] = len(arrays["actions"])


def _write(path: Path, demos, env_args=_ENV, with_next=True) -> Path:
    path.parent.mkdir(parents=True, exist_ok=True)
    with h5py.File(path, "w") as file:
        data = file.create_group("data")
        data.attrs["env_args"] = json.dumps(env_args, indent=4)
        for name, (arrays, frames) in demos.items():
            _fill(data.create_group(name), arrays, frames, with_next)
    return path


def _log(path, defaults=None):
    (log,) = open_logs(path, *([defaults] if defaults else []))
    return log


def _readings(path):
    log = _log(path)
    return [reading for file in log.files() for reading in log.read(file)]


def _episodes(path):
    readings = _readings(path)
    assert [reading.problems for reading in readings] == [()] * len(readings)
    for reading in readings:
        assert not validate.validate(reading.episode).errors
    return [reading.episode for reading in readings]


@settings(max_examples=20, deadline=None)
@given(num=st.integers(1, 9), seed=st.integers(0, 99), with_next=st.booleans(), done=st.booleans())
def test_every_number_comes_back(tmp_path_factory, num, seed, with_next, done):
    arrays, frames = _demo(seed, num)
    arrays["dones"][-1] = done
    path = tmp_path_factory.mktemp("log")
    _write(path / "low_dim.hdf5", {"demo_0": (arrays, frames)}, with_next=with_next)
    (episode,) = _episodes(path)
    assert episode.num_steps == num + with_next
    assert sorted(episode.observation) == ["eef", "gripper/qpos"]
    for name, values in episode.observation.items():
        np.testing.assert_array_equal(values, frames[name][: num + with_next])
        assert values.dtype == frames[name].dtype
    np.testing.assert_array_equal(episode.action[:num], arrays["actions"].astype(np.float32))
    np.testing.assert_array_equal(episode.reward[:num], arrays["rewards"].astype(np.float32))
    np.testing.assert_array_equal(episode.extras["states"][:num], arrays["states"])
    assert list(episode.extras) == ["states"]
    terminal = done and with_next
    assert episode.is_terminal[-1] == terminal and (episode.discount[num - 1] == 0) == terminal
    assert (episode.discount[: num - 1] == 1).all()
    if with_next:
        assert not episode.action[-1].any() and episode.reward[-1] == 0
        np.testing.assert_array_equal(episode.extras["states"][-1], arrays["states"][-1])
    assert ("The outcome of the last action was not there" in episode.metadata.repairs) == (not with_next)
    assert ("It was called terminal" in episode.metadata.repairs) == (done and not with_next)
    assert ("states had no value for the last step" in episode.metadata.repairs) == with_next


def test_tfds_reads_the_same(tmp_path):
    """But for what is after the last action, for discounts, and for what is done before the end."""
    demos = {f"demo_{n}": _demo(n, num=3 + n, image=True) for n in range(4)}
    for _, frames in demos.values():
        frames["gripper_qpos"] = frames.pop("gripper/qpos")  # TFDS has no groups in groups
    demos["demo_1"][0]["dones"][-1] = 0
    demos["demo_2"][0]["dones"][1] = 1
    path = _write(tmp_path / "log" / "image.hdf5", demos)
    with h5py.File(path, "a") as file:
        file["mask/train"], file["mask/valid"] = np.array([b"demo_1", b"demo_2"]), np.array([b"demo_0"])
    builder = tfds.builder_cls("robomimic_ph")(config="lift_ph_image", data_dir=tmp_path / "tfds")
    theirs = dict(builder._generate_examples({"file_path": path}))
    for n, episode in enumerate(_episodes(tmp_path / "log")):
        told, last = theirs[f"demo_{n}"], 3 + n
        steps, pictures = told["steps"], told["steps"]["observation"].pop("agentview_image")
        shown = video.decode_frames(episode.observation.pop("agentview_image")).astype(int)
        np.testing.assert_allclose(shown, pictures, atol=3)  # ours became JPEG
        assert tfds_steps.differences(episode, steps) == {
            "states": [last],  # TFDS: 0; ours: as before
            "discount": [last] if n == 1 else [last - 1],  # TFDS: 0 at the last step, never for what leads to it
            **({"is_terminal": [2]} if n == 2 else {}),  # TFDS: whenever dones says so; ours: at the end only
        }
        assert {*episode.metadata.tags.split(",")} - {""} == {m for m in ("train", "valid") if told[m]}


def test_metadata_and_masks(tmp_path):
    demos = {f"demo_{n}": _demo(n) for n in (1, 10, 9, 2)}
    path = _write(tmp_path / "low_dim_v141.hdf5", demos)
    with h5py.File(path, "a") as file:
        file["mask/train"] = np.array([b"demo_1", b"demo_10"])
        file["mask/20_percent"] = np.array([b"demo_10"])
        file["data"].attrs["total"] = 16
        file["data/demo_9"].attrs["model_file"] = "<mujoco>" + "x" * 100_000 + "</mujoco>"
    log = _log(tmp_path, Defaults("tidy", "widowx", control_rate_hz=5))
    assert log.name == "robomimic_Lift_Panda_low_dim_v141" and log.count(path) == 4
    readings = list(log.read(path))
    assert [reading.where.partition("#")[2] for reading in readings] == ["demo_1", "demo_2", "demo_9", "demo_10"]
    told = [reading.episode.metadata for reading in readings]
    for one in told:  # what the log says counts
        assert (one.task_id, one.robot, one.control_rate_hz) == ("Lift", "Panda", 20)
        assert one.source.startswith(str(path)) and "total=16" in one.source and "num_samples=4" in one.source
    assert [one.tags for one in told] == ["train", "", "", "20_percent,train"]
    assert "model_file stays in the log (100,017 characters)" in told[2].repairs and len(told[2].source) < 1000
    assert len({one.episode_id for one in told}) == 4


def test_defaults_fill_what_is_not_told(tmp_path):
    _write(tmp_path / "demo.h5", {"demo_0": _demo(0)}, env_args={"env_name": ""})
    log = _log(tmp_path, Defaults("tidy", "widowx", control_rate_hz=5))
    (reading,) = log.read(log.files()[0])
    said = reading.episode.metadata
    assert (said.task_id, said.robot, said.control_rate_hz) == ("tidy", "widowx", 5)
    assert log.name == "robomimic_demo"


def test_pictures_become_jpeg_and_are_not_kept_twice(tmp_path):
    arrays, frames = _demo(0, image=True)
    frames["chw_image"] = np.moveaxis(frames["agentview_image"], -1, 1)
    frames["stack_image"] = np.concatenate([frames["agentview_image"]] * 2, axis=-1)
    _write(tmp_path / "image.hdf5", {"demo_0": (arrays, frames)})
    (reading,) = _readings(tmp_path)
    episode = reading.episode
    assert episode.image_keys == ("agentview_image", "chw_image")
    for name in episode.image_keys:
        for t in range(5):
            picture = tf.io.decode_jpeg(episode.observation[name][t]).numpy()
            np.testing.assert_allclose(picture, frames["agentview_image"][t], atol=3)
    assert "agentview_image was raw pixels and is now JPEG." in episode.metadata.repairs
    assert sorted(episode.observation) == ["agentview_image", "chw_image", "eef", "gripper/qpos"]
    assert [p.split(" of ")[0] for p in reading.problems] == ["obs/stack_image", "next_obs/stack_image"]


def test_next_obs_that_is_not_the_next_frame_is_said(tmp_path):
    path = _write(tmp_path / "x.hdf5", {"demo_0": _demo(0)})
    with h5py.File(path, "a") as file:
        file["data/demo_0/next_obs/eef"][1] = 7
        file["data/demo_0/dones"][1] = 1
    (episode,) = _episodes(tmp_path)
    assert "next_obs of eef was not the next frame at 1 steps" in episode.metadata.repairs
    assert "dones was set at 1 steps before the last" in episode.metadata.repairs and episode.is_terminal[-1]


def test_next_obs_that_lacks_something_is_not_used(tmp_path):
    path = _write(tmp_path / "x.hdf5", {"demo_0": _demo(0)})
    with h5py.File(path, "a") as file:
        del file["data/demo_0/next_obs/eef"]
        file["data/demo_0/next_obs/other"] = np.zeros(4)
    (reading,) = _readings(tmp_path)
    assert reading.episode.num_steps == 4 and "next_obs has no eef" in reading.episode.metadata.repairs
    assert len(reading.problems) == 1 and "next_obs/other" in reading.problems[0]


def test_what_cannot_be_kept_is_named_and_what_can_is_kept(tmp_path):
    path = _write(tmp_path / "x.hdf5", {"demo_0": _demo(0)})
    with h5py.File(path, "a") as file:
        demo = file["data/demo_0"]
        demo["note"] = np.array(["grüße", "b", "c", "d"], h5py.string_dtype())
        demo["big_endian"] = np.arange(4, dtype=">f4")
        demo["flags"] = np.array([True, False, True, False])
        demo["camera"] = np.eye(3)
        demo["reward"] = np.zeros(4)
        demo["complex"] = np.zeros(4, complex)
        demo["scalar"] = 3
        demo["width"] = np.zeros((4, 0))
    (reading,) = _readings(tmp_path)
    extras = reading.episode.extras
    assert sorted(extras) == ["big_endian", "flags", "note", "states"]
    assert list(extras["note"]) == ["grüße", "b", "c", "d", "d"] and extras["big_endian"].dtype == np.float32
    np.testing.assert_array_equal(extras["big_endian"], [0, 1, 2, 3, 3])
    assert "width holds nothing" in reading.episode.metadata.repairs
    assert sorted(p.split(" of ")[0] for p in reading.problems) == ["camera", "complex", "reward", "scalar"]
    summary = ingest(IngestConfig((tmp_path,), tmp_path / "store"))
    assert (summary.added, len(summary.problems)) == (1, 4)
    (row,) = Store.open(tmp_path / "store").query(Query())
    stored = Store.open(tmp_path / "store").read(row.episode_id)
    np.testing.assert_array_equal(stored.extras["big_endian"], extras["big_endian"])
    assert list(stored.extras["note"]) == list(extras["note"])


def _truncated_array(demo, name):
    values = demo[name][:-1]
    del demo[name]
    demo[name] = values


@pytest.mark.parametrize(
    ("damage", "problem"),
    [
        (lambda demo: demo.pop("actions"), "no action of real numbers"),
        (lambda demo: (demo.pop("obs"), demo.pop("states")), "no observations"),
        (lambda demo: _truncated_array(demo, "actions"), "has 4 steps of eef instead of 3"),
        (lambda demo: _truncated_array(demo, "rewards"), "has 3 steps of rewards instead of 4"),
        (lambda demo: _truncated_array(demo, "dones"), "has 3 steps of dones instead of 4"),
        (lambda demo: _truncated_array(demo, "obs/eef"), "has 3 steps of eef instead of 4"),
        (lambda demo: _truncated_array(demo, "next_obs/eef"), "has 3 steps of next_obs/eef instead of 4"),
        (lambda demo: demo.clear(), "no action"),
        (lambda demo: demo.update(actions=np.zeros((0, 7))) if demo.pop("actions") else None, "without steps"),
        (lambda demo: demo.update(actions=np.zeros((4, 1), int)) if demo.pop("actions") else None, "action int64[1]"),
        (lambda demo: demo.update(link=h5py.SoftLink("/nowhere")), "cannot be read"),
        (lambda demo: demo.update(itself=h5py.SoftLink(demo.name)), "holds itself"),
    ],
)
def test_a_bad_demonstration_costs_only_itself(tmp_path, damage, problem):
    path = _write(tmp_path / "x.hdf5", {f"demo_{n}": _demo(n) for n in range(3)})
    with h5py.File(path, "a") as file:
        damage(file["data/demo_1"])
    one, bad, other = _readings(tmp_path)
    assert one.episode and other.episode and bad.episode is None
    assert problem in bad.problems[0] and f"{path}#demo_1" in bad.problems[0]
    assert _log(tmp_path).count(path) == 3


def test_names_without_numbers_and_things_that_are_no_demonstrations(tmp_path):
    path = _write(tmp_path / "x.hdf5", {"extra": _demo(0), "demo_10": _demo(1), "demo_9": _demo(2)})
    with h5py.File(path, "a") as file:
        file["data/array"] = np.zeros(3)
    readings = _readings(tmp_path)
    assert [r.where.partition("#")[2] for r in readings] == ["demo_9", "demo_10", "array", "extra"]
    assert [r.episode is None for r in readings] == [False, False, True, False]
    assert "array is no group" in readings[2].problems[0]


def test_a_chunk_that_is_damaged(tmp_path):
    arrays, frames = _demo(0, 50)
    path = _write(tmp_path / "x.hdf5", {"demo_0": (arrays, frames), "demo_1": _demo(1)})
    with h5py.File(path, "a") as file:
        del file["data/demo_0/obs/eef"]
        dataset = file.create_dataset(
            "data/demo_0/obs/eef", data=frames["eef"][:-1], chunks=(50, 3), compression="gzip"
        )
        place = dataset.id.get_chunk_info(0).byte_offset
    content = bytearray(path.read_bytes())
    content[place + 40 : place + 80] = b"\0" * 40
    path.write_bytes(content)
    bad, good = _readings(tmp_path)
    assert bad.episode is None and "obs/eef cannot be read" in bad.problems[0] and good.episode


def test_a_damaged_mask_costs_the_tags_only(tmp_path):
    path = _write(tmp_path / "x.hdf5", {"demo_0": _demo(0)})
    with h5py.File(path, "a") as file:
        file["mask/train"] = h5py.SoftLink("/nowhere")
    (reading,) = _readings(tmp_path)
    assert reading.episode and "tags are left out" in reading.problems[0]


def test_nan_is_refused_by_the_store_and_the_others_are_taken(tmp_path):
    demos = {f"demo_{n}": _demo(n, image=True) for n in range(3)}
    demos["demo_1"][1]["eef"][2] = np.nan
    _write(tmp_path / "log/x.hdf5", demos)
    summary = ingest(IngestConfig((tmp_path / "log",), tmp_path / "store"))
    assert (summary.added, summary.quarantined) == (2, 1) and "eef: is NaN" in summary.problems[0][1]
    again = ingest(IngestConfig((tmp_path / "log",), tmp_path / "store"))
    assert (again.added, again.duplicates) == (0, 2)
    store = Store.open(tmp_path / "store")
    assert store.datasets() == ("robomimic_Lift_Panda_x",) and store.verify() == []


def test_a_log_can_be_sent_to_a_worker_and_holds_no_file_open(tmp_path):
    path = _write(tmp_path / "x.hdf5", {"demo_0": _demo(0)})
    log = pickle.loads(pickle.dumps(_log(tmp_path)))
    (reading,) = log.read(path)
    assert reading.episode.num_steps == 5
    with h5py.File(path, "a") as file:  # which HDF5's lock would forbid
        file["mark"] = 1


def test_robosuite_states_stand_for_observations(tmp_path):
    with h5py.File(tmp_path / "demo.hdf5", "w") as file:
        data = file.create_group("data")
        data.attrs.update(env="SawyerLift", repository_version="0.1.0")
        demo = data.create_group("demo_1")
        demo.attrs["model_file"] = "model_1.xml"
        rng = np.random.default_rng(0)
        parts = {"right_dpos": 3, "right_dquat": 4, "left_dpos": 0, "left_dquat": 0, "gripper_actuations": 1}
        for name, width in {**parts, "joint_velocities": 7}.items():
            demo[name] = rng.normal(size=(6, width))
        states = rng.normal(size=(6, 5))
        states[:, 0] = 0.05 * np.arange(1, 7)
        demo["states"] = states
        wanted = np.concatenate([demo[name] for name in ("right_dpos", "right_dquat", "gripper_actuations")], 1)
    assert _log(tmp_path).name == "robosuite_SawyerLift_demo"
    (episode,) = _episodes(tmp_path)
    np.testing.assert_array_equal(episode.action, wanted.astype(np.float32))
    assert list(episode.observation) == ["states"] and list(episode.extras) == ["joint_velocities"]
    said = episode.metadata
    assert (said.task_id, said.robot, said.control_rate_hz) == ("SawyerLift", "", 20)
    assert "right_dpos float64[3], right_dquat float64[4], gripper_actuations float64[1]" in said.repairs
    assert "states stand for them" in said.repairs and "model_file=model_1.xml" in said.source


@pytest.fixture
def real():
    if "ARMCHAIR_REAL_DATA" not in os.environ:
        pytest.skip("real recordings are read only where ARMCHAIR_REAL_DATA says where they are")
    return Path(os.environ["ARMCHAIR_REAL_DATA"]) / "robosuite_demos"


@pytest.mark.parametrize(
    ("folder", "name", "parts", "extra", "rate"),
    [
        (
            "SawyerLift", "robosuite_SawyerLift_demo", ("right_dpos", "right_dquat", "gripper_actuations"),
            "joint_velocities", 90,
        ),
        ("lift/panda", "robosuite_Lift_Panda_demo", ("actions",), "joint_torques", 20),
        ("door/panda", "robosuite_Door_Panda_demo", ("actions",), "joint_torques", 20),
    ],
)  # fmt: skip
def test_real_demonstrations_equal_what_plain_h5py_reads(real, tmp_path, folder, name, parts, extra, rate):
    log = _log(real / folder)
    assert log.name == name
    summary = ingest(IngestConfig((real / folder,), tmp_path / "store"))
    assert (summary.quarantined, summary.problems) == (0, ())
    store = Store.open(tmp_path / "store")
    assert store.datasets() == (name,)
    stored = {e.metadata.source.partition(";")[0]: e for e in store.read_many(store.query(Query()))}
    with h5py.File(real / folder / "demo.hdf5") as file:
        assert len(stored) == summary.added == len(file["data"]) == log.count(log.files()[0])
        for demo, group in file["data"].items():
            episode = stored[f"{real / folder}/demo.hdf5#{demo}"]
            np.testing.assert_array_equal(episode.observation["states"], group["states"][:])
            np.testing.assert_array_equal(
                episode.action, np.concatenate([group[part][:] for part in parts], 1).astype(np.float32)
            )
            np.testing.assert_array_equal(episode.extras[extra], group[extra][:])
            assert episode.metadata.control_rate_hz == pytest.approx(rate, abs=2)
            assert f"model_file={group.attrs['model_file']}" in episode.metadata.source
            assert not episode.is_terminal.any() and (episode.discount == 1).all()
