"""The page of the study: tables made from the result files alone."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

import numpy as np

from benchmarks import studies
from benchmarks.rl_unplugged.cells import METHODS, SIZES, STUDIES
from datasets import files

Results = Sequence[dict[str, Any]]


def write(study: str, results: Path) -> Path:
    """Writes `STUDY.md` into the results' folder; returns its path."""
    cells = list(STUDIES[study]())
    found = [result for _, result in studies.read(cells, results)]
    text = [f"# Data as RL Unplugged's: `{study}`", "", *_preamble(study, len(cells), found)]
    if found:
        text += ["", _data(found[0]["data"]), "", *_table(found)]
    path = results / f"{study}.md"
    files.write_atomically(path, "\n".join(text) + "\n")
    return path


def _preamble(study: str, count: int, found: Results) -> list[str]:
    size = SIZES[next(STUDIES[study]()).size]
    return f"""\
- Command: `python -m benchmarks.rl_unplugged --study {study}`
- Cells done: {len(found)} of {count}
{studies.when_and_where(found)}

An online D4PG, fed by our replay, learns the task of the DeepMind control suite with noise 0.3 on its actions; all that
it saw is the data, but for two thirds of the successful episodes (RL Unplugged thins so; that a success has 70 % of the
highest return is our choice, and so is one online run in place of three). All learners get the same data, through the
code of `armchair train`: {size.steps:,} steps of 256 transitions, networks of two layers of 128, critics over 5 steps;
the rest is in `benchmarks/rl_unplugged/cells.py`.

Numbers are mean returns, of 1,000 at most, over {size.evaluation_episodes} episodes without noise; then mean ± standard
deviation over seeds: of the last policy, and of each seed's best of {size.snapshots} snapshots, which only trying them
all can tell, and which flatters, as it is chosen by the same episodes.

CRR's five steps were chosen after a look at one result. Over one step, as in its paper, the snapshots of crr_exp (seed
0, cartpole_swingup) reached 119, 2 and 42, no more than behaviour cloning (88, 1 and 26); over five, 514, 240 and 582.
D4PG had five from the start. So this table says nothing of CRR over one step in so few updates, but for that.
""".splitlines()


def _data(facts: dict[str, Any]) -> str:
    low, middle, high = facts["quartiles"]
    return (
        f"The online agent saw {facts['online_episodes']} episodes, the last 20 with a mean return of "
        f"{facts['online_return']:.0f} (with noise). The data are {facts['episodes']} of them: mean return "
        f"{facts['mean_return']:.0f}, quartiles {low:.0f}, {middle:.0f} and {high:.0f}, highest "
        f"{facts['highest_return']:.0f}."
    )


def _table(found: Results) -> list[str]:
    lines = ["| learner | last | each seed | best snapshot |", "|---|---|---|---|"]
    for row in METHODS:
        runs = [result["snapshots"] for result in found if result["cell"]["row"] == row]
        if runs:
            last = [run[-1]["return"] for run in runs]
            best = [max(snapshot["return"] for snapshot in run) for run in runs]
            each = ", ".join(f"{value:.0f}" for value in last)
            lines.append(f"| {row} | {_spread(last)} | {each} | {_spread(best)} |")
    return lines


def _spread(values: Sequence[float]) -> str:
    """One seed alone has no spread."""
    return f"{np.mean(values):.0f}" + (f" ± {np.std(values, ddof=1):.0f}" if len(values) > 1 else "")
