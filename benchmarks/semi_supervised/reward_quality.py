"""Study 4: which quality of a reward model tells how good the policy will be that is trained on it."""

import collections
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure
from scipy import stats

from benchmarks.semi_supervised.cells import Cell
from datasets import files

METRICS: Mapping[str, str] = {
    "pair_accuracy_true": "order as by true progress", "auc_solved": "ROC-AUC of solved frames",
    "average_precision": "average precision of solved frames", "precision": "precision at 0.5",
    "recall": "recall at 0.5", "mean_solved": "mean reward of solved frames",
    "mean_unsolved": "mean reward of unsolved frames", "auc_episode_max": "ROC-AUC of episodes by highest reward",
    "auc_episode_mean": "ROC-AUC of episodes by mean reward", "return_correlation": "rank correlation of returns",
    "false_positive_mass": "false-positive mass",
}  # fmt: skip
Correlation = tuple[float, float, float]
"""Spearman's rho and the bounds of its interval."""
FEWEST = 20  # reward models of a task, from which a correlation is worth its interval
_RESAMPLES = 2000  # of the bootstrap
_COLUMNS = 4  # of the figure


def write(found: Sequence[tuple[Cell, dict[str, Any]]], results: Path) -> Path:
    """Writes `reward_quality.md` and `.svg` from the results of all cells; returns the page's path."""
    tasks: dict[str, list[dict[str, Any]]] = collections.defaultdict(list)
    for cell, result in found:
        if result["reward"]:
            tasks[cell.task].append(result)
    tasks = {task: rated for task, rated in tasks.items() if len(rated) >= FEWEST}
    text = [
        "# Which quality of a reward matters to the policy",
        "",
        "- Command: `python -m benchmarks.semi_supervised --study reward_quality --collate`",
        "- Of every reward model of the other studies, whatever taught it: its numbers on held-out episodes against",
        "  the success of the policy that was trained on it, as Spearman's rank correlation within a task, with its",
        "  95 % bootstrap interval over the models.",
        "",
    ]
    if not tasks:
        text.append(f"No task has the results of {FEWEST} reward models yet.")
    else:
        found_all = {task: _correlations(rated) for task, rated in tasks.items()}
        text += [*_table(tasks, found_all), "", *_conclusion(found_all)]
        _figure(tasks).savefig(
            results / "reward_quality.svg", bbox_inches="tight", facecolor="white", metadata={"Date": None}
        )
        text += ["", "![Success against each metric](reward_quality.svg)"]
    path = results / "reward_quality.md"
    files.write_atomically(path, "\n".join(text) + "\n")
    return path


def correlation(pairs: Sequence[tuple[float, float]], seed: int = 0) -> Correlation | None:
    """Spearman's rho of pairs with its 95 % bootstrap interval; None of fewer than 3, or if one side never varies."""
    values = np.array(pairs).reshape(-1, 2)
    if len(values) < 3 or not np.ptp(values, axis=0).all():
        return None
    rng = np.random.default_rng(seed)
    drawn = (values[rng.integers(len(values), size=len(values))] for _ in range(_RESAMPLES))
    rhos = [stats.spearmanr(*some.T).statistic for some in drawn if np.ptp(some, axis=0).all()]
    low, high = np.quantile(rhos, (0.025, 0.975))
    return float(stats.spearmanr(*values.T).statistic), float(low), float(high)


def pairs_of(rated: Sequence[dict[str, Any]], metric: str) -> list[tuple[float, float]]:
    """(the metric, success) of each model of which the metric is known."""
    known = [(r["reward"].get(metric), r["successes"] / r["episodes"]) for r in rated]
    return [(value, success) for value, success in known if value is not None]


def _correlations(rated: Sequence[dict[str, Any]]) -> dict[str, Correlation]:
    """Of each metric whose correlation can be told."""
    found = {metric: correlation(pairs_of(rated, metric)) for metric in METRICS}
    return {metric: told for metric, told in found.items() if told is not None}


def _table(tasks: Mapping[str, list[dict[str, Any]]], found: Mapping[str, dict[str, Correlation]]) -> list[str]:
    lines = [
        "| metric | " + " | ".join(f"{task} (n = {len(rated)})" for task, rated in tasks.items()) + " |",
        "|---|" + "---|" * len(tasks),
    ]
    for metric, name in METRICS.items():
        told = (found[task].get(metric) for task in tasks)
        cells = ["–" if one is None else "{:+.2f} ({:+.2f} to {:+.2f})".format(*one) for one in told]
        lines.append(f"| {name} | {' | '.join(cells)} |")
    return lines


def _conclusion(found: Mapping[str, dict[str, Correlation]]) -> list[str]:
    """A sentence a task and one of all: which metrics go with success, the closest first, and which may not at all."""
    clear: dict[str, list[str]] = {}
    lines = []
    for task, told in found.items():
        clear[task] = sorted(
            (m for m, (_, low, high) in told.items() if low * high > 0), key=lambda m: -abs(told[m][0])
        )
        unclear = [METRICS[metric] for metric in told if metric not in clear[task]]
        names = [f"{METRICS[metric]} ({told[metric][0]:+.2f})" for metric in clear[task]]
        lines += [
            f"On `{task}`, these go with success, the closest first: {', '.join(names) or 'none'}.",
            f"The interval of these includes 0, so that they may tell nothing: {', '.join(unclear) or 'none'}.",
            "",
        ]
    everywhere = [m for m in METRICS if all(m in clear[task] for task in found)]
    agreed = [METRICS[m] for m in everywhere if len({told[m][0] > 0 for told in found.values()}) == 1]
    if len(found) > 1:
        lines += [f"On every task, and in the same direction: {', '.join(agreed) or 'none'}.", ""]
    return lines[:-1]


def _figure(tasks: Mapping[str, list[dict[str, Any]]]) -> Figure:
    """A panel a metric, a dot a reward model, a mark a task."""
    rows = -(-len(METRICS) // _COLUMNS)
    figure = Figure(figsize=(2.4 * _COLUMNS, 2.0 * rows + 0.3), layout="constrained")
    for number, (metric, name) in enumerate(METRICS.items()):
        axes = figure.add_subplot(rows, _COLUMNS, number + 1)
        for (task, rated), mark in zip(tasks.items(), "o^s", strict=False):
            pairs = np.array(pairs_of(rated, metric)).reshape(-1, 2)
            axes.plot(pairs[:, 0], 100 * pairs[:, 1], mark, ms=4, alpha=0.7, label=task if number == 0 else None)
        axes.set_xlabel(name, fontsize=7)
        axes.set_ylim(-3, 103)
        axes.tick_params(labelsize=6)
        if number % _COLUMNS == 0:
            axes.set_ylabel("success, %", fontsize=7)
    figure.legend(loc="outside upper center", ncols=3, fontsize=8, frameon=False)
    return figure
