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

import tyro

from benchmarks.batch_rl import page
from benchmarks.batch_rl.cells import STUDIES
from benchmarks.batch_rl.run import run
from datasets.console import console
from datasets.errors import ArmchairError


@dataclasses.dataclass(frozen=True)
class Options:
    """Which cells to run."""

    study: str = "smoke"
    """learners or smoke."""
    cell: str = ""
    """Only the cell of this key; by default all of the study."""
    list: bool = False
    """Only say what there is."""
    collate: bool = False
    """Only write the page from the results that are there."""
    runs: Path = Path("runs/semi_supervised")
    """Folder of logs and of what is in work; the logs are those of the studies of rewards."""
    results: Path = Path("docs/results/batch_rl")
    """Folder of the results."""
    workers: int = 2
    """Processes that drive the simulator."""


def main(options: Options) -> None:
    """Runs what is asked for."""
    if options.study not in STUDIES:
        raise ArmchairError(f"there is no study {options.study!r}: choose one of {', '.join(STUDIES)}")
    cells = [cell for cell in STUDIES[options.study]() if options.cell in ("", cell.key)]
    if not cells:
        raise ArmchairError(f"study {options.study!r} has no cell {options.cell!r}: see --list")
    for number, cell in enumerate(cells, start=1):
        done = (options.results / f"{cell.key}.json").exists()
        console.print(f"{cell.key} {number}/{len(cells)} {cell}: {'done' if done else 'to do'}", soft_wrap=True)
        if not options.list and not options.collate:
            last = run(cell, options.runs, options.results, options.workers)["snapshots"][-1]
            console.print(f"    {last['successes']}/{last['episodes']}")
    if not options.list:
        console.print(f"wrote {page.write(options.study, options.results)}")


if __name__ == "__main__":
    try:
        main(tyro.cli(Options, description=__doc__))
    except ArmchairError as error:
        raise SystemExit(str(error)) from None
