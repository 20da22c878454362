"""`armchair sketch`: the page on which people draw rewards over videos; and `sketch export|import|simulate`."""

import dataclasses
from pathlib import Path
from typing import Any

import tyro

from pipeline.annotate.config import ServerConfig
from pipeline.annotate.synthetic import AnnotatorConfig


@dataclasses.dataclass(frozen=True)
class Serve:
    """Serves the page on which people draw, over the video of an episode, how far its task has got at every moment.

    Prints a link for each annotator and opens the first, where there is a browser; Ctrl-C stops the server. The page
    has the queue of episodes, the drawing area, and all episodes to browse; review of a reward model's predictions;
    demonstrations by keyboard or gamepad; statistics of the work done. It works offline. Whatever it calls saved is
    in the store.

    Sketches without the page: `armchair sketch export`, `armchair sketch import` and `armchair sketch simulate`, each
    with --help.
    """

    store: Path
    """Folder of the store."""
    server: tyro.conf.OmitArgPrefixes[ServerConfig]
    open_browser: bool = True
    """Open the first link in this machine's browser."""


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


_OTHERS: dict[str, Any] = {"export": Export, "import": Import, "simulate": Simulate}


def main(args: list[str]) -> None:
    """Runs the stage."""
    config: Any
    if args and args[0] in _OTHERS:
        config = tyro.extras.subcommand_cli_from_dict(_OTHERS, args=args, prog="armchair sketch")
    else:
        config = tyro.cli(Serve, args=args, prog="armchair sketch")

    from datasets.console import console
    from datasets.store import Store
    from pipeline.annotate import sketch

    store = Store.open(config.store)
    match config:
        case Serve():
            from pipeline.annotate.serve import serve

            serve(store, config.server, config.open_browser)
        case Export():
            sketches = store.sketches(config.task)
            count = sketch.export_sketches(sketches, config.out)
            console.print(f"wrote {count} sketches of {config.task} to {config.out}")
        case Import():
            count = sketch.import_sketches(store, config.file)
            console.print(f"{count} sketches of {config.file} are in {config.store}")
        case Simulate():
            rows = store.query(store.parse(config.query or f"task_id={config.task}"))
            drawn = sketch.simulate(store, rows, config.task, config.count, config.annotator)
            console.print(f"{len(drawn)} episodes of {config.store} are sketched for {config.task}")
