"""`armchair reward train|report`: a reward model from sketches, and how good it is."""

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


def main(args: list[str]) -> None:
    """Runs the stage."""
    configs: dict[str, Any] = {"train": Train, "report": MakeReport}
    values = (tyro.conf.EnumChoicesFromValues,)  # --observations pixels, not PIXELS
    config = tyro.extras.subcommand_cli_from_dict(configs, args=args, prog="armchair reward", config=values)

    from datasets.console import console
    from datasets.store import Store
    from pipeline.reward_learning import evaluate, train

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
