"""The cell's observation: one spec for all tasks, written into one array a step."""

import math
from collections.abc import Sequence

import mujoco
import numpy as np
from dm_env import specs

from datasets import schema
from robot.cell import arm as arm_lib

VECTORS = (
    "sawyer/joints/angle", "sawyer/joints/velocity", "sawyer/joints/torque", "sawyer/pinch/pose",
    "sawyer/tcp/velocity", "gripper/opening", "gripper/command", "wrist/force", "wrist/torque",
    "objects/green/pose", "objects/red/pose", "objects/green/from_pinch", "objects/red/from_pinch",
)  # fmt: skip
"""Names of the observations that are float32 vectors. The tool centre point is the pinch point."""

GRASP = "gripper/grasp"


def observation_spec(cameras: Sequence[str], image_size: tuple[int, int]) -> dict[str, specs.Array]:
    """Specs by name: the vectors, the grasp flag, and uint8[H, W, 3] in [0, 255] for each camera."""
    spec: dict[str, specs.Array] = {}
    for name in VECTORS:
        feature = schema.OBSERVATIONS[name]
        spec[name] = specs.Array(feature.shape, feature.dtype, name)
    spec[GRASP] = specs.BoundedArray((1,), np.int64, 0, 1, GRASP)
    for camera in cameras:
        name = f"pixels/{camera}"
        spec[name] = specs.BoundedArray((*image_size, 3), np.uint8, 0, 255, name)
    return spec


class VectorObserver:
    """Reads the vectors and the grasp flag. One copy a step: each vector is a view of that step's own array."""

    def __init__(self, model: mujoco.MjModel, data: mujoco.MjData, arm: arm_lib.Arm):
        self._arm = arm
        self._slices: dict[str, slice] = {}
        end = 0
        for name in VECTORS:
            start, end = end, end + math.prod(observation_spec((), (0, 0))[name].shape)
            self._slices[name] = slice(start, end)
        self._buffer = np.zeros(end)
        # What MuJoCo keeps in memory is copied as it is; the rest is computed by `observe`.
        self._sources = [
            (self._buffer[self._slices[name]], source)
            for name, source in {
                "sawyer/joints/angle": arm.angle,
                "sawyer/joints/velocity": arm.velocity,
                "sawyer/joints/torque": arm.torque,
                "wrist/force": data.sensor("wrist_force").data,
                "wrist/torque": data.sensor("wrist_torque").data,
                "objects/green/pose": data.joint("green").qpos,
                "objects/red/pose": data.joint("red").qpos,
            }.items()
        ]
        self._pose = self._buffer[self._slices["sawyer/pinch/pose"]]
        self._tool_velocity = self._buffer[self._slices["sawyer/tcp/velocity"]]
        self._from_pinch = [
            (self._buffer[self._slices[f"objects/{name}/from_pinch"]], data.joint(name).qpos[:3])
            for name in ("green", "red")
        ]
        self._opening = self._buffer[self._slices["gripper/opening"]]
        self._command = self._buffer[self._slices["gripper/command"]]

    def observe(self) -> dict[str, np.ndarray]:
        """The present observation, without pictures."""
        for target, source in self._sources:
            target[:] = source
        self._arm.pose(self._pose)
        for target, position in self._from_pinch:
            np.subtract(position, self._pose[:3], out=target)
        self._tool_velocity[:] = self._arm.tool_velocity()
        self._opening[0] = self._arm.opening
        self._command[0] = self._arm.command
        values = self._buffer.astype(np.float32)
        observation = {name: values[where] for name, where in self._slices.items()}
        observation[GRASP] = np.array([self._arm.grasp], np.int64)
        return observation
