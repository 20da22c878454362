"""`armchair evaluate`: runs a policy and reports its success rate with an interval."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro

from datasets.errors import ArmchairError
from robot.env import CellConfig, Safety
from robot.evaluate import EvaluateConfig, evaluate


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Runs a policy and prints its success rate: "84.0 % (42/50, 95 % Wilson 71.5-91.7)"."""

    policy: Path | None = None
    """Folder of a trained policy."""
    actor: str = ""
    """Somebody else, instead of a policy: expert:TASK, expert:TASK:NOISE, random_watcher, random or module:factory."""
    env: str = "lift_green"
    """Task of the simulated cell, `module:factory` (dm_env or Gymnasium), or `gym:ID`."""
    episodes: int = EvaluateConfig.episodes
    """How many."""
    seed: int = EvaluateConfig.seed
    """Episode i has this seed + i."""
    out: Path | None = None
    """Record the episodes to OUT/DATASET/1.0.0 and, started again, play only those that are missing."""
    dataset: str = EvaluateConfig.dataset
    """Name of the recorded dataset: small letters, digits and _. Other observations or cameras want another name."""
    result: Path | None = None
    """Write everything to this JSON file."""
    workers: int = EvaluateConfig.workers
    """Processes that play at the same time."""
    safety: Annotated[Safety, tyro.conf.EnumChoicesFromValues] = Safety.AUTO
    """Whether there is a safety filter between actor and arm; auto: for real arms, not in simulation."""
    cell: CellConfig = dataclasses.field(default_factory=CellConfig)


def main(args: list[str]) -> None:
    """Runs the stage; prints the success rate."""
    options = tyro.cli(Evaluate, args=args, prog="armchair evaluate")
    if (options.policy is None) == (not options.actor):
        raise ArmchairError("whom to evaluate? give either --policy FOLDER or --actor NAME")
    config = EvaluateConfig(
        options.env,
        options.actor or f"policy:{options.policy}",
        options.episodes,
        options.seed,
        options.out,
        options.dataset,
        options.workers,
        options.cell,
        options.safety,
    )
    evaluation = evaluate(config)
    if options.result is not None:
        evaluation.save(options.result)
    print(evaluation)
