"""The one vocabulary: names, dtypes, shapes, units, control rate and step alignment.

Simulator, real robots, RLDS features, the sketching page and the learners all import it. Names are those of
DeepMind's Sketchy data where it has one (`sawyer/joints/angle`, `pixels/basket_front_left`).

Alignment (declared here, once). Step t of an episode of T steps is `(o_t, a_t, r_t, discount_t)` as in RLDS:
`r_t` and `discount_t` follow from taking `a_t` in `o_t`, and the last step has no valid action, reward or
discount. A *reward sequence* (a sketch or a model's prediction) rates frames: `values[t]` is about `o_t`. So
the reward of the transition `(o_t, a_t, o_{t+1})` is `values[t + 1]`, which `transition_rewards` returns. An
episode that ends at a time limit keeps discount 1 on its last transition; only a true terminal has discount 0.
"""

import dataclasses
import enum
from collections.abc import Mapping

import numpy as np

CONTROL_RATE_HZ = 10.0
"""Control steps a second of the cell and of the Sketchy recordings."""


class EpisodeType(enum.StrEnum):
    """Who acted. The values are Sketchy's own."""

    AGENT = "EPISODE_ROBOT_AGENT"  # a learned or scripted controller
    TELEOPERATION = "EPISODE_ROBOT_TELEOPERATION"
    DAGGER = "EPISODE_ROBOT_DAGGER"  # a controller with a person taking over


class ActedBy(enum.StrEnum):
    """Who chose an action, where a person may take over from a policy."""

    PERSON = "person"
    POLICY = "policy"
    NOBODY = "nobody"  # the person had let go: the arm was to stand still


class RewardType(enum.StrEnum):
    """What a reward sequence is. `REWARD_SKETCH` is Sketchy's own value."""

    SKETCH = "REWARD_SKETCH"
    PREDICTION = "REWARD_PREDICTION"


class Verdict(enum.StrEnum):
    """Whether an episode solved its task, as judged by a person or by the simulator."""

    SUCCESS = "success"
    FAILURE = "failure"
    UNKNOWN = "unknown"


@dataclasses.dataclass(frozen=True)
class Feature:
    """One observation of the vocabulary."""

    shape: tuple[int | None, ...]  # without the time axis; None: any size
    dtype: type[np.generic]
    unit: str
    description: str
    privileged: bool = False  # known to the simulator only; a policy gets it only if its preset asks for it


def _camera(place: str) -> Feature:
    return Feature((None, None, 3), np.uint8, "RGB", f"camera {place}")


