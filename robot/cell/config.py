"""How a cell is to be: its cameras, its time limit and how much its looks vary."""

import dataclasses

CAMERAS = ("basket_front_left", "basket_front_right", "wrist")
"""The cell's cameras, by the names that `datasets.schema` gives their pictures under `pixels/`."""


@dataclasses.dataclass(frozen=True)
class Variation:
    """Domain variation, drawn anew at each reset from the environment's seed. All off by default.

    The poses of objects and gripper are always random; they are drawn first, so that the same seed means the
    same poses with and without variation.
    """

    colour: float = 0.0  # largest change of each RGB channel of objects and basket, of 1; 0.1 keeps green green
    light: float = 0.0  # largest relative change of the lamp's brightness, and its sideways shift in m
    camera: float = 0.0  # largest shift of a camera along each axis, in m; 0.01 is a careless remounting


@dataclasses.dataclass(frozen=True)
class CellConfig:
    """Options of `robot.env.make_env` for the simulated cell."""

    cameras: tuple[str, ...] = CAMERAS  # those in the observation; () renders nothing and needs no OpenGL
    image_size: tuple[int, int] = (64, 64)  # height, width in pixels
    time_limit: int | None = None  # control steps an episode; None: the task's own
    variation: Variation = Variation()
