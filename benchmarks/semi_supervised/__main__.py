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
from typing import Any

import tyro

from benchmarks import studies
from benchmarks.semi_supervised import page
from benchmarks.semi_supervised.cells import STUDIES
from benchmarks.semi_supervised.run import run
from datasets.console import console
from datasets.errors import ArmchairError


@dataclasses.dataclass(frozen=True)
class Options(studies.Options):
    """Which cells to run."""

    study: str = "quick"
    """main, how_little, more_unlabelled, robustness, reward_quality (all of these), quick or smoke."""
    readme: Path | None = None
    """A README whose table and figure of the study are to be made anew, between its markers."""
    results: Path = Path("docs/results/semi_supervised")
    """Folder of the results."""


def main(options: Options) -> None:
    """Runs what is asked for."""
    studies.drive(options, STUDIES, run, _told, page.write)
    if options.readme:
        page.write_readme(options.study, options.results, options.readme)
        console.print(f"wrote {options.readme}")


def _told(result: dict[str, Any]) -> str:
    return "{successes}/{episodes} in {seconds} s".format(**result)


if __name__ == "__main__":
    try:
        main(tyro.cli(Options, description=__doc__))
    except ArmchairError as error:
        raise SystemExit(str(error)) from None
