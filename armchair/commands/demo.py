"""`armchair demo`: the whole loop in one command."""

import dataclasses
from pathlib import Path
from typing import Annotated

import tyro


@dataclasses.dataclass(frozen=True)
class DemoCommand:
    """Records a simulated arm's logs, learns a reward from a few sketches, rates all history, trains policies offline,
    evaluates them, and writes report.html.

    Stop it at any time: the same command goes on where it stopped. With --from, the same stages run on the log of a
    robot that is not here.
    """

    preset: str = "default"
    """How much of everything: default (up to 20 minutes on two cores) or smoke (2 minutes; shows only that it runs)."""
    out: Path | None = None
    """Folder of the run; runs/demo-PRESET-SEED, or runs/demo-LOG-PRESET-SEED, if not given."""
    seed: int = 0
    """Another seed, other logs, other sketches, other weights."""
    source: Annotated[Path | None, tyro.conf.arg(name="from")] = None
    """An RLDS/TFDS folder to use instead of the simulator: sketches by time, offline metrics, no evaluation."""
    task: str = ""
    """With --from: a name for what the robot does there, e.g. put_object_in_place."""


def main(args: list[str]) -> None:
    """Runs the stage; prints the report's path."""
    command = tyro.cli(DemoCommand, args=args, prog="armchair demo")
    from armchair import demo
    from datasets.errors import ArmchairError

    if bool(command.source) != bool(command.task):
        raise ArmchairError("--from and --task go together: give a log, and a name for what the robot does there")
    name = f"{command.preset}-{command.seed}"
    if command.source:
        from datasets.readers.logs import open_logs

        name = f"{open_logs(command.source)[0].name}-{name}"  # and a wrong path shows before anything is written
    out = command.out or Path("runs") / f"demo-{name}"
    task = command.task or demo.TASK
    print(demo.run(demo.DemoConfig(out, demo.Preset.named(command.preset), command.seed, command.source, task)))
