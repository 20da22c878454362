"""What studies have in common: cells that are independent, resumable jobs, and a command line for them.

A cell's result is a file named by the cell's key, so that results of several machines are merged by copying, and
nothing is computed twice.
"""

import dataclasses
import datetime
import hashlib
import json
import multiprocessing
import os
import shutil
from collections.abc import Callable, Iterable, Iterator, Mapping
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path
from typing import Any, Protocol, TypeVar

from datasets import files
from datasets.console import console
from datasets.errors import ArmchairError
from robot.versions import machine, onednn

os.environ.setdefault("TF_ENABLE_ONEDNN_OPTS", "1")  # as `armchair` does, before TensorFlow comes; children inherit it


def key(cell: Any, version: int) -> str:
    """16 hex digits: of everything that decides a cell, a dataclass, and of the version of how it is done."""
    text = json.dumps({"version": version, **dataclasses.asdict(cell)}, sort_keys=True)
    return hashlib.sha256(text.encode()).hexdigest()[:16]


class AnyCell(Protocol):
    """A frozen dataclass that says what to do; printed, it is a line."""

    @property
    def key(self) -> str:
        """A hash of everything that decides it."""


@dataclasses.dataclass(frozen=True)
class Options:
    """Which cells to run."""

    study: str
    """Which study; a name that is none lists them."""
    cell: str = ""
    """Only the cell of this key; by default all of the study."""
    list: bool = False
    """Only say what there is."""
    collate: bool = False
    """Only write the page from the results that are there."""
    runs: Path = Path("runs/semi_supervised")
    """Folder of logs and of what is in work."""
    results: Path = Path("docs/results")
    """Folder of the results."""
    workers: int = 2
    """Processes that drive the simulator."""


def drive(
    options: Options,
    studies: Mapping[str, Callable[[], Iterator[Any]]],
    run: Callable[[Any, Path, Path, int], dict[str, Any]],
    told: Callable[[dict[str, Any]], str],
    write: Callable[[str, Path], Path],
) -> None:
    """Runs what is asked for, and writes the study's page.

    Args:
      options: what is asked for.
      studies: each gives its cells in the order in which they are run.
      run: makes a cell's result from (cell, runs, results, workers), or finds it.
      told: a result as a line.
      write: writes a study's page into the results' folder.

    Raises:
      ArmchairError: if there is no such study or cell.
    """
    if options.study not in studies:
        raise ArmchairError(f"there is no study {options.study!r}: choose one of {', '.join(studies)}")
    cells = [cell for cell in studies[options.study]() if options.cell in ("", cell.key)]
    if not cells:
        raise ArmchairError(f"study {options.study!r} has no cell {options.cell!r}: see --list")
    for number, cell in enumerate(cells, start=1):
        done = (options.results / f"{cell.key}.json").exists()
        console.print(f"{cell.key} {number}/{len(cells)} {cell}: {'done' if done else 'to do'}", soft_wrap=True)
        if not options.list and not options.collate:
            console.print(f"    {told(run(cell, options.runs, options.results, options.workers))}")
    if not options.list:
        console.print(f"wrote {write(options.study, options.results)}")


def once(
    cell: AnyCell, version: int, runs: Path, results: Path, make: Callable[[Path], dict[str, Any]]
) -> dict[str, Any]:
    """A cell's result, which is also written to `results/KEY.json`; one that is there is not made again.

    Args:
      cell: what to do.
      version: of how it is done.
      runs: folder in which `make` gets one of its own, which is not kept.
      results: folder of the results.
      make: does it.
    """
    path = results / f"{cell.key}.json"
    if path.exists():
        return json.loads(path.read_text())  # type: ignore[no-any-return]
    work = runs / cell.key
    shutil.rmtree(work, ignore_errors=True)
    result = {
        "cell": dataclasses.asdict(cell), "version": version, **make(work),  # type: ignore[call-overload]
        "date": datetime.datetime.now(datetime.UTC).date().isoformat(), "machine": machine(),
        "onednn": onednn(),
    }  # fmt: skip
    files.write_atomically(path, json.dumps(result, indent=2) + "\n")
    shutil.rmtree(work)
    return result


Cell = TypeVar("Cell", bound=AnyCell)


def read(cells: Iterable[Cell], results: Path) -> list[tuple[Cell, dict[str, Any]]]:
    """The cells that are done, with their results."""
    paths = [(cell, results / f"{cell.key}.json") for cell in cells]
    return [(cell, json.loads(path.read_text())) for cell, path in paths if path.exists()]


def when_and_where(results: Iterable[dict[str, Any]]) -> str:
    """A line on the days on which results were made, the machines, and whether TensorFlow used oneDNN."""
    made = [(r["date"], r["machine"], r.get("onednn", "not recorded")) for r in results] or [("–", "–", "–")]
    dates, machines, onednn = (sorted(set(column)) for column in zip(*made, strict=True))
    day = " to ".join(dict.fromkeys((dates[0], dates[-1])))
    return f"- Date: {day}; machine: {'; '.join(machines)}; oneDNN: {', '.join(onednn)}"


def apart(function: Callable[..., Any], *arguments: Any) -> Any:
    """Calls a function in a process of its own: TensorFlow gives no memory back, and learners differ in threads."""
    with ProcessPoolExecutor(1, multiprocessing.get_context("spawn")) as pool:
        return pool.submit(function, *arguments).result()
