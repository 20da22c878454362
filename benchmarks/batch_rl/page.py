"""The page of the study of offline learners: tables made from the result files alone."""

import collections
from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import studies
from benchmarks.batch_rl.cells import METHODS, STUDIES
from datasets import files
from pipeline.batch_rl.selection import rank_correlation
from robot.intervals import difference, wilson

Results = Sequence[dict[str, Any]]
ABLATIONS = (
    ("without the random watcher's episodes", "crr_no_watcher", "crr_all_data"),
    ("the task's own episodes alone", "crr", "crr_all_data"),
    ("a scalar critic instead of a distribution", "crr_scalar", "crr"),
    ("a memory (LSTM) instead of feed-forward networks", "crr_memory", "crr"),
)
"""What is changed, the row that has it so, and the row that it is to be compared with."""
FORETELLERS = {"value": "promised value", "td_error": "TD error", "action_gap": "action gap"}
"""What `armchair select` says of a policy."""


def write(study: str, results: Path) -> Path:
    """Writes `STUDY.md` into the results' folder; returns its path."""
    cells = list(STUDIES[study]())
    found = [result for _, result in studies.read(cells, results)]
    text = [f"# Offline learners: `{study}`", "", *_preamble(study, len(cells), found)]
    for task in dict.fromkeys(cell.task for cell in cells):
        of_task = [result for result in found if result["cell"]["task"] == task]
        if of_task:
            text += ["", f"## {task}", "", *_table(of_task)]
            if all("value" in snapshot for result in of_task for snapshot in result["snapshots"]):
                text += ["", *_foretold(of_task)]
            text += _ablations(of_task)
    path = results / f"{study}.md"
    files.write_atomically(path, "\n".join(text) + "\n")
    return path


def _preamble(study: str, count: int, found: Results) -> list[str]:
    seconds = sum(result["seconds"] + result["seconds_for_the_store"] for result in found)
    seeds = ", ".join(str(seed) for seed in sorted({result["cell"]["seed"] for result in found}))
    return f"""\
- Command: `python -m benchmarks.batch_rl --study {study}`
- Cells done: {len(found)} of {count}; their times add up to {seconds / 60:.0f} minutes
- Seeds: {seeds}; each has its own logs and reward model
{studies.when_and_where(found)}

Rewards are learned ({"SUP, from pictures and 20 sketched" if study == "pixels" else "TGR-i, from 20 demonstrated"}
episodes). Success is the simulator's verdict on initial states that no policy has seen, over all seeds together, with
its 95 % Wilson interval: of the last policy; of each seed's best snapshot, which only running them all can tell; and of
the snapshot that fitted Q evaluation puts first, without running.{_of_plus(found)}
""".splitlines()


def _of_plus(found: Results) -> str:
    """What is to be said of a row."""
    if not any(result["cell"]["row"] == "crr_plus" for result in found):
        return ""
    method = METHODS["crr_plus"]
    return (
        f" `crr_plus` has\nCRR+'s critic, samples and targets, but `crr`'s temperature (beta {method.beta:g}) and "
        f"learning rate of the policy\n({method.policy_learning_rate:g}), where CRR+ has 1 and 1e-4."
    )


def _table(found: Results) -> list[str]:
    lines = ["| learner | last | each seed | best snapshot | chosen without running |", "|---|---|---|---|---|"]
    rows: dict[str, list[Any]] = collections.defaultdict(list)
    for result in found:
        rows[result["cell"]["row"]].append(result["snapshots"])
    for row, runs in rows.items():
        last = [run[-1] for run in runs]
        best = [max(run, key=lambda snapshot: snapshot["successes"]) for run in runs]
        told = all("value" in snapshot for run in runs for snapshot in run)
        chosen = _rate([max(run, key=lambda s: s["value"]) for run in runs]) if told else "–"
        rates = ", ".join(f"{100 * s['successes'] / s['episodes']:.0f}" for s in last)
        lines.append(f"| {row} | {_rate(last)} | {rates} | {_rate(best)} | {chosen} |")
    return lines


def _rate(snapshots: Results) -> str:
    successes, episodes = (sum(snapshot[name] for snapshot in snapshots) for name in ("successes", "episodes"))
    low, high = wilson(successes, episodes)
    return f"{100 * successes / episodes:.0f} % ({100 * low:.0f} to {100 * high:.0f})"


def _ablations(found: Results) -> list[str]:
    """What each change does to the success of the last policies, over the seeds that both rows have."""
    last = {(r["cell"]["row"], r["cell"]["seed"]): r["snapshots"][-1] for r in found}
    lines = []
    for change, row, base in ABLATIONS:
        seeds = sorted({seed for name, seed in last if name == row} & {seed for name, seed in last if name == base})
        if seeds:
            one, other = ([last[name, seed] for seed in seeds] for name in (row, base))
            counts = [sum(s[name] for s in part) for part in (one, other) for name in ("successes", "episodes")]
            points, low, high = (100 * x for x in difference(*counts))
            told = f"{_rate(one)} | {_rate(other)} | {points:+.0f} ({low:+.0f} to {high:+.0f})"
            lines.append(f"| {change} | `{row}`: {told} | {', '.join(map(str, seeds))} |")
    if not lines:
        return []
    head = ["| change | with it | without it (`crr_all_data`, `crr`) | points | seeds |", "|---|---|---|---|---|"]
    told = """\
What a change of CRR does to the last policy, over all seeds together. Intervals are over episodes; what another seed
would do, they do not say: see each seed above."""
    return ["", *told.splitlines(), "", *head, *lines]


def _foretold(found: Results) -> list[str]:
    """How well what fitted Q evaluation says orders the policies of a seed."""
    seeds: dict[int, list[Any]] = collections.defaultdict(list)
    for result in found:
        seeds[result["cell"]["seed"]] += result["snapshots"]
    lines = [
        "| what might foretell success | rank correlation with it (Spearman) over all snapshots of a seed | mean |",
        "|---|---|---|",
    ]
    for name, what in FORETELLERS.items():
        told = [
            rank_correlation([s[name] for s in snapshots], [s["successes"] / s["episodes"] for s in snapshots])
            for snapshots in seeds.values()
        ]
        lines.append(f"| {what} | {', '.join(f'{value:+.2f}' for value in told)} | {np.mean(told):+.2f} |")
    return lines
