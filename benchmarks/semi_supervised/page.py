"""The page of a study: tables and a figure, made from the result files alone."""

import collections
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np
from matplotlib.figure import Figure

from benchmarks import studies
from benchmarks.semi_supervised import figures, reward_quality
from benchmarks.semi_supervised.cells import REFERENCES, STUDIES, Cell, Trouble
from datasets import files
from datasets.errors import ArmchairError
from robot.intervals import difference, wilson

_LABELS = {
    "bc_all": "BC, all episodes", "bc_demonstrations": "BC, demonstrations", "bc_successes": "BC, verdict success",
    "truth": "CRR, true reward",
}  # fmt: skip
_METRICS = {
    "auc_solved": "ROC-AUC of solved frames", "precision": "precision at 0.5", "recall": "recall at 0.5",
    "false_positive_mass": "false-positive mass",
}  # fmt: skip
_ALONG = {"how_little": "annotated episodes", "more_unlabelled": "unlabelled episodes"}
"""Studies of a quantity that grows, and its name."""
Group = tuple[str, str, bool, int, int | None, str]
"""What cells of several seeds have in common: task, row, pixels, teaching, unlabelled, trouble."""


def write(study: str, results: Path) -> Path:
    """Writes `STUDY.md` and `STUDY.svg` into the results' folder; returns the page's path."""
    cells = list(STUDIES[study]())
    found = studies.read(cells, results)
    if study == "reward_quality":
        return reward_quality.write(found, results)
    text = [f"# Rewards from almost nothing: `{study}`", "", *_preamble(study, cells, found)]
    if groups := _grouped(found):
        for task in dict.fromkeys(task for task, *_ in groups):
            text += ["", f"## {task}", "", *_table({g: r for g, r in groups.items() if g[0] == task})]
        figure = _curves(groups, study) if study in _ALONG else _bars(groups)
        figure.savefig(results / f"{study}.svg", bbox_inches="tight", facecolor="white", metadata={"Date": None})
        text += ["", f"![Success with its interval]({study}.svg)"]
    path = results / f"{study}.md"
    files.write_atomically(path, "\n".join(text) + "\n")
    return path


def write_readme(study: str, results: Path, readme: Path) -> None:
    """Puts a study's short table and its figure between the two markers of a README, in place of what is there.

    Raises:
      ArmchairError: if the README has no such markers.
    """
    begin, end = (f"<!-- {study}: {word} -->" for word in ("begin", "end"))
    text = readme.read_text()
    if text.count(begin) != 1 or text.count(end) != 1:
        raise ArmchairError(f"{readme} does not have the lines {begin} and {end}: add them where the table shall be")
    before, rest = text.split(begin)
    block = "\n".join(["", *_short_table(study, results), "", f"![Success row by row]({results / f'{study}.svg'})", ""])
    files.write_atomically(readme, before + begin + block + end + rest.split(end)[1])


def _short_table(study: str, results: Path) -> list[str]:
    """Success alone: a row a reward, a column a task and what is looked at."""
    rates: dict[str, dict[str, str]] = collections.defaultdict(dict)
    for group, found in _grouped(studies.read(STUDIES[study](), results)).items():
        successes, episodes = _counts(found)
        low, high = (100 * bound for bound in wilson(successes, episodes))
        task, row, pixels, *_ = group
        told = f"{100 * successes / episodes:.0f} % ({low:.0f} to {high:.0f})"
        rates[row][f"{task}, pixels" if pixels else task] = told
    columns = list(dict.fromkeys(column for row in rates.values() for column in row))
    lines = ["| reward | " + " | ".join(columns) + " |", "|---|" + "---|" * len(columns)]
    for row, told in rates.items():
        lines.append(f"| {_LABELS.get(row, row)} | " + " | ".join(told.get(column, "") for column in columns) + " |")
    return lines


def _grouped(found: Sequence[tuple[Cell, dict[str, Any]]]) -> dict[Group, list[dict[str, Any]]]:
    groups: dict[Group, list[dict[str, Any]]] = collections.defaultdict(list)
    for cell, result in found:
        groups[group_of(cell)].append(result)
    return groups


def group_of(cell: Cell) -> Group:
    """What the cell has in common with those of other seeds."""
    return cell.task, cell.row, cell.pixels, cell.teaching, cell.unlabelled, cell.trouble


