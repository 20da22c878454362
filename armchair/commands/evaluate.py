"""`armchair evaluate`: runs policies and reports their success rates with intervals."""

import dataclasses
import json
from pathlib import Path
from typing import Annotated

import tyro

from datasets import files
from datasets.errors import ArmchairError
from robot.campaign.operators import Terminal
from robot.env import CellConfig, Safety
from robot.evaluate import EvaluateConfig, compare, differences


@dataclasses.dataclass(frozen=True)
class Evaluate:
    """Runs policies and prints their success rates: "84.0 % (42/50, 95 % Wilson 71.5-91.7)".

    On a real arm this is a campaign. Somebody stands beside it, goes through a checklist before it moves, puts things
    back before each episode, with pictures of how they were, and judges it afterwards without knowing who acted. It may
    be stopped at any moment; the same command goes on there.
    """

    policies: Annotated[tuple[str, ...], tyro.conf.arg(aliases=("--policy",))] = ()
    """Folders of trained policies; or others: expert:TASK, expert:TASK:NOISE, random_watcher, random, module:factory.
    They act in turns, all with the same seeds."""
    robot: str = "lift_green"
    """Where: sim:TASK for the simulated cell, franka:HOST, module:factory (an arm of yours, dm_env or Gymnasium), or
    gym:ID. TASK is short for sim:TASK."""
    arm: Path | None = None
    """With franka:HOST: the file that says where the arm may move, and which cameras there are."""
    episodes: int = EvaluateConfig.episodes
    """How many of each policy."""
    seed: int = EvaluateConfig.seed
    """Episode i of each policy has this seed + i; on a real arm, a seed names an initial condition."""
    out: Path | None = None
    """Record the episodes to OUT/DATASET/1.0.0 and, started again, play only those that are missing."""
    dataset: str = EvaluateConfig.dataset
    """Name of the recorded dataset: small letters, digits and _. Other observations or cameras want another name."""
    initial: Path | None = None
    """On a real arm: pictures of how episodes begin, such as OUT/campaign/initial of an earlier campaign; this one adds
    to them. By default its own."""
    operator: str = ""
    """Who stands beside a real arm, for the episodes' metadata; by default the name of the account."""
    report: Path | None = None
    """Write a page with intervals, differences and videos to this HTML file."""
    result: Path | None = None
    """Write everything to this JSON file."""
    workers: int = EvaluateConfig.workers
    """Processes that play at the same time."""
    safety: Annotated[Safety, tyro.conf.EnumChoicesFromValues] = Safety.AUTO
    """Whether there is a safety filter between actor and arm; auto: for real arms, not in simulation."""
    cell: CellConfig = dataclasses.field(default_factory=CellConfig)


def main(args: list[str]) -> None:
    """Runs the stage; prints the success rates."""
    options = tyro.cli(Evaluate, args=args, prog="armchair evaluate")
    if not options.policies:
        raise ArmchairError("whom to evaluate? name at least one: --policies FOLDER")
    first, *others = options.policies
    config = EvaluateConfig(
        options.robot,
        first,
        options.episodes,
        options.seed,
        options.out,
        options.dataset,
        options.workers,
        options.cell,
        options.safety,
        options.initial,
        options.arm,
    )
    evaluations = dict(zip(options.policies, compare(config, others, Terminal(options.operator)), strict=True))
    gains = differences(list(evaluations.values()))
    if options.result is not None:
        results = {name: evaluation.to_dict() for name, evaluation in evaluations.items()}
        several = {"policies": results, "differences": [gain._asdict() for gain in gains]}
        files.write_atomically(options.result, json.dumps(several if others else results[first], indent=2))
    if options.report is not None:
        from armchair import evaluation_report

        evaluation_report.write(options.report, evaluations, options.out, options.dataset)
    for name, evaluation in evaluations.items():
        print(f"{name}: {evaluation}" if others else evaluation)
    for gain in gains:
        print(gain)
