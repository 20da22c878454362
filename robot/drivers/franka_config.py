"""How a Franka arm is driven; apart from the driver, which wants the maker's library."""

import dataclasses

import numpy as np

from datasets.errors import ArmchairError


@dataclasses.dataclass(frozen=True)
class FrankaConfig:
    """One arm, wherever it is."""

    home: tuple[float, ...] = (0.0, -np.pi / 4, 0.0, -3 * np.pi / 4, 0.0, np.pi / 2, np.pi / 4)
    """rad, where episodes begin: the maker's own ready pose, gripper pointing down."""
    dynamics: float = 0.15
    """Share of the arm's own limits of velocity, acceleration and jerk that it may use."""
    max_torque: float = 20.0
    """N m at each joint from the outside, above which the controller's reflex stops the arm: the maker's examples'."""
    max_force: float = 20.0
    """N (and N m) at the tool from the outside, likewise."""
    gripper_speed: float = 0.1
    """m/s of the opening: the hand's own limit."""
    grasp_force: float = 20.0
    """N with which the hand holds on; it can hold 70."""
    has_gripper: bool = True
    """Whether there is a Franka Hand; without one, the opening is what was commanded."""

    def __post_init__(self) -> None:
        if len(self.home) != 7 or not np.isfinite(self.home).all():
            raise ArmchairError(f"home must be the angles of 7 joints in rad, not {list(self.home)}")
        if not 0 < self.dynamics <= 1:
            raise ArmchairError(
                f"dynamics must be greater than 0 and at most 1, all that the arm can, not {self.dynamics:g}"
            )
        if not all(x > 0 for x in (self.max_torque, self.max_force, self.gripper_speed, self.grasp_force)):
            raise ArmchairError("max_torque, max_force, gripper_speed and grasp_force must be greater than 0")
