"""`armchair loop`: rounds of the loop, in which a policy's delusions are sketched and trained away."""

import dataclasses
from pathlib import Path

import tyro


@dataclasses.dataclass(frozen=True)
class LoopCommand:
    """Goes round the loop on the simulated cell: evaluate, store, hunt delusions, sketch, learn the reward, annotate,
    train; and writes report.html with success and the reward model's judgement of it by round.

    The first reward model learns from a few sketches of successes only, and the first policy exploits it. After each
    round a simulated annotator sketches the episodes in which the newest policy's reward was most wrong. On an arm, or
    with people who sketch, the same is done with the commands that each stage prints.

    Stop it at any time: the same command goes on where it stopped.
    """

    rounds: int = 3
    """How often to learn a reward and a policy, and to try it out."""
    preset: str = "default"
    """How much of everything: default (three rounds take half an hour on two cores) or smoke (shows only that it
    runs)."""
    out: Path | None = None
    """Folder of the run; runs/loop-PRESET-SEED, if not given."""
    seed: int = 0
    """Another seed, other logs, other sketches, other weights."""


def main(args: list[str]) -> None:
    """Runs the stage; prints the report's path."""
    command = tyro.cli(LoopCommand, args=args, prog="armchair loop")
    from armchair import demo, loop

    out = command.out or Path("runs") / f"loop-{command.preset}-{command.seed}"
    print(loop.run(loop.LoopConfig(out, command.rounds, demo.Preset.named(command.preset), command.seed)))
