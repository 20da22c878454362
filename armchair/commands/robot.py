"""`armchair robot look|clear`: what a robot measures while nothing moves; lets an arm move again after a stop."""

import contextlib
import dataclasses
from pathlib import Path
from typing import Any

import tyro


@dataclasses.dataclass(frozen=True)
class Look:
    """Prints what a robot measures at this moment, and its limits; nothing moves.

    For the checks before the first episode on an arm.
    """

    robot: str
    """Which: franka:HOST, module:factory, gym:ID or sim:TASK, as of `armchair collect`. A simulation is reset."""
    arm: Path | None = None
    """With franka:HOST: the file that says where the arm may move, and which cameras there are."""
    pictures: Path | None = None
    """Folder for what the cameras see, a PNG each."""


@dataclasses.dataclass(frozen=True)
class Clear:
    """Lets an arm recover that its controller has stopped, because a person who has looked at it says so.

    Nothing moves.
    """

    robot: str
    """Which: franka:HOST or module:factory."""
    operator: str
    """Who has looked at the arm, and says that it may move."""
    arm: Path | None = None
    """As of `armchair robot look`."""


def main(args: list[str]) -> None:
    """Runs the stage."""
    config: Any = tyro.extras.subcommand_cli_from_dict({"look": Look, "clear": Clear}, args=args, prog="armchair robot")
    from datasets.console import console, print_facts
    from datasets.errors import ArmchairError
    from robot.env import make_env

    with contextlib.closing(make_env(config.robot, 0, arm=config.arm)) as env:
        if isinstance(config, Look):
            observation = _look(env, config.robot)
            print_facts(_facts(env, observation))
            if config.pictures is not None:
                console.print(f"wrote {_write(observation, config.pictures)} pictures to {config.pictures}")
        elif not hasattr(env, "clear"):
            raise ArmchairError(f"{config.robot} has no safety filter, so there is no stop to clear")
        else:
            env.clear(config.operator)
            console.print(f"{config.operator} has cleared {config.robot}: the next episode may move it")


def _look(env: Any, name: str) -> dict[str, Any]:
    from datasets.errors import ArmchairError

    if callable(getattr(env, "look", None)):
        observation = env.look()
    elif getattr(env, "is_hardware", False):
        raise ArmchairError(f"{name} has no method look(), and would go home to be looked at: write one")
    else:
        observation = env.reset().observation
    return dict(observation)


def _facts(env: Any, observation: dict[str, Any]) -> list[tuple[str, str]]:
    import numpy as np

    from datasets import schema

    facts = [("robot", str(getattr(env, "robot", "unknown"))), ("task", str(getattr(env, "task_id", "unknown")))]
    for key, value in sorted(observation.items()):
        feature = schema.OBSERVATIONS.get(key)
        array = np.asarray(value)
        if array.ndim > 1:
            facts.append((key, f"{array.dtype}{list(array.shape)}, mean {array.mean():.1f}"))
        else:
            numbers = " ".join(f"{number:g}" for number in np.round(array.reshape(-1).astype(float), 4) + 0.0)  # no -0
            facts.append((key, f"{numbers} {feature.unit if feature else ''}".rstrip()))
    limits = getattr(env, "safety", None)
    if dataclasses.is_dataclass(limits):
        facts += [(f"limit {field.name}", str(getattr(limits, field.name))) for field in dataclasses.fields(limits)]
    return facts


def _write(observation: dict[str, Any], folder: Path) -> int:
    """Writes the pictures of an observation; returns how many."""
    from PIL import Image

    from datasets import files
    from robot.stage import pictures

    seen = pictures(observation)
    for key, picture in seen.items():
        with files.staged_file(folder / f"{key.replace('/', '.')}.png") as staged:
            Image.fromarray(picture.squeeze()).save(staged, "PNG")
    return len(seen)
