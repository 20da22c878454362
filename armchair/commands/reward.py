"""`armchair reward train|report|compare`: rewards from sketches or demonstrations, and how good they are."""

import dataclasses
import inspect
from pathlib import Path
from typing import Annotated, Any

import tyro

from datasets.errors import ArmchairError
from pipeline.reward_learning.config import METHODS, RankingConfig, RewardConfig, Selection


@dataclasses.dataclass(frozen=True)
class Train:
    """Trains a reward model for a task. Started again in the same folder, it resumes."""

    store: Path
    """Folder of the store."""
    task: str
    """The task to rate."""
    out: Path
    """Folder of the run; the model will be in its folder `model`."""
    method: Annotated[str, tyro.conf.arg(metavar="{" + ",".join(METHODS) + "}")] = RankingConfig.method
    """How the reward is learned; `--method NAME --help` tells what it does and its own options."""
    selection: tyro.conf.OmitArgPrefixes[Selection] = dataclasses.field(default_factory=Selection)
    """Which episodes teach what."""
    config: tyro.conf.OmitArgPrefixes[RewardConfig] = dataclasses.field(default_factory=RankingConfig)
    """The method's constants."""


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
    configs: dict[str, Any] = {"train": _train_class(args), "report": MakeReport, "compare": Compare}
    values = (tyro.conf.EnumChoicesFromValues,)  # --observations pixels, not PIXELS
    config = tyro.extras.subcommand_cli_from_dict(configs, args=args, prog="armchair reward", config=values)

    from datasets.console import console, print_table
    from datasets.store import Store
    from pipeline import threads
    from pipeline.reward_learning import compare, evaluate, train

    threads.for_pictures()
    store = Store.open(config.store)
    match config:
        case Train():
            console.print(f"wrote {train.train(store, config.task, config.out, config.config, config.selection)}")
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


def _train_class(args: list[str]) -> type[Train]:
    """`Train` with the options of the method that is asked for, and the method's docstring as its help.

    Raises:
      ArmchairError: if there is no such method.
    """
    wanted = [word.partition("=")[2] or following for word, following in zip(args, [*args[1:], ""], strict=True)
              if word.split("=")[0] == "--method"]  # fmt: skip
    name = wanted[-1] if wanted else RankingConfig.method
    if name not in METHODS:
        raise ArmchairError(f"there is no method {name!r}: choose one of {', '.join(METHODS)}")
    method = METHODS[name]
    options: Any = tyro.conf.OmitArgPrefixes[method]  # type: ignore[misc, valid-type]
    chosen = dataclasses.make_dataclass(
        "Train", [("config", options, dataclasses.field(default_factory=method))], bases=(Train,), frozen=True
    )
    chosen.__doc__ = f"{Train.__doc__}\n\n{inspect.getdoc(method)}"
    return chosen
