"""Logs of real robots go out in another format, which a plain reader compares with the files that they came from."""

import dataclasses
import itertools
import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path

import av
import h5py
import numpy as np
import pytest
import tensorflow_datasets as tfds
from PIL import Image
from pyarrow import parquet

from beam_jobs.config import ExportConfig, Format, IngestConfig
from beam_jobs.export import export
from beam_jobs.ingest import ingest
from datasets.readers.base import Defaults
from tests.datasets.writers.lerobot_exports import Exported, psnr

pytestmark = [pytest.mark.slow, pytest.mark.timeout(600)]  # videos take a minute on a busy machine


def same_as_in_robosuite(source: Path, out: Path) -> None:
    """By plain h5py."""
    with h5py.File(source / "demo.hdf5") as theirs, h5py.File(out / "armchair.hdf5") as ours:
        environment = json.loads(ours["data"].attrs["env_args"])
        assert environment["env_name"] == "Lift" and environment["env_kwargs"]["robots"] == ["Panda"]
        assert len(ours["data"]) == len(theirs["data"])
        assert sum(map(len, (ours["mask/train"], ours["mask/valid"]))) == len(theirs["data"])
        came_from = {
            json.loads(g.attrs["episode_metadata"])["source"].partition(";")[0]: g for g in ours["data"].values()
        }
        for demo, wanted in theirs["data"].items():
            got = came_from[f"{source}/demo.hdf5#{demo}"]
            np.testing.assert_array_equal(got["obs/states"], wanted["states"][:-1])
            np.testing.assert_array_equal(got["next_obs/states"], wanted["states"][1:])
            np.testing.assert_array_equal(got["actions"], wanted["actions"][:-1].astype(np.float32))
            np.testing.assert_array_equal(got["extras/joint_torques"], wanted["joint_torques"][:-1])
            assert got.attrs["num_samples"] == len(wanted["actions"]) - 1


def same_as_in_version_2_0(source: Path, out: Path) -> None:
    """By plain PyArrow and PyAV: all numbers, and every 100th picture of the first camera."""
    source, exported = source / "robot_sim.PickNPlace", Exported(out)
    assert (exported.info["fps"], exported.info["robot_type"]) == (20, "GR1ArmsOnly")
    told = [json.loads(line) for line in (source / "meta/episodes.jsonl").read_text().splitlines()]
    tables = [parquet.read_table(source / f"data/chunk-000/episode_{n:06d}.parquet") for n in range(len(told))]
    starts = {str(table["observation.state"][0].as_py()): n for n, table in enumerate(tables)}
    for episode in exported.episodes:
        table = exported.rows(episode)
        number = starts.pop(str(table["observation.state"][0].as_py()))
        wanted = tables[number].slice(0, len(tables[number]) - 1)
        for name in ("observation.state", "next.reward", "annotation.human.validity"):
            assert table[name].to_pylist() == wanted[name].to_pylist()
        np.testing.assert_array_equal(table["action"].to_pylist(), np.float32(wanted["action"].to_pylist()))
        assert {exported.tasks[n] for n in table["task_index"].to_pylist()} == {told[number]["tasks"][0]}
        with av.open(
            os.fspath(source / f"videos/chunk-000/observation.images.ego_view/episode_{number:06d}.mp4")
        ) as file:
            shown = [frame.to_ndarray(format="rgb24") for frame in itertools.islice(file.decode(video=0), 0, None, 100)]
        frames = [pixels for _, pixels in exported.frames(episode, "observation.images.ego_view")]
        assert len(frames) == len(wanted)
        assert all(psnr(one, other) > 30 for one, other in zip(frames[::100], shown, strict=False))
    assert starts.keys() and len(exported.episodes) == 2


def same_as_in_bridge(source: Path, out: Path) -> None:
    """By plain TFDS."""

    def read(path):
        examples = tfds.builder_from_directory(os.fspath(path)).as_dataset("train")
        steps = [list(example["steps"].as_numpy_iterator()) for example in examples]
        return {np.stack([s["action"] for s in episode]).tobytes(): episode for episode in steps}

    theirs, ours = read(source / "bridge_dataset/1.0.0"), read(out)
    assert theirs.keys() == ours.keys() and len(ours) == 25
    for action, episode in theirs.items():
        for step, got in zip(episode, ours[action], strict=True):
            for name in ("image_0", "image_1", "image_2", "state"):
                np.testing.assert_array_equal(got["observation"][name], step["observation"][name])
            assert got["language_instruction"] == step["language_instruction"]


def same_as_in_sketchy(source: Path, out: Path) -> None:
    """By PyAV: the first camera of the first frame, as the picture that is published beside the log."""
    (path,) = out.glob("*.mp4")
    with av.open(os.fspath(path)) as container:
        frames = [frame.to_ndarray(format="rgb24") for frame in container.decode(video=0)]
    assert len(frames) == 4
    published = Image.open(source / "step0_basket_back_left.jpg")
    height, width = 480, round(published.width * 480 / published.height)
    wanted = np.asarray(published.convert("RGB").resize((width, height), Image.Resampling.LANCZOS))
    assert frames[0].shape[0] == height
    assert psnr(frames[0][30:, :width], wanted[30:]) > 30  # under its caption


@dataclasses.dataclass(frozen=True)
class Case:
    folder: str  # of the real recordings
    format: Format
    check: Callable[[Path, Path], None]  # of source and export
    query: str = ""


CASES = (
    Case("robosuite_demos/lift/panda", Format.ROBOMIMIC, same_as_in_robosuite),
    Case("lerobot_v20_gr00t", Format.LEROBOT, same_as_in_version_2_0, "limit=2"),
    Case("octo_bridge_debug", Format.RLDS, same_as_in_bridge),
    Case("sketchy", Format.MP4, same_as_in_sketchy),
)


@pytest.mark.parametrize("case", CASES, ids=lambda case: f"{case.folder.partition('/')[0]}-{case.format}")
def test_a_real_log_goes_out_in_another_format(real, tmp_path, case):
    source = log = real / case.folder
    if case.folder == "sketchy":  # whose files are called by their episode
        log = tmp_path / "sketchy"
        log.mkdir()
        name = "10000313341320364033_b615a417-ce34-41a8-8411-2a1ce3f3bd07"
        shutil.copyfile(source / "example_data.tfrecords", log / name)
    summary = ingest(IngestConfig((log,), tmp_path / "store", defaults=Defaults("task")))
    assert summary.added and not summary.quarantined
    written = export(ExportConfig(tmp_path / "store", tmp_path / "out", case.format, case.query))
    assert written.episodes and not written.problems
    case.check(source, tmp_path / "out")
