"""The page of the benchmark: tables from what was measured."""

import dataclasses
import statistics
from collections.abc import Mapping, Sequence

from benchmarks.learners import flop
from benchmarks.learners.contestants import PEERS

OURS = "Armchair's CRR"


@dataclasses.dataclass
class Measured:
    """Each list has a number a round."""

    rates: dict[tuple[str, str], list[float]] = dataclasses.field(default_factory=dict)  # (critic, who): steps/s
    limits: list[float] = dataclasses.field(default_factory=list)  # GFLOP/s
    resumed: list[float] = dataclasses.field(default_factory=list)  # seconds


def tables(measured: Measured) -> str:
    """One for each kind of critic, and what else was measured."""
    limit = statistics.median(measured.limits)
    told = [f"Matrix products alone: {spread(measured.limits)} GFLOP/s."]
    for critic in flop.ATOMS:
        rates = {who: found for (of, who), found in measured.rates.items() if of == critic}
        told += ["", f"## Critic: {critic}", "", *_table(rates, flop.step(critic), limit)]
    resumed = (
        f"From the command to the first line of metrics, 100 steps on: {spread(measured.resumed)} s (wanted: below 15)."
    )
    told += ["", "## Going on after a kill", "", resumed]
    return "\n".join(told) + "\n"


def _table(rates: Mapping[str, Sequence[float]], work: int, limit: float) -> list[str]:
    wanted = {peer.label: f"{peer.wanted}" for peer in PEERS}
    lines = [
        f"A step is {work / 1e9:.3f} GFLOP.", "",
        "| | steps/s (min to max) | ours is so many times as fast | wanted | of the limit |", "|---|---|---|---|---|",
    ]  # fmt: skip
    ours = statistics.median(rates[OURS])
    for who, found in rates.items():
        rate = statistics.median(found)
        ratio = f"**{ours / rate:.2f}**" if who != OURS else ""
        share = f"{rate * work / 1e9 / limit:.2f}"
        lines.append(f"| {who} | {spread(found)} | {ratio} | {wanted.get(who, '')} | {share} |")
    return lines


def spread(numbers: Sequence[float]) -> str:
    """Median, and the lowest and the highest."""
    return f"{statistics.median(numbers):.1f} ({min(numbers):.1f} to {max(numbers):.1f})"
