"""`armchair select`: ranks policies without running them."""

import dataclasses
import json
from pathlib import Path
from typing import Any

import tyro

from datasets import files
from datasets.console import console, print_table
from pipeline.batch_rl.config import SelectConfig


@dataclasses.dataclass(frozen=True)
class Select(SelectConfig):
    """Ranks policies from logged data alone: the first one is worth a try on the robot.

    Each is judged by fitted Q evaluation on the episodes of the query. `value` is the discounted return that it
    promises, between `low` and `high`; do not trust it where `td_error` is large beside it.
    """

    env: str = ""
    """Also run every policy there, and tell how well the ranking foretold its success. A task of the simulated cell."""
    episodes: int = 50
    """How many each, with `env`."""
    result: Path | None = None
    """Write everything to this JSON file."""


def main(args: list[str]) -> None:
    """Runs the stage; prints the ranking, the best first."""
    config = tyro.cli(Select, args=args, prog="armchair select", config=(tyro.conf.EnumChoicesFromValues,))
    from pipeline import threads
    from pipeline.batch_rl import selection

    threads.for_dense_learners()
    scores = selection.rank(config)
    entries: list[dict[str, Any]] = [dataclasses.asdict(score) | {"policy": str(score.policy)} for score in scores]
    result: dict[str, Any] = {"ranking": entries}
    if config.env:
        rates = [_success(config, score.policy) for score in scores]
        for entry, rate in zip(entries, rates, strict=True):
            entry["success"] = rate
        if len(scores) > 1:
            result["rank_correlation"] = selection.rank_correlation([score.value for score in scores], rates)
    if config.result is not None:
        files.write_atomically(config.result, json.dumps(result, indent=2))
    print_table([{k: round(v, 3) if isinstance(v, float) else v for k, v in entry.items()} for entry in entries])
    if "rank_correlation" in result:
        console.print(f"rank correlation of value and success (Spearman): {result['rank_correlation']:.2f}")


def _success(config: Select, policy: Path) -> float:
    from robot.evaluate import EvaluateConfig, evaluate

    evaluation = evaluate(EvaluateConfig(config.env, f"policy:{policy}", config.episodes))
    return evaluation.mean_return if evaluation.success_rate is None else evaluation.success_rate
