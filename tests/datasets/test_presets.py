"""Presets choose observations by what they are."""

import dm_env.specs
import numpy as np
import pytest

from datasets.errors import SpecMismatchError
from datasets.features import ArraySpec, step_spec
from datasets.presets import ObservationPreset, select
from datasets.testing import make_episode

SPECS = {
    "sawyer/joints/angle": ArraySpec((7,), "float32"),
    "gripper/grasp": ArraySpec((1,), "int64"),
    "objects/green/pose": ArraySpec((7,), "float32"),
    "pixels/wrist": ArraySpec((64, 64, 3), "uint8"),
    "pixels/royale_camera_driver_depth": ArraySpec((171, 224, 1), "float32"),
    "their/objects/pose": ArraySpec((), "float64"),
    "instruction": ArraySpec((), "str"),
}


@pytest.mark.parametrize(
    ("preset", "names"),
    [
        ("states", ("gripper/grasp", "objects/green/pose", "sawyer/joints/angle", "their/objects/pose")),
        ("proprio", ("gripper/grasp", "sawyer/joints/angle", "their/objects/pose")),
        ("pixels", ("gripper/grasp", "pixels/wrist", "sawyer/joints/angle", "their/objects/pose")),
    ],
)
def test_select(preset, names):
    assert select(SPECS, ObservationPreset(preset)) == names


def test_environment_specs_and_datasets_agree():
    episode = make_episode(0, cameras=("wrist",))
    stored = step_spec(episode).observation
    environment = {k: dm_env.specs.Array(v.shape, np.dtype(v.dtype), name=k) for k, v in stored.items()}
    for preset in ObservationPreset:
        assert select(stored, preset) == select(environment, preset)


def test_what_is_left_out_is_left_out_by_the_beginning_of_its_name():
    specs = {name: ArraySpec((3,), "float32") for name in ("arm/angle", "arm/torque", "wrist/force")}
    assert select(specs, ObservationPreset.STATES, without=("arm/t", "wrist")) == ("arm/angle",)
    with pytest.raises(SpecMismatchError, match="no states observation begins with 'leg': leave out some of arm/angle"):
        select(specs, ObservationPreset.STATES, without=("leg",))
