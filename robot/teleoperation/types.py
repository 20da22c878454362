"""What teleoperation is told beforehand, and what it tells."""

import dataclasses
import enum
from collections.abc import Mapping

import dm_env
import numpy as np

from datasets.schema import ActedBy


class Phase(enum.StrEnum):
    """Where an episode stands."""

    IDLE = "idle"  # there is none
    READY = "ready"  # the scene is set; time starts with the first command
    RUNNING = "running"
    ENDED = "ended"  # in memory only: to be kept or discarded


@dataclasses.dataclass(frozen=True)
class TeleoperationConfig:
    """How episodes are driven and shown."""

    dataset: str = "demonstrations_{task}"
    """Where kept episodes go. A dataset a task, since tasks may have other observations. So may arms: the name of
    one of metal is put before the task's."""
    dagger_dataset: str = "dagger_{task}"
    """Where those with a policy go: their steps also tell who acted."""
    patience: float = 0.3
    """Seconds without a command after which the arm stands still: three control steps at 10 Hz, so that a late message
    does not make it stutter, and never more than 5 cm at the cell's 0.15 m/s."""
    max_seconds: float = 60.0
    """After which an episode is stopped: several times what a beginner needs for any of the cell's tasks."""
    live_cameras: tuple[str, ...] = ()
    """Cameras to draw larger than recorded, by the environment's `render(camera, height, width)`. (), or of an
    environment that cannot: the pictures of the observation are shown."""
    live_size: tuple[int, int] = (360, 480)
    """Height and width of those, in pixels: three cost the cell some 10 ms of its 100 where a CPU draws."""


@dataclasses.dataclass(frozen=True)
class Status:
    """What there is to know of the episode in hand."""

    phase: Phase = Phase.IDLE
    task_id: str = ""
    operator: str = ""
    seed: int = -1
    t: int = 0  # control steps taken
    elapsed_s: float = 0.0  # since the first command
    seconds_left: float = 0.0
    gripper_opening: float | None = None  # m; None where the environment does not tell
    gripper_closing: bool = False  # whether the gripper was last told to close
    policy_id: str = ""  # of the policy that drives if the person lets it; empty: there is none
    acted_by: ActedBy = (
        ActedBy.NOBODY
    )  # whose wish the last step was; nobody's: none was fresh, and the arm stood still
    overruns: int = 0  # steps that took longer than a control period
    jitter_ms: float = 0.0  # 95th percentile of how late steps began
    stopped: str = ""  # why the arm was stopped in an emergency, until a person clears it
    is_success: bool | None = None  # the environment's own judgement of the end, once there is one
    error: str = ""  # why the last episode was lost


@dataclasses.dataclass(frozen=True)
class Moment:
    """What observers get, at every change of phase and after every control step."""

    status: Status
    timestep: dm_env.TimeStep | None = None  # None if only the phase has changed
    pictures: Mapping[str, np.ndarray] = dataclasses.field(default_factory=dict)  # camera -> uint8[H, W, 3]
