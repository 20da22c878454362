"""Our robomimic files as other people's code reads them: TFDS's builder, and robomimic's own data set."""

import dataclasses
import json
import os
import subprocess

import h5py
import numpy as np
import pytest
import tensorflow_datasets as tfds

from beam_jobs.config import ExportConfig, Format
from beam_jobs.export import export
from datasets import testing, video
from datasets.query import Query
from datasets.store import Store
from tests import environments
from tests.datasets.readers import tfds_steps

CAMERA = "pixels_front"
REQUIREMENTS = ("h5py", "numpy==1.26.4", "tqdm", "termcolor")
# Every transition as a training gets it. Of PyTorch, which is big, the data set wants the name of its base class.
READS = """
import json, sys
from unittest import mock
import numpy

torch = mock.MagicMock(Tensor=type("Tensor", (), {}))
torch.utils.data.Dataset = object
sys.modules.update({"torch": torch, "torch.nn": torch.nn, "torch.nn.functional": torch.nn.functional})
sys.modules.update({"torch.utils": torch.utils, "torch.utils.data": torch.utils.data})
from robomimic.utils import dataset, obs_utils

path, out, mask, names = *sys.argv[1:4], json.loads(sys.argv[4])
obs_utils.initialize_obs_utils_with_obs_specs({"obs": names})
transitions = dataset.SequenceDataset(
    path, [*names["low_dim"], *names["rgb"]], ("actions", "rewards", "dones", "discounts"), goal_mode="last",
    hdf5_cache_mode="low_dim", filter_by_attribute=mask,
)
read = {}
for n in range(len(transitions)):
    transition = transitions[n]
    for name in ("actions", "rewards", "dones", "discounts"):
        read.setdefault(name, []).append(transition[name][0])
    for group in ("obs", "next_obs", "goal_obs"):
        for name, value in transition[group].items():
            read.setdefault(f"{group}/{name}", []).append(value if group == "goal_obs" else value[0])
pictures = {name: numpy.array(read[f"obs/{name}"]) for name in names["rgb"]}
read.update({f"network/{name}": values for name, values in obs_utils.process_obs_dict(pictures).items()})
numpy.savez(out, **read)
"""


@pytest.fixture
def exported(tmp_path):
    """The file of nine episodes, and these as they are in the store, but with the names of the file: {demo: ...}."""
    store = Store.create(tmp_path / "store")
    for seed in range(9):
        episode = testing.make_episode(seed, 3 + seed % 4, ("front",), (24, 32), terminal=seed % 2 == 0)
        states = np.random.default_rng(seed).normal(size=(episode.num_steps, 5))  # as of a simulator
        store.add(dataclasses.replace(episode, extras={**episode.extras, "states": states}), "some")
    store.publish()
    assert export(ExportConfig(store.root, tmp_path / "out", Format.ROBOMIMIC, name="mine")).problems == ()
    episodes = {}
    for number, episode in enumerate(store.read_many(store.query(Query()))):
        observation = {name.replace("/", "_"): values for name, values in episode.observation.items()}
        observation[CAMERA] = video.decode_frames(observation[CAMERA])
        episodes[f"demo_{number}"] = dataclasses.replace(episode, observation=observation)
    return tmp_path / "out" / "mine.hdf5", episodes


def of_mask(path, mask):
    with h5py.File(path) as file:
        return [demo.decode() for demo in file[f"mask/{mask}"]]


def test_tfds_reads_what_is_in_the_store(exported, tmp_path):
    """It wants a simulator's states."""
    path, episodes = exported
    builder = tfds.builder_cls("robomimic_ph")(config="lift_ph_image", data_dir=tmp_path / "tfds")
    theirs = dict(builder._generate_examples({"file_path": path}))
    assert theirs.keys() == episodes.keys()
    for demo, episode in episodes.items():
        last, told = episode.num_steps - 1, theirs[demo]
        ours = dataclasses.replace(episode, extras={"states": episode.extras["states"]})
        assert tfds_steps.differences(ours, told["steps"]) == {
            "action": [last],  # means nothing, and is not exported
            "states": [last],
            "discount": [last - 1] if episode.is_terminal[-1] else [last],  # TFDS: 0 at the last step, whatever it is
        }
        assert told["train"] != told["valid"] == (demo in of_mask(path, "valid"))


@pytest.mark.slow
@pytest.mark.timeout(900)  # it may have to be installed first
@pytest.mark.parametrize("mask", ["train", "valid"])
def test_robomimic_reads_what_is_in_the_store(exported, tmp_path, mask):
    python = environments.commands_of("robomimic", *REQUIREMENTS, unpacked=("robomimic==0.3.0",)) / "python"
    path, episodes = exported
    chosen = [episodes[demo] for demo in of_mask(path, mask)]
    numbers = sorted(chosen[0].observation.keys() - {CAMERA})
    names = json.dumps({"low_dim": numbers, "rgb": [CAMERA]})
    environment = os.environ | {"PYTHONPATH": str(python.parent.parent)}
    subprocess.run([python, "-c", READS, path, tmp_path / "read.npz", mask, names], check=True, env=environment)
    wanted = {
        "actions": [e.action[:-1] for e in chosen],
        "rewards": [e.reward[:-1] for e in chosen],
        "dones": [e.is_terminal[1:] for e in chosen],
        "discounts": [e.discount[:-1] for e in chosen],
        f"network/{CAMERA}": [np.moveaxis(e.observation[CAMERA][:-1], -1, 1) / np.float32(255) for e in chosen],
    }
    for name in (*numbers, CAMERA):
        frames = [e.observation[name] for e in chosen]
        wanted[f"obs/{name}"], wanted[f"next_obs/{name}"] = [f[:-1] for f in frames], [f[1:] for f in frames]
        wanted[f"goal_obs/{name}"] = [np.repeat(f[-1:], len(f) - 1, 0) for f in frames]
    with np.load(tmp_path / "read.npz") as read:
        assert {*read} == wanted.keys()
        for name, parts in wanted.items():
            np.testing.assert_array_equal(read[name], np.concatenate(parts), err_msg=name)
