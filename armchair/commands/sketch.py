"""`armchair sketch export|import|simulate`: reward sketches out of a store and into it."""

import dataclasses
from pathlib import Path
from typing import Any

import tyro

from pipeline.annotate.synthetic import AnnotatorConfig


@dataclasses.dataclass(frozen=True)
class Export:
    """Writes the sketches of a task as JSON lines, the newest of each episode and person."""

    store: Path
    """Folder of the store."""
    task: str
    """The task that was rated."""
    out: Path
    """The file to write."""


@dataclasses.dataclass(frozen=True)
class Import:
    """Adds sketches from JSON lines: all of them or, naming each bad line, none."""

    store: Path
    """Folder of the store."""
    file: Path
    """One sketch a line: episode_id, task_id and values (a number in [0, 1] for each frame); may also have user,
    sequence_id, timestamp, tool and seconds_spent."""


@dataclasses.dataclass(frozen=True)
class Simulate:
    """Lets a simulated annotator sketch some episodes: for trying things out without people."""

    store: Path
    """Folder of the store."""
    task: str
    """The task to rate."""
    count: int = 40
    """How many episodes to sketch: demonstrations first, then an equal share of every policy and verdict."""
    query: str = ""
    """Which episodes to choose from, as in `armchair store query`; by default those recorded for the task."""
    annotator: AnnotatorConfig = dataclasses.field(default_factory=AnnotatorConfig)
    """Who sketches, and how badly."""


def main(args: list[str]) -> None:
    """Runs the stage."""
    configs: dict[str, Any] = {"export": Export, "import": Import, "simulate": Simulate}
    config = tyro.extras.subcommand_cli_from_dict(configs, args=args, prog="armchair sketch")

    from datasets.console import console
    from datasets.query import Query
    from datasets.store import Store
    from pipeline.annotate import sketch

    store = Store.open(config.store)
    match config:
        case Export():
            sketches = store.sketches(config.task)
            count = sketch.export_sketches(sketches, config.out)
            console.print(f"wrote {count} sketches of {config.task} to {config.out}")
        case Import():
            count = sketch.import_sketches(store, config.file)
            console.print(f"{count} sketches of {config.file} are in {config.store}")
        case Simulate():
            rows = store.query(Query.parse(config.query or f"task_id={config.task}"))
            drawn = sketch.simulate(store, rows, config.task, config.count, config.annotator)
            console.print(f"{len(drawn)} episodes of {config.store} are sketched for {config.task}")
