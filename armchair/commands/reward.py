"""`armchair reward train|report|compare`: a reward model from sketches, and how good one is or several are."""

import dataclasses
from pathlib import Path
from typing import Any

import tyro

from pipeline.reward_learning.config import RewardConfig


@dataclasses.dataclass(frozen=True)
class Train:
    """Trains a reward model on the sketches of a task. Started again in the same folder, it resumes."""

    store: Path
    """Folder of the store."""
    task: str
    """The task whose sketches to learn from."""
    out: Path
    """Folder of the run; the model will be in its folder `model`."""
    config: tyro.conf.OmitArgPrefixes[RewardConfig] = dataclasses.field(default_factory=RewardConfig)
    """The model and its training."""


@dataclasses.dataclass(frozen=True)
class MakeReport:
    """Compares a reward model with sketches and true progress of episodes that it was not trained on."""

    model: Path
    """Folder of the reward model."""
    store: Path
    """Folder of the store."""
    out: Path | None = None
    """Folder for report.html and metrics.json; by default `report` beside the model."""
    episodes: int = 60
    """How many episodes to look at, at most."""


@dataclasses.dataclass(frozen=True)
class Compare:
    """Compares two or more reward models for one task on episodes that none of them was trained on.

    Prints their numbers, and writes a page that also shows how each model does in every phase of the task, where the
    models disagree, and which unsolved frames each of them takes for solved:

    armchair reward compare runs/one/model runs/other/model --store runs/store --out runs/comparison

    A model is called by the name of its run (here one and other) where that tells them apart, or else by its id.
    """

    models: tyro.conf.Positional[tuple[Path, ...]]
    """Folders of the reward models, one after the other."""
    store: Path
    """Folder of the store."""
    out: Path = Path("comparison")
    """Folder for compare.html and compare.json."""
    episodes: int = 60
    """How many episodes to look at, at most; sketched ones first."""


def main(args: list[str]) -> None:
    """Runs the stage."""
    configs: dict[str, Any] = {"train": Train, "report": MakeReport, "compare": Compare}
    values = (tyro.conf.EnumChoicesFromValues,)  # --observations pixels, not PIXELS
    config = tyro.extras.subcommand_cli_from_dict(configs, args=args, prog="armchair reward", config=values)

    from datasets.console import console, print_table
    from datasets.store import Store
    from pipeline.reward_learning import compare, evaluate, train

    store = Store.open(config.store)
    match config:
        case Train():
            console.print(f"wrote {train.train(store, config.task, config.out, config.config)}")
        case MakeReport():
            directory = config.out or config.model.parent / "report"
            quality = evaluate.report(store, config.model, directory, config.episodes)
            for name, value in quality.summary().items():
                console.print(f"{name}: {value}")
            console.print(f"wrote {directory / 'report.html'}")
        case Compare():
            comparison = compare.compare(store, config.models, config.out, config.episodes)
            names = ("", *(model.name for model in comparison.models))
            rows = [dict(zip(names, row, strict=True)) for row in comparison.table()]
            if rows:  # else the episodes are neither sketched nor simulated, and the page has curves alone
                print_table(rows)
            console.print(f"wrote {config.out / 'compare.html'}")
