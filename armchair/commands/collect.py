"""`armchair collect`: records episodes of scripted experts, policies, or whoever else acts."""

import dataclasses
from collections import Counter
from pathlib import Path
from typing import Annotated

import tyro

from datasets.errors import ArmchairError
from robot.env import CellConfig, Safety


@dataclasses.dataclass(frozen=True)
class Collect:
    """Records episodes, each durable as soon as it ends. Started again, it makes only those that are missing.

    On a real arm, somebody stands beside it, goes through a checklist before it moves, and judges each episode.
    """

    out: Path
    """Folder of datasets: the episodes go to OUT/DATASET/1.0.0, which is a TFDS directory."""
    policies: Annotated[tuple[str, ...], tyro.conf.arg(aliases=("--policy",))] = ("expert:lift_green",)
    """Who acts: folders of trained policies, expert:TASK, expert:TASK:NOISE, random_watcher, random, module:factory."""
    robot: str = "lift_green"
    """Where: sim:TASK for the simulated cell, franka:HOST, module:factory (an arm of yours, dm_env or Gymnasium), or
    gym:ID. TASK is short for sim:TASK."""
    arm: Path | None = None
    """With franka:HOST: the file that says where the arm may move, and which cameras there are."""
    episodes: int = 50
    """How many of each policy."""
    seed: int = 0
    """Episode i of each policy has this seed + i."""
    interleave: bool = False
    """Whether policies act in turns, in random order, instead of one after the other."""
    dataset: str = "recorded"
    """Name of the dataset: small letters, digits and _. Other observations or cameras want another name."""
    operator: str = ""
    """Who stands beside a real arm, for the episodes' metadata; by default the name of the account."""
    workers: int = 1
    """Processes that play at the same time."""
    safety: Annotated[Safety, tyro.conf.EnumChoicesFromValues] = Safety.AUTO
    """Whether there is a safety filter between actor and arm; auto: for real arms, not in simulation."""
    cell: CellConfig = dataclasses.field(default_factory=CellConfig)


def main(args: list[str]) -> None:
    """Runs the stage; prints the dataset's folder."""
    options = tyro.cli(Collect, args=args, prog="armchair collect")
    if not options.policies:
        raise ArmchairError("who is to act? name at least one: --policies random_watcher")
    from datasets.console import console
    from robot.campaign.operators import Terminal
    from robot.collect import CollectConfig, collect
    from robot.plan import PlanLine
    from robot.record import dataset_path

    plan = tuple(PlanLine(options.robot, name, options.episodes, options.seed) for name in options.policies)
    config = CollectConfig(
        options.out, plan, options.dataset, options.workers, options.cell, options.safety, options.interleave,
        options.arm,
    )  # fmt: skip
    summaries = collect(config, Terminal(options.operator))
    for policy, count in Counter(s.policy_id for s in summaries).items():
        theirs = [s for s in summaries if s.policy_id == policy]
        solved, steps = sum(bool(s.success) for s in theirs), sum(s.length for s in theirs)
        console.print(f"{count} episodes of {policy}: {solved} successes, {steps} steps")
    print(dataset_path(options.out, options.dataset))
