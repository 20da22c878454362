"""Offline learners on the control suite, cell by cell, on data made as RL Unplugged's was (needs the extra `envs`).

```
python -m benchmarks.rl_unplugged --study smoke                 # whether it runs: minutes
python -m benchmarks.rl_unplugged --study walker_walk           # stopped, it goes on with the next cell
python -m benchmarks.rl_unplugged --study walker_walk --list    # what there is to do, a line a cell
python -m benchmarks.rl_unplugged --study walker_walk --cell KEY    # one of them: what a job of a cluster would run
python -m benchmarks.rl_unplugged --study walker_walk --collate     # runs nothing, writes the page from the results
```
The first cell makes the task's data: some ten minutes of a core; each cell takes half a minute of one.
"""

import dataclasses
import os
from pathlib import Path
from typing import Any

import tyro

from benchmarks import studies
from benchmarks.rl_unplugged import page
from benchmarks.rl_unplugged.cells import STUDIES
from benchmarks.rl_unplugged.run import run
from datasets.errors import ArmchairError


@dataclasses.dataclass(frozen=True)
class Options(studies.Options):
    """Which cells to run."""

    study: str = "smoke"
    """cartpole_swingup, walker_walk or smoke."""
    runs: Path = Path("runs/rl_unplugged")
    """Folder of the data and of what is in work."""
    results: Path = Path("docs/results/rl_unplugged")
    """Folder of the results."""


def main(options: Options) -> None:
    """Runs what is asked for."""
    os.environ.setdefault("MUJOCO_GL", "off")  # nothing is drawn
    studies.drive(options, STUDIES, run, _told, page.write)


def _told(result: dict[str, Any]) -> str:
    return " ".join(f"{snapshot['return']:.0f}" for snapshot in result["snapshots"])


if __name__ == "__main__":
    try:
        main(tyro.cli(Options, description=__doc__))
    except ArmchairError as error:
        raise SystemExit(str(error)) from None
