"""An arm where it stands: a YAML file of what only whoever set it up knows, and the environment that it describes.

```yaml
task_id: stack_cups
safety:
  workspace: {low: [0.45, -0.15, 0.03], high: [0.70, 0.15, 0.30]}
cameras:
  wrist: {device: /dev/video0}
```
Its keys are the fields of `ArmConfig`, and below them those of the configs that these name, of which each may be left
out that has a default. `docs/your_own_arm.md` shows a longer one.
"""

import contextlib
import dataclasses
from collections.abc import Mapping
from pathlib import Path

import pydantic
from pydantic.dataclasses import dataclass

from datasets.errors import ArmchairError
from datasets.yaml_file import load_yaml
from robot.drivers.cameras import CameraConfig, VideoCamera
from robot.drivers.environment import RobotConfig, RobotEnvironment
from robot.drivers.franka_config import FrankaConfig
from robot.limits import SafetyConfig


@dataclass(frozen=True, config=pydantic.ConfigDict(extra="forbid"))
class ArmConfig:
    """What a file says. Keys that are not known are refused at every depth."""

    task_id: str
    """What is to be done, for the episodes' metadata."""
    safety: SafetyConfig
    """Where the arm may be, and its other limits."""
    cameras: Mapping[str, CameraConfig] = dataclasses.field(default_factory=dict)
    """By their names in the vocabulary without `pixels/`, e.g. "wrist"."""
    robot: RobotConfig = RobotConfig()
    """Its pace, and how long an episode is."""
    franka: FrankaConfig = FrankaConfig()
    """The arm itself."""


def load_arm(path: Path) -> ArmConfig:
    """Raises ArmchairError if the file is absent, no YAML, or has wrong, unknown or missing keys; says which."""
    return load_yaml(path, ArmConfig, "the arm's file")


def make_franka(host: str, config: ArmConfig) -> RobotEnvironment:
    """A Franka arm with its cameras. Connects, and moves nothing.

    Args:
      host: of the arm's controller.
      config: see there.

    Raises:
      ArmchairError: the maker's library is not installed.
      DriverError: the arm or a camera does not answer.
    """
    try:
        from robot.drivers.franka import FrankaDriver
    except ModuleNotFoundError as error:
        if error.name != "franky":
            raise
        raise ArmchairError(
            "a Franka arm wants its maker's library: install it with `pip install 'armchair[franka]'`"
        ) from None
    with contextlib.ExitStack() as made:
        cameras = {}
        for name, camera in config.cameras.items():
            cameras[name] = made.enter_context(contextlib.closing(VideoCamera(camera)))
        driver = made.enter_context(contextlib.closing(FrankaDriver(host, config.franka)))
        env = RobotEnvironment(driver, cameras, config.safety, config.task_id, config.robot)
        made.pop_all()  # the environment closes them
    return env