OBSERVATIONS: Mapping[str, Feature] = {
    "sawyer/joints/angle": Feature((7,), np.float32, "rad", "arm joint angles"),
    "sawyer/joints/velocity": Feature((7,), np.float32, "rad/s", "arm joint velocities"),
    "sawyer/joints/torque": Feature((7,), np.float32, "N m", "arm joint torques"),
    "sawyer/tcp/pose": Feature((7,), np.float32, "m, quaternion wxyz", "tool centre point in the base frame"),
    "sawyer/tcp/velocity": Feature((6,), np.float32, "m/s, rad/s", "tool velocity in the tool frame"),
    "sawyer/tcp/effort": Feature((6,), np.float32, "N, N m", "tool force and torque"),
    "sawyer/pinch/pose": Feature((7,), np.float32, "m, quaternion wxyz", "pinch point (between the fingertips)"),
    "gripper/joints/angle": Feature((1,), np.float32, "register", "raw gripper position of the real cell"),
    "gripper/joints/velocity": Feature((1,), np.float32, "register", "raw gripper velocity of the real cell"),
    "gripper/joints/torque": Feature((1,), np.float32, "register", "raw gripper torque of the real cell"),
    "gripper/opening": Feature((1,), np.float32, "m", "distance between the finger pads"),
    "gripper/command": Feature((1,), np.float32, "m", "commanded distance between the finger pads"),
    "gripper/grasp": Feature((1,), np.int64, "0 or 1", "whether the gripper holds something"),
    "wrist/force": Feature((3,), np.float32, "N", "wrist force sensor"),
    "wrist/torque": Feature((3,), np.float32, "N m", "wrist torque sensor"),
    "objects/green/pose": Feature((7,), np.float32, "m, quaternion wxyz", "green object", privileged=True),
    "objects/red/pose": Feature((7,), np.float32, "m, quaternion wxyz", "red object", privileged=True),
    "objects/green/from_pinch": Feature((3,), np.float32, "m", "green object minus pinch point", privileged=True),
    "objects/red/from_pinch": Feature((3,), np.float32, "m", "red object minus pinch point", privileged=True),
    "pixels/basket_front_left": _camera("at the basket's front left corner"),
    "pixels/basket_front_right": _camera("at the basket's front right corner"),
    "pixels/basket_back_left": _camera("at the basket's back left corner"),
    "pixels/wrist": _camera("on the wrist, looking at the fingertips"),
    "pixels/usbcam0": _camera("on the wrist of the real cell (fisheye)"),
    "pixels/usbcam1": _camera("on the wrist of the real cell (fisheye)"),
    "pixels/royale_camera_driver_gray": Feature((None, None, 1), np.uint8, "grey", "infrared wrist camera"),
    "pixels/royale_camera_driver_depth": Feature((None, None, 1), np.float32, "m", "depth wrist camera; 0: no return"),
}
"""Observations that Armchair knows by name. Foreign logs keep their own names beside these."""

ACTION_NAMES = ("vx", "vy", "vz", "wx", "wy", "wz", "gripper")
"""The cell's action, float32[7] in [-1, 1]: the pinch point's Cartesian twist in the base frame (velocities as a
fraction of the limits below), and the speed of the gripper (+1 closes). Real arms obey the same actions."""

MAX_LINEAR = 0.15  # m/s at |action| = 1. Our choice; rgb_stacking, also a Sawyer, uses 0.07
MAX_ANGULAR = 0.8  # rad/s at |action| = 1. Our choice; rgb_stacking uses 1
MAX_GRIPPER = 0.12  # m/s of the opening at |action| = 1: the full stroke in 0.7 s, as the real gripper

# Step fields beyond RLDS that a simulator records for its annotators; they rate frame t, like a reward sequence.
PROGRESS = "progress"  # float32 in [0, 1]: how far the task has got in o_t
IS_SUCCESS = "is_success"  # bool: whether o_t solves the task

# Step fields that a safety filter records; they belong to a_t, which is what the arm was made to do.
COMMANDED_ACTION = "commanded_action"  # float32[A]: what the actor had asked for in o_t; 0 if that was no action at all
INTERVENTION = "intervention"  # text: why a_t is something else, or why the arm was stopped; empty: it is not

# A step field of episodes in which a person may take over from a policy (`EpisodeType.DAGGER`); it belongs to a_t.
ACTED_BY = "acted_by"  # text: whose wish a_t is, one of `ActedBy`; empty at the last step

# Tags of episodes of a real arm that are only a part of what was planned: they are kept, and played again.
ARM_FAILED = "arm_failed"  # up to where the arm did not answer
INTERRUPTED = "interrupted"  # up to where its recorder was closed or killed, or to its end, and nobody judged it
PARTS = frozenset({ARM_FAILED, INTERRUPTED})


def is_privileged(name: str) -> bool:
    """Whether an observation exists in simulation only. Names outside the vocabulary are not privileged."""
    feature = OBSERVATIONS.get(name)
    return feature is not None and feature.privileged


def transition_rewards(values: np.ndarray) -> np.ndarray:
    """Rewards of an episode's transitions from a reward sequence over its frames.

    Args:
      values: float[T], a sketch or a prediction: `values[t]` rates `o_t`.

    Returns:
      float32[T - 1]: entry t is the reward of `(o_t, a_t, o_{t+1})`, that is `values[t + 1]`.
    """
    return np.asarray(values, np.float32)[1:]
