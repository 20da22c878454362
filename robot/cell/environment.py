"""The simulated cell as a `dm_env.Environment`."""

import itertools
import math
import pathlib

import dm_env
import mujoco
import numpy as np
from dm_env import specs

from datasets import schema
from datasets.errors import SpecMismatchError
from robot.cell import arm as arm_lib
from robot.cell import config as config_lib
from robot.cell import observations, rendering, tasks, variation
from robot.limits import Box, SafetyConfig

_MODELS = pathlib.Path(__file__).parent / "model"
_ACTION_SHAPE = (len(schema.ACTION_NAMES),)

# Where objects start, m in the base frame: 6 cm from the basket's walls, so that the open gripper fits around them.
OBJECTS_LOW, OBJECTS_HIGH = np.array([0.49, -0.11]), np.array([0.71, 0.11])
OBJECT_DISTANCE = 0.10  # m, at least, between the objects' centres: room for the fingers
OBJECT_YAW = 0.6  # rad, at most, either way
# Where the pinch point starts, m in the base frame, gripper open and pointing down.
PINCH_LOW, PINCH_HIGH = np.array([0.50, -0.10, 0.14]), np.array([0.70, 0.10, 0.26])
SETTLE_STEPS = 20  # simulation steps before an episode begins: objects come to rest


class Cell(dm_env.Environment):
    """One task in the simulated cell, at 10 Hz.

    Actions are float32[7] in [-1, 1] (`schema.ACTION_NAMES`); observations have the names, shapes and units of
    `schema.OBSERVATIONS`. The reward of a transition is 1 if the task is solved in the state it leads to, else 0.
    The discount is always 1: episodes end by their time limit only.

    The same seed and the same actions give the same episodes, bit for bit. What episode k starts from depends on
    the seed and k alone. Feature-only cells (`cameras=()`) never touch OpenGL until `render` is called.
    """

    robot = "sim_sawyer"
    safety = SafetyConfig(Box(tuple(arm_lib.WORKSPACE_LOW), tuple(arm_lib.WORKSPACE_HIGH)))
    """Limits for a safety filter, which the simulated cell has only if it is asked for."""

    def __init__(self, task: tasks.Task, seed: int, config: config_lib.CellConfig):
        self._task = task
        self._seed = seed
        self._config = config
        self._time_limit = config.time_limit or task.time_limit
        self.model = mujoco.MjModel.from_xml_path(str(_MODELS / task.model))  # MuJoCo's own, for tools and benchmarks
        self.data = mujoco.MjData(self.model)
        self._arm = arm_lib.Arm(self.model, self.data)
        self._variator = variation.Variator(self.model, config.variation)
        self._vectors = observations.VectorObserver(self.model, self.data, self._arm)
        self._green = self.data.joint("green").qpos  # a view, [7]
        self._red = self.data.joint("red").qpos
        self._cameras: rendering.Cameras | None = None
        self._episodes = itertools.count()
        self._steps = 0
        self._reset_next_step = True

    @property
    def task_id(self) -> str:
        """Name of the task, one of `robot.env.TASKS`."""
        return self._task.task_id

    def reset(self) -> dm_env.TimeStep:
        """Begins a new episode: objects and gripper at random poses."""
        episode = next(self._episodes)
        self._place(np.random.default_rng((self._seed, episode, 0)))
        self._variator.vary(np.random.default_rng((self._seed, episode, 1)))
        mujoco.mj_step(self.model, self.data, SETTLE_STEPS)
        mujoco.mj_forward(self.model, self.data)
        self._steps = 0
        self._reset_next_step = False
        return dm_env.restart(self._observe())

    def step(self, action: np.ndarray) -> dm_env.TimeStep:
        """Takes one control step of 0.1 s. Actions outside [-1, 1] are clipped.

        Raises:
          SpecMismatchError: the action is not seven numbers.
        """
        if self._reset_next_step:
            return self.reset()
        action = np.asarray(action, float)
        if action.shape != _ACTION_SHAPE or math.isnan(action.sum()):
            raise SpecMismatchError(
                f"The cell cannot act on {action.tolist()}: give it {_ACTION_SHAPE[0]} numbers in [-1, 1] "
                f"({', '.join(schema.ACTION_NAMES)})."
            )
        self._arm.advance(np.minimum(np.maximum(action, -1.0), 1.0))
        self._steps += 1
        reward = float(self.is_success())
        if self._steps < self._time_limit:
            return dm_env.transition(reward, self._observe())
        self._reset_next_step = True
        return dm_env.truncation(reward, self._observe())

    def is_success(self) -> bool:
        """Whether the present state solves the task."""
        return self._task.is_success(self._state())

    def progress(self) -> float:
        """How far the task has got in the present state, in [0, 1]; 1 when it is solved."""
        return self._task.progress(self._state())

    def render(self, camera: str, height: int, width: int) -> np.ndarray:
        """A picture of the present state, uint8[height, width, 3].

        Raises:
          ArmchairError: the camera does not exist, the picture is larger than 960 x 1280, or OpenGL does not work.
        """
        if self._cameras is None:
            self._cameras = rendering.Cameras(self.model)
        return self._cameras.render(self.data, camera, height, width)

    def close(self) -> None:
        """Frees the renderer."""
        if self._cameras is not None:
            self._cameras.close()
            self._cameras = None

    def action_spec(self) -> specs.BoundedArray:
        """float32[7] in [-1, 1]: see `schema.ACTION_NAMES`."""
        return specs.BoundedArray(_ACTION_SHAPE, np.float32, -1, 1, "action")

    def observation_spec(self) -> dict[str, specs.Array]:
        """Specs by name, the same for every task."""
        return observations.observation_spec(self._config.cameras, self._config.image_size)

    def reward_spec(self) -> specs.BoundedArray:
        """0.0 or 1.0."""
        return specs.BoundedArray((), float, 0, 1, "reward")

    def _observe(self) -> dict[str, np.ndarray]:
        observation = self._vectors.observe()
        for camera in self._config.cameras:
            observation[f"pixels/{camera}"] = self.render(camera, *self._config.image_size)
        return observation

    def _state(self) -> tasks.State:
        return tasks.State(
            pinch=tuple(self._arm.pinch.tolist()),
            green=tuple(self._green[:3].tolist()),
            red=tuple(self._red[:3].tolist()),
            opening=self._arm.opening,
            grasp=bool(self._arm.grasp),
        )

    def _place(self, rng: np.random.Generator) -> None:
        mujoco.mj_resetData(self.model, self.data)
        self._arm.place(rng.uniform(PINCH_LOW, PINCH_HIGH))
        green = red = np.zeros(2)
        while np.linalg.norm(green - red) < OBJECT_DISTANCE:
            green, red = rng.uniform(OBJECTS_LOW, OBJECTS_HIGH, (2, 2))
        for pose, xy, rest in ((self._green, green, self._task.green_rest), (self._red, red, self._task.red_rest)):
            half_yaw = rng.uniform(-OBJECT_YAW, OBJECT_YAW) / 2
            pose[:] = *xy, rest, np.cos(half_yaw), 0, 0, np.sin(half_yaw)
