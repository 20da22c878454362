"""Delusions corrected: success and predicted-against-true ROC-AUC by round, over several seeds.

    python benchmarks/loop.py --seeds 0 1 2            # about 3 x 30 minutes on two busy cores
    python benchmarks/loop.py --seeds 0 1 2 --collate  # only writes the page, from runs that are there

Runs `armchair loop --seed S` for each seed (another seed means other logs, other sketches and other weights; a run that
was stopped goes on), and writes `docs/results/loop.md`, `loop.json` and `loop.svg` from what the runs left on disk.
"""

import argparse
import dataclasses
import datetime
import json
import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path

from armchair import demo, loop, loop_report
from armchair.loop import Round
from datasets import files
from robot.intervals import difference
from robot.versions import machine

_RESULTS = Path("docs/results")


def main() -> None:
    """Runs what is missing, then writes the page."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seeds", type=int, nargs="+", default=[0, 1, 2])
    parser.add_argument("--runs", type=Path, default=Path("runs"), help="folder of the runs")
    parser.add_argument("--results", type=Path, default=_RESULTS, help="folder of the page")
    parser.add_argument("--collate", action="store_true", help="run nothing")
    options = parser.parse_args()
    runs = {seed: options.runs / f"loop-default-{seed}" for seed in options.seeds}
    for seed, run in runs.items():
        if not options.collate and not (run / "report.html").exists():
            subprocess.run([sys.executable, "-m", "armchair", "loop", "--seed", str(seed), "--out", run], check=True)
    loops = {seed: loop.read_rounds(run) for seed, run in runs.items()}
    finished = max((run / "report.html").stat().st_mtime for run in runs.values())
    results = {
        "date": str(datetime.date.fromtimestamp(finished)),
        "machine": machine(),
        "rounds": {seed: [dataclasses.asdict(r) for r in rounds] for seed, rounds in loops.items()},
    }
    files.write_atomically(options.results / "loop.json", json.dumps(results, indent=2) + "\n")
    text = page(loops, results["date"], results["machine"])
    files.write_atomically(options.results / "loop.md", text)
    figure = loop_report.figure(list(loops.values()))
    figure.savefig(options.results / "loop.svg", bbox_inches="tight", facecolor="white", metadata={"Date": None})
    print(text)


def page(loops: Mapping[int, Sequence[Round]], date: str, machine: str) -> str:
    """The results in words and tables: a row for each seed and round, and the last round against the first."""
    seeds = " ".join(map(str, loops))
    first, last = ([rounds[i] for rounds in loops.values()] for i in (0, -1))
    gain, low, high = (100 * x for x in difference(*_total(last), *_total(first)))
    hunted = loop.HUNTED[demo.Preset.DEFAULT]
    lines = [
        f"# Rounds of the loop on `{loop.TASK}`",
        "",
        "![success and ROC-AUC by round](loop.svg)",
        "",
        f"The first round is under-annotated on purpose: {first[0].sketches} sketches, all of episodes that succeed. A",
        "policy that exploits such a reward shows what is missing. After each round a simulated annotator sketches the",
        f"{hunted} new episodes in which the reward was most wrong: failures that it rates high, successes that it",
        "rates low. Reward and policy are then trained again from scratch on everything in the store. *Sketches*",
        "counts those that the reward model learns from; the others are held out. The AUCs are without intervals.",
        "",
        f"- Command: `python benchmarks/loop.py --seeds {seeds}` (it runs `armchair loop --seed S`, default preset)",
        f"- Seeds: {seeds}; each has its own logs, sketches, reward models and policies",
        f"- Date: {date}; machine: {machine}",
        "",
        "| seed | round | sketches | succeed | 95 % Wilson | predicted | AUC, its episodes | AUC, frames of logs |",
        "|---|---|---|---|---|---|---|---|",
        *(_row(seed, r) for seed, rounds in loops.items() for r in rounds),
        "",
        "The last round's policies against the first's:",
        f"{gain:+.0f} points of success (95 % interval {low:+.0f} to {high:+.0f}, Newcombe).",
        "",
        "Each round's policy is tried out on initial states of its own, before its episodes are sketched. Predicted:",
        "at the end of how many the reward model sees success. AUC, its episodes: the chance that a solved episode's",
        "highest prediction is above an unsolved one's; *none* where all or no episodes are solved. AUC, frames of",
        "logs: the same of solved and unsolved frames of recorded episodes that the model was not trained on.",
        "",
        "The settings of reward and policy are the demo's. That four sketches are few enough was seen in one first",
        "round of seed 0; nothing else was tried. There is no control in which as many other episodes are sketched.",
        "",
    ]
    return "\n".join(lines)


def _row(seed: int, outcome: Round) -> str:
    cells = (
        seed, outcome.number, outcome.sketches,
        f"{outcome.successes}/{outcome.episodes}", loop_report.interval(outcome),
        f"{outcome.predicted_successes}/{outcome.episodes}", loop_report.number(outcome.auc_episodes),
        loop_report.number(outcome.auc_logs),
    )  # fmt: skip
    return f"| {' | '.join(map(str, cells))} |"


def _total(rounds: Sequence[Round]) -> tuple[int, int]:
    return sum(r.successes for r in rounds), sum(r.episodes for r in rounds)


if __name__ == "__main__":
    main()