def _preamble(study: str, cells: Sequence[Cell], found: Sequence[tuple[Cell, dict[str, Any]]]) -> list[str]:
    seconds = sum(result["seconds"] + result["seconds_for_the_logs"] for _, result in found)
    seeds = ", ".join(str(seed) for seed in sorted({cell.seed for cell in cells}))
    return f"""\
- Command: `python -m benchmarks.semi_supervised --study {study}`
- Cells done: {len(found)} of {len(cells)}; their times add up to {seconds / 60:.0f} minutes
- Seeds: {seeds}; each has its own logs, sketches, reward models and policies
{studies.when_and_where(result for _, result in found)}

Success is the simulator's verdict, on initial states that no policy has seen, over all seeds together, with its 95 %
Wilson interval; the reward's quality is its mean over seeds, on held-out episodes. Rewards learn from the task's and
other tasks' episodes; every row's policy, with a reward or without, from the task's own. What they see, from which
height of a sketch a frame is a success, how large policies are (on `insert_green`, twice as wide) and how long they
train was chosen on logs of seed 0.""".split("\n")


def _table(groups: dict[Group, list[dict[str, Any]]]) -> list[str]:
    lines = [
        "| reward | looks at | teach | unlabelled | success | 95 % | minus BC, all | of true reward's | "
        "each seed | " + " | ".join(_METRICS.values()) + " |",
        "|" + "---|" * (9 + len(_METRICS)),
    ]
    bc, truth = (next((_counts(r) for g, r in groups.items() if g[1] == row), None) for row in ("bc_all", "truth"))
    for (_, row, pixels, teaching, unlabelled, trouble), results in groups.items():
        successes, episodes = _counts(results)
        low, high = wilson(successes, episodes)
        share = f"{successes / episodes / (truth[0] / truth[1]):.2f}" if truth and truth[0] else "–"
        gain = "–"
        if bc and row != "bc_all":
            value, least, most = (100 * x for x in difference(successes, episodes, *bc))
            gain = f"{value:+.0f} ({least:+.0f} to {most:+.0f})"
        looks = "–" if row in REFERENCES else "pixels" if pixels else "states"
        rates = ", ".join(f"{100 * r['successes'] / r['episodes']:.0f}" for r in results)
        lines.append(
            f"| {_LABELS.get(row, row)}{_troubled(trouble)} | {looks} | "
            f"{'–' if row in ('bc_all', 'truth') else teaching} | "
            f"{'all' if unlabelled is None else unlabelled} | {100 * successes / episodes:.0f} % | "
            f"{100 * low:.0f} to {100 * high:.0f} | {gain} | {share} | {rates} | "
            + " | ".join(_mean(results, name) for name in _METRICS)
            + " |"
        )
    return lines


def _troubled(trouble: str) -> str:
    return "" if trouble == Trouble.NONE else f", {trouble}"


def _counts(results: Sequence[dict[str, Any]]) -> tuple[int, int]:
    return sum(r["successes"] for r in results), sum(r["episodes"] for r in results)


def _mean(results: Sequence[dict[str, Any]], name: str) -> str:
    known = [r["reward"][name] for r in results if r["reward"] and r["reward"].get(name) is not None]
    return f"{np.mean(known):.3f}" if known else "–"


def _bars(groups: dict[Group, list[dict[str, Any]]]) -> Figure:
    outcomes = {}
    for (task, row, pixels, _, _, trouble), results in groups.items():
        column = f"{task}{', pixels' if pixels else ''}{_troubled(trouble)}"
        outcomes[column, row] = _outcomes(results)
    return figures.bars(outcomes, _LABELS)


def _curves(groups: dict[Group, list[dict[str, Any]]], study: str) -> Figure:
    outcomes = {}
    for (_, row, _, teaching, unlabelled, _), results in groups.items():
        value = teaching if study == "how_little" else "all" if unlabelled is None else unlabelled
        outcomes["" if row in REFERENCES else str(value), row] = _outcomes(results)
    return figures.curves(outcomes, _LABELS, _ALONG[study])


def _outcomes(results: Sequence[dict[str, Any]]) -> list[tuple[int, int]]:
    return [(r["successes"], r["episodes"]) for r in results]
