"""Offline learners on the simulated arm, cell by cell.

```
python -m benchmarks.batch_rl --study smoke                 # whether it runs: minutes
python -m benchmarks.batch_rl --study learners              # hours; stopped, it goes on with the next cell
python -m benchmarks.batch_rl --study learners --list       # what there is to do, a line a cell
python -m benchmarks.batch_rl --study learners --cell KEY   # one of them: what a job of a cluster would run
python -m benchmarks.batch_rl --study learners --collate    # runs nothing, writes the page from the results
```
"""

import dataclasses
from pathlib import Path
from typing import Any

import tyro

from benchmarks import studies
from benchmarks.batch_rl import page
from benchmarks.batch_rl.cells import STUDIES
from benchmarks.batch_rl.run import run
from datasets.errors import ArmchairError


@dataclasses.dataclass(frozen=True)
class Options(studies.Options):
    """Which cells to run. The logs are those of the studies of rewards."""

    study: str = "smoke"
    """learners, pixels, smoke or smoke_pixels."""
    results: Path = Path("docs/results/batch_rl")
    """Folder of the results."""


def main(options: Options) -> None:
    """Runs what is asked for."""
    studies.drive(options, STUDIES, run, _told, page.write)


def _told(result: dict[str, Any]) -> str:
    return "{successes}/{episodes}".format(**result["snapshots"][-1])


if __name__ == "__main__":
    try:
        main(tyro.cli(Options, description=__doc__))
    except ArmchairError as error:
        raise SystemExit(str(error)) from None
