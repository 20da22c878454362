"""`armchair collect`: records episodes with a scripted expert or a policy."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from robot.env import CellConfig, Safety


@dataclasses.dataclass(frozen=True)
class Collect:
    """Records episodes, each durable as soon as it ends. Started again, it makes only those that are missing."""

    out: Path
    """Folder of datasets: the episodes go to OUT/DATASET/1.0.0, which is a TFDS directory."""
    env: str = "lift_green"
    """Task of the simulated cell, `module:factory` (dm_env or Gymnasium), or `gym:ID`."""
    actor: str = "expert:lift_green"
    """expert:TASK, expert:TASK:NOISE, random_watcher, random, policy:FOLDER or module:factory."""
    episodes: int = 50
    """How many."""
    seed: int = 0
    """Episode i has this seed + i."""
    dataset: str = "recorded"
    """Name of the dataset: small letters, digits and _. Other observations or cameras want another name."""
    workers: int = 1
    """Processes that play at the same time."""
    safety: Annotated[Safety, tyro.conf.EnumChoicesFromValues] = Safety.AUTO
    """Whether there is a safety filter between actor and arm; auto: for real arms, not in simulation."""
    cell: CellConfig = dataclasses.field(default_factory=CellConfig)


def main(args: list[str]) -> None:
    """Runs the stage; prints the dataset's folder."""
    options = tyro.cli(Collect, args=args, prog="armchair collect")
    from datasets.console import console
    from robot.collect import CollectConfig, collect
    from robot.plan import PlanLine
    from robot.record import dataset_path

    line = PlanLine(options.env, options.actor, options.episodes, options.seed)
    config = CollectConfig(options.out, (line,), options.dataset, options.workers, options.cell, options.safety)
    summaries = collect(config)
    solved, steps = sum(bool(s.success) for s in summaries), sum(s.length for s in summaries)
    console.print(f"{len(summaries)} episodes of {options.actor}: {solved} successes, {steps} steps")
    print(dataset_path(options.out, options.dataset))
