"""`armchair select`: ranks policies without running them."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import tyro

from datasets import files
from datasets.console import console, print_table
from pipeline.batch_rl.config import SelectConfig

CRITERIA = ("value", "td_error", "action_gap", "predicted")
"""What may foretell success."""


@dataclasses.dataclass(frozen=True)
class Select(SelectConfig):
    """Ranks policies from logged data alone: the first one is worth a try on the robot.

    Each is judged by fitted Q evaluation on the episodes of the query. `value` is the discounted return that it
    promises, between `low` and `high`; do not trust it where `td_error` is large beside it. Where policies were run and
    recorded already, and a reward model has annotated that, `predicted` is the mean return of those episodes.

    The best policy of each run is copied to `RUN/best`, in place of what was chosen before; its card says why.
    """

    robot: str = ""
    """Also run every policy there, and tell how well the ranking foretold its success. A task of the simulated cell."""
    episodes: int = 50
    """How many each, with `robot`."""
    result: Path | None = None
    """Write everything to this JSON file."""


def main(args: list[str]) -> None:
    """Runs the stage; prints the ranking, the best first."""
    config = tyro.cli(Select, args=args, prog="armchair select", config=(tyro.conf.EnumChoicesFromValues,))
    from pipeline import threads
    from pipeline.batch_rl import selection

    threads.for_policies(selection.see_pictures(config.runs))
    scores = selection.rank(config)
    kept = selection.keep_best(config, scores)
    entries: list[dict[str, Any]] = [dataclasses.asdict(score) | {"policy": str(score.policy)} for score in scores]
    result: dict[str, Any] = {"ranking": entries}
    if config.robot:
        for entry, score in zip(entries, scores, strict=True):
            entry["success"] = _success(config, score.policy)
        known = {name: [entry for entry in entries if entry[name] is not None] for name in CRITERIA}
        result["rank_correlation"] = {
            name: selection.rank_correlation([entry[name] for entry in some], [entry["success"] for entry in some])
            for name, some in known.items()
            if len(some) > 1
        }
    if config.result is not None:
        files.write_atomically(config.result, json.dumps(result, indent=2))
    told = [name for name in entries[0] if any(entry[name] is not None for entry in entries)]
    print_table([{name: _cell(entry[name]) for name in told} for entry in entries])
    for name, correlation in result.get("rank_correlation", {}).items():
        console.print(f"rank correlation of {name} and success (Spearman): {correlation:.2f}")
    for path in kept:
        console.print(f"the best of its run: {path}", soft_wrap=True)


def _cell(value: Any) -> Any:
    if value is None:
        return "-"
    return round(value, 3) if isinstance(value, float) else value


def _success(config: Select, policy: Path) -> float:
    from robot.evaluate import EvaluateConfig, evaluate

    evaluation = evaluate(EvaluateConfig(config.robot, f"policy:{policy}", config.episodes))
    return evaluation.mean_return if evaluation.success_rate is None else evaluation.success_rate
