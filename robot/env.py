"""Robots by name: the cell's tasks, a Franka arm, or anyone's own as `module:factory`."""

from pathlib import Path

import dm_env

from datasets.errors import ArmchairError
from robot.cell.config import CAMERAS, CellConfig, Variation
from robot.cell.tasks import TASKS as _CELL_TASKS
from robot.safety import Safety, protect

__all__ = ["CAMERAS", "TASKS", "CellConfig", "Safety", "Variation", "make_env"]

TASKS: tuple[str, ...] = tuple(_CELL_TASKS)
"""Tasks of the simulated cell."""


def make_env(
    name: str, seed: int, config: CellConfig | None = None, safety: Safety = Safety.AUTO, arm: Path | None = None
) -> dm_env.Environment:
    """Makes an environment.

    Args:
      name: one of
        `sim:TASK`, a task of the simulated cell, or in short its name, one of `TASKS`;
        `franka:HOST`, a Franka arm whose controller has this address;
        `module:factory`, whose factory returns a dm_env or Gymnasium environment: that of a real arm, too
        (`robot.drivers`);
        `gym:ID`, for `gymnasium.make(ID)`.
      seed: of everything random in it.
      config: options of the simulated cell; other environments take none.
      safety: whether there is a safety filter around it (`robot.safety`).
      arm: the file of a `franka:HOST` (`robot.drivers.arm_file`).

    Returns:
      A `dm_env.Environment`. The cell's also have `progress`, `is_success`, `task_id`, `robot` and `render`.

    Raises:
      ArmchairError: no such task, module or factory; no such camera; MuJoCo, OpenGL or the maker's library is missing;
        the arm does not answer, or its file is missing or wrong; the environment is to have a safety filter but tells
        no limits.
    """
    return protect(_make(name, seed, config, arm), safety)


def _make(name: str, seed: int, config: CellConfig | None, arm: Path | None) -> dm_env.Environment:
    kind, colon, rest = name.partition(":")
    if kind == "franka" and colon:
        return _make_franka(rest, arm)
    if arm is not None:
        raise ArmchairError(f"{arm} describes a Franka arm, not {name!r}: leave it out, or name the arm as franka:HOST")
    if kind == "sim" and colon:
        return _make_cell(rest, seed, config)
    if colon:
        from robot.adapters import make_external

        return make_external(name, seed)
    return _make_cell(name, seed, config)


def _make_franka(host: str, arm: Path | None) -> dm_env.Environment:
    if not host:
        raise ArmchairError("where is the arm? write franka:HOST, such as franka:172.16.0.2")
    if arm is None:
        raise ArmchairError(
            f"only whoever measured the table knows where franka:{host} may move: write that and its cameras into a "
            "file as docs/your_own_arm.md shows, and give it with --arm FILE"
        )
    from robot.drivers.arm_file import load_arm, make_franka  # which waits for FFmpeg

    return make_franka(host, load_arm(arm))


def _make_cell(task: str, seed: int, config: CellConfig | None) -> dm_env.Environment:
    if task not in _CELL_TASKS:
        raise ArmchairError(
            f"There is no task {task!r}: choose one of {', '.join(TASKS)}, or name a robot as franka:HOST, gym:ID or "
            "module:factory."
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
    return Cell(_CELL_TASKS[task], seed, config)
