"""Rewards from almost nothing: the studies, cell by cell.

```
python -m benchmarks.semi_supervised --study quick              # one task, one seed: a quarter of an hour
python -m benchmarks.semi_supervised --study main               # hours; stopped, it goes on with the next cell
python -m benchmarks.semi_supervised --study main --list        # what there is to do, a line a cell
python -m benchmarks.semi_supervised --study main --cell KEY    # one of them: what a job of a cluster would run
python -m benchmarks.semi_supervised --study main --collate     # runs nothing, writes the page from the results
```
A cell's result is a file of its own in `docs/results/semi_supervised/`, named by the hash of what the cell is, so that
results of several machines are merged by copying, and nothing is computed twice.
"""

import dataclasses
from pathlib import Path

import tyro

from benchmarks.semi_supervised import page
from benchmarks.semi_supervised.cells import STUDIES
from benchmarks.semi_supervised.run import WORKERS, run
from datasets.console import console
from datasets.errors import ArmchairError


@dataclasses.dataclass(frozen=True)
class Options:
    """Which cells to run."""

    study: str = "quick"
    """main, how_little, more_unlabelled, robustness, reward_quality (all of these), quick or smoke."""
    cell: str = ""
    """Only the cell of this key; by default all of the study."""
    list: bool = False
    """Only say what there is."""
    collate: bool = False
    """Only write the page from the results that are there."""
    readme: Path | None = None
    """A README whose table and figure of the study are to be made anew, between its markers."""
    runs: Path = Path("runs/semi_supervised")
    """Folder of logs and of what is in work."""
    results: Path = Path("docs/results/semi_supervised")
    """Folder of the results."""
    workers: int = WORKERS
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
            result = run(cell, options.runs, options.results, options.workers)
            console.print(f"    {result['successes']}/{result['episodes']} in {result['seconds']} s")
    if not options.list:
        console.print(f"wrote {page.write(options.study, options.results)}")
    if options.readme:
        page.write_readme(options.study, options.results, options.readme)
        console.print(f"wrote {options.readme}")


if __name__ == "__main__":
    try:
        main(tyro.cli(Options, description=__doc__))
    except ArmchairError as error:
        raise SystemExit(str(error)) from None
