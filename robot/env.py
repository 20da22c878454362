"""Environments by name: the cell's tasks, or anyone's own as `module:factory`."""

import dm_env

from datasets.errors import ArmchairError
from robot.cell.config import CAMERAS, CellConfig, Variation
from robot.cell.tasks import TASKS as _CELL_TASKS
from robot.safety import Safety, protect

__all__ = ["CAMERAS", "TASKS", "CellConfig", "Safety", "Variation", "make_env"]

TASKS: tuple[str, ...] = tuple(_CELL_TASKS)
"""Tasks of the simulated cell."""


def make_env(
    name: str, seed: int, config: CellConfig | None = None, safety: Safety = Safety.AUTO
) -> dm_env.Environment:
    """Makes an environment.

    Args:
      name: one of `TASKS`, or `module:factory`, whose factory returns a dm_env or Gymnasium environment: that of a real
        arm, too (`robot.drivers`).
      seed: of everything random in it.
      config: options of the simulated cell; other environments take none.
      safety: whether there is a safety filter around it (`robot.safety`).

    Returns:
      A `dm_env.Environment`. The cell's also have `progress`, `is_success`, `task_id`, `robot` and `render`.

    Raises:
      ArmchairError: no such task, module or factory; no such camera; MuJoCo or OpenGL is missing; the environment is to
        have a safety filter but tells no limits.
    """
    return protect(_make(name, seed, config), safety)


def _make(name: str, seed: int, config: CellConfig | None) -> dm_env.Environment:
    if ":" in name:
        from robot.adapters import make_external

        return make_external(name, seed)
    if name not in _CELL_TASKS:
        raise ArmchairError(
            f"There is no task {name!r}: choose one of {', '.join(TASKS)}, or name an environment as module:factory."
        )
    config = config or CellConfig()
    if unknown := set(config.cameras) - set(CAMERAS):
        raise ArmchairError(f"The cell has no camera {', '.join(sorted(unknown))}: choose from {', '.join(CAMERAS)}.")
    try:
        from robot.cell.environment import Cell
    except ModuleNotFoundError as error:
        if error.name != "mujoco":
            raise
        raise ArmchairError("The simulated cell needs MuJoCo: install it with `pip install 'armchair[sim]'`.") from None
    return Cell(_CELL_TASKS[name], seed, config)
